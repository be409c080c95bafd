# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guest's disk: a real ext4 file system in a sparse image, and what happens to it over time.

mke2fs makes the file system and debugfs writes and removes files inside it, both without root and without a
mount. Everything that looks random comes from a seed, so one machine gives the same image each time.
"""

from __future__ import annotations

import bisect
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import typing as t

from .real_files import RealFile, distinct_files

BLOCK_BYTES = 4096
_FILE_SYSTEM_UUID = "6f1d6f2e-52a3-4c55-9e0f-6a8f1f2b3c4d"
_HASH_SEED = "0b6a2d5c-7b1e-4a53-8c4f-2d1e0f9a8b7c"
# mke2fs and debugfs take the time of inodes from here, so that images are repeatable.
_FAKE_TIME = "1764000000"
_TOOL_PATH = os.pathsep.join(("/usr/sbin", "/sbin", "/usr/local/sbin", "/opt/homebrew/opt/e2fsprogs/sbin"))
# Of so many real files one stays outside the image, as content for updates of the same mix.
_RESERVE_PERIOD = 8


# Files up to this size weigh little, whatever takes their place.
SMALL_FILE_BYTES = 64 << 10


class ToolFailed(Exception):
    """mke2fs or debugfs is missing or complained."""


class NotEnoughFiles(Exception):
    """The machine has too few distinct real files."""


class Change(t.NamedTuple):
    """What a history step did inside the guest."""

    kind: str
    files: int
    bytes_removed: int
    bytes_written: int
    blocks: int


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), _TOOL_PATH)))
    if found is None:
        raise ToolFailed(f"{name} is not installed (Debian package e2fsprogs).")
    return found


def _run(argv: t.Sequence[str]) -> str:
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": _FAKE_TIME, "LC_ALL": "C"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    # debugfs exits 0 whatever its commands did; it greets on stderr and complains there, too.
    complaints = [line for line in done.stderr.splitlines() if not re.match(r"^(debugfs|mke2fs) \d", line)]
    if done.returncode != 0 or (complaints and "debugfs" in argv[0]):
        raise ToolFailed(f"{argv[0]} exited {done.returncode}: {' / '.join(complaints[:3]) or 'no message'}")
    return done.stdout


class GuestDisk:
    """One image and the record of which files lie in it.

    The record (``state_path``) lies outside the bundle; ``files`` maps a path in the guest to its size,
    ``reserve`` holds real files that never lay in the image.
    """

    def __init__(self, image: str, state_path: str, files: t.Dict[str, int], reserve: t.List[RealFile]) -> None:
        self.image = image
        self.state_path = state_path
        self.files = files
        self.reserve = reserve

    @property
    def data_bytes(self) -> int:
        """Bytes of the files in the guest."""
        return sum(self.files.values())

    @classmethod
    def create(
        cls,
        image: str,
        state_path: str,
        logical_bytes: int,
        data_bytes: int,
        least_data_bytes: t.Optional[int] = None,
        *,
        roots: t.Optional[t.Sequence[str]] = None,
    ) -> GuestDisk:
        """Make the file system and fill it with real files of this machine.

        :raises NotEnoughFiles: the machine has not ``least_data_bytes`` (``data_bytes``, if None) of them
        """
        found, reserve = _divide(roots, data_bytes, data_bytes if least_data_bytes is None else least_data_bytes)
        _make_file_system(image, logical_bytes)
        disk = cls(image, state_path, {}, reserve)
        paths = [file.path for file in found]
        disk._debugfs([f"mkdir {directory}" for directory in _directories(paths)])
        disk._put(found, paths)
        disk.save()
        return disk

    @classmethod
    def load(cls, image: str, state_path: str) -> GuestDisk:
        """Take up an image made earlier."""
        with open(state_path, encoding="utf-8") as stream:
            state = json.load(stream)
        return cls(image, state_path, state["files"], [RealFile(*row) for row in state["reserve"]])

    def save(self) -> None:
        """Write the record."""
        with open(self.state_path, "w", encoding="utf-8") as stream:
            json.dump({"files": self.files, "reserve": self.reserve}, stream)

    def update(self, share: float, seed: int = 1, by: str = "directory") -> Change:
        """Replace at least ``share`` of the bytes file by file with other real content of about the same size.

        ``by="directory"`` takes all files of a directory at a time, as a package or system update does;
        ``by="file"`` takes single files from anywhere, the worst case.
        """
        groups = _groups(self.files, by)
        random.Random(seed).shuffle(groups)
        wanted = self.data_bytes * share
        victims: t.List[str] = []
        removed = 0
        for group in groups:
            if removed >= wanted:
                break
            size = sum(self.files[path] for path in group)
            # A single group must not overshoot by more than half of what was asked for, and each file
            # needs one that takes its place.
            if removed + size > wanted * 1.5 or len(victims) + len(group) > len(self.reserve):
                continue
            if not all(self._has_match(self.files[path]) for path in group):
                continue
            victims.extend(group)
            removed += size
        if removed < wanted:
            raise ToolFailed("Too little real content is left for another update of this image.")
        fillings = self._take_nearest([self.files[path] for path in victims])
        self._debugfs([f"rm {path}" for path in victims])
        for path in victims:
            del self.files[path]
        self._put(fillings, victims)
        self.save()
        written = sum(file.size for file in fillings)
        return Change(f"update by {by}", len(victims), removed, written, 0)

    def boot(self, writes: int = 2000, seed: int = 1) -> Change:
        """Overwrite ``writes`` scattered 4 KiB blocks of files in the guest with other real content."""
        chance = random.Random(seed)
        blocks = self._some_blocks(chance, writes)
        content = self._some_content(chance, len(blocks))
        with open(self.image, "r+b", buffering=0) as stream:
            for block, piece in zip(sorted(blocks), content):
                os.pwrite(stream.fileno(), piece, block * BLOCK_BYTES)
        size = len(blocks) * BLOCK_BYTES
        return Change("boot", 0, size, size, len(blocks))

    def check(self) -> None:
        """Raise unless e2fsck finds the guest's file system clean."""
        _run([_tool("e2fsck"), "-f", "-n", self.image])

    def _put(self, sources: t.Sequence[RealFile], paths: t.Sequence[str]) -> None:
        commands: t.List[str] = []
        here = ""
        for source, path in zip(sources, paths):
            directory = os.path.dirname(path)
            if directory != here:
                commands.append(f"cd {directory}")
                here = directory
            commands.append(f"write {source.path} {os.path.basename(path)}")
            self.files[path] = source.size
        self._debugfs(commands)

    def _debugfs(self, commands: t.Sequence[str], write: bool = True) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
            script.write("\n".join(commands) + "\n")
            script.flush()
            options = ["-w"] if write else []
            return _run([_tool("debugfs"), *options, "-f", script.name, self.image])

    def _has_match(self, size: int) -> bool:
        """Whether some content in reserve can take the place of a file without changing what is measured."""
        return size <= SMALL_FILE_BYTES or any(0.9 * size <= file.size <= 1.1 * size for file in self.reserve)

    def _take_nearest(self, sizes: t.Sequence[int]) -> t.List[RealFile]:
        by_size = sorted(self.reserve, key=lambda file: (file.size, file.path))
        taken: t.List[RealFile] = []
        for size in sizes:
            taken.append(by_size.pop(_nearest(by_size, size)))
        left = set(by_size)
        self.reserve = [file for file in self.reserve if file in left]
        return taken

    def _some_blocks(self, chance: random.Random, wanted: int) -> t.Set[int]:
        paths = list(self.files)
        ends = list(itertools.accumulate(-(-self.files[path] // BLOCK_BYTES) for path in paths))
        found: t.Set[int] = set()
        wanted = min(wanted, ends[-1] // 2)
        while len(found) < wanted:
            asked = []
            for unused in range(wanted - len(found)):
                number = chance.randrange(ends[-1])
                at = bisect.bisect_right(ends, number)
                asked.append(f"bmap {paths[at]} {number - (ends[at - 1] if at else 0)}")
            answers = [line for line in self._debugfs(asked, write=False).splitlines() if line.isdigit()]
            found.update(int(line) for line in answers if line != "0")
        return set(sorted(found)[:wanted])

    def _some_content(self, chance: random.Random, count: int) -> t.List[bytes]:
        donors = [file for file in self.reserve if file.size >= 16 * BLOCK_BYTES] or self.reserve
        pieces = []
        for unused in range(count):
            donor = chance.choice(donors)
            with open(donor.path, "rb") as stream:
                stream.seek(chance.randrange(max(donor.size // BLOCK_BYTES, 1)) * BLOCK_BYTES)
                pieces.append(stream.read(BLOCK_BYTES).ljust(BLOCK_BYTES, b"\0"))
        return pieces


def _divide(
    roots: t.Optional[t.Sequence[str]], data_bytes: int, least_data_bytes: int
) -> t.Tuple[t.List[RealFile], t.List[RealFile]]:
    """Files for the image and files for its updates."""
    found: t.List[RealFile] = []
    reserve: t.List[RealFile] = []
    total = 0
    # No single file may make the mix of a small image.
    for number, file in enumerate(distinct_files(roots, largest_bytes=max(data_bytes // 16, 1 << 20)), start=1):
        if number % _RESERVE_PERIOD == 0:
            reserve.append(file)
            continue
        found.append(file)
        total += file.size
        if total >= data_bytes:
            break
    if total < least_data_bytes:
        raise NotEnoughFiles(
            f"This machine has {total} bytes of distinct files of installed software for a guest, {least_data_bytes} "
            "are wanted. Ask for a smaller image or install more software."
        )
    return found, reserve


def _make_file_system(image: str, logical_bytes: int) -> None:
    with open(image, "wb") as stream:
        stream.truncate(logical_bytes)
    extended = f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,hash_seed={_HASH_SEED}"
    argv = [_tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-m", "0"]
    _run([*argv, "-L", "guest", "-U", _FILE_SYSTEM_UUID, "-E", extended, image])


def _groups(files: t.Mapping[str, int], by: str) -> t.List[t.List[str]]:
    if by == "file":
        return [[path] for path in files]
    if by != "directory":
        raise ValueError(f"update by {by!r}: it is by directory or by file")
    groups: t.Dict[str, t.List[str]] = {}
    for path in files:
        groups.setdefault(os.path.dirname(path), []).append(path)
    return list(groups.values())


def _directories(paths: t.Iterable[str]) -> t.List[str]:
    found: t.Set[str] = {"/"}
    for path in paths:
        directory = os.path.dirname(path)
        while directory not in found:
            found.add(directory)
            directory = os.path.dirname(directory)
    # A parent sorts before what lies in it.
    return sorted(found - {"/"})


def _nearest(by_size: t.Sequence[RealFile], size: int) -> int:
    low, high = 0, len(by_size)
    while low < high:
        middle = (low + high) // 2
        if by_size[middle].size < size:
            low = middle + 1
        else:
            high = middle
    if low == len(by_size) or (low and size - by_size[low - 1].size < by_size[low].size - size):
        return low - 1
    return low
