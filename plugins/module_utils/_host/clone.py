# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Copies that share their blocks with the original, file by file; a sparse copy where the file system has none.

macOS clones by clonefile(2), Linux by the FICLONE ioctl (XFS, Btrfs). Apple discourages cloning whole directories, so
a bundle is walked. It grows under a hidden name beside its final one, and gets that by one rename after everything in
it was flushed.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import os
import sys
import tempfile
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import (
    flush_volume,
    fsync_directory,
    rename_durably,
    write_all,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import Found, walk
from ansible_collections.macfleet.parallels.plugins.module_utils._host import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, PathTaken, translated

CLONEFILE = "clonefile"
REFLINK = "reflink"
COPY = "copy"

# xnu bsd/sys/clonefile.h
_CLONE_NOFOLLOW = 0x0001
_CLONE_NOOWNERCOPY = 0x0002
# linux/fs.h
_FICLONE = 0x40049409
# What a file system answers that has no clones, or does not reach the destination's volume; all else is a failure.
_NO_CLONES_ON_DARWIN = frozenset({errno.ENOTSUP, errno.EXDEV})
_NO_CLONES_ON_LINUX = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})
_BLOCK_BYTES = 1 << 20
# The smallest chunk of a pack: a hole in the cache stays one in a copy.
_PIECE_BYTES = 64 << 10
_ZERO_BLOCK = bytes(_BLOCK_BYTES)
_PROBE_BYTES = 64 << 10


class _Unsupported(Exception):
    """The file system has no clones here."""


@dataclasses.dataclass(frozen=True)
class CloneResult:
    """What making a bundle took; ``method`` is ``copy`` as soon as one file had to be copied."""

    method: str
    files: int
    bytes_copied: int


def clone_file(source: str, destination: str, mode: int = 0o644) -> str:
    """Make ``destination`` a copy of ``source`` with the permissions ``mode``, and say how: clonefile, reflink, copy.

    The destination must not exist. It is not fsynced.
    """
    with translated(CloneFailed, f"Cloning {source} to {destination}"):
        return _clone_file(source, destination, mode, durable=False)[0]


def probe(directory: str) -> bool:
    """Return True if clones work in a directory; writes a small file there and removes it."""
    with translated(CloneFailed, f"Trying whether {directory} can hold clones"):
        if not os.access(directory, os.W_OK) and os.path.isdir(directory):
            return False
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=directory) as scratch:
            source = os.path.join(scratch, "source")
            with open(source, "wb") as stream:
                stream.write(b"\1" * _PROBE_BYTES)
            return _clone_file(source, os.path.join(scratch, "clone"), 0o600, durable=False)[0] != COPY


def clone_tree(
    source: str,
    destination: str,
    *,
    private: bool = True,
    prepare: t.Optional[t.Callable[[str], None]] = None,
    temporary: t.Optional[str] = None,
) -> CloneResult:
    """Make ``destination`` a writable copy of the bundle ``source``; nothing half-made ever has its name.

    Directories get 0700 and files 0600, or 0755 and 0644 when not ``private``; the executable bit is kept. ``prepare``
    may change the copy, whose present path it is given, before it gets its name; it fsyncs the files that it writes.
    The copy grows at ``temporary``, a path beside the destination, by default :func:`temporary_path`. Whatever an
    earlier, interrupted attempt left there is removed; the caller holds a lock on it.

    :raises PathTaken: the destination exists
    """
    attempted = f"Making {destination} from {source}"
    temporary = temporary or temporary_path(destination)
    with translated(CloneFailed, attempted):
        if os.path.lexists(destination):
            raise PathTaken(f"{attempted} failed: {destination} exists.", "Move it away or choose another name.")
        remove_tree(temporary)
        try:
            directories, clones = _clone_into(source, temporary, private)
            if prepare is not None:
                prepare(temporary)
            for directory in directories:
                fsync_directory(directory)
            flush_volume(temporary)
            rename_durably(temporary, destination)
        except BaseException:
            trees.remove(temporary)
            raise
    return _summary(clones)


def temporary_path(destination: str) -> str:
    """Where a bundle grows before it gets its name: hidden, and without the extension of a bundle."""
    directory, name = os.path.split(destination)
    return os.path.join(directory, f".{name}.incomplete")


def discard_interrupted(destination: str) -> None:
    """Remove what an interrupted :func:`clone_tree` left beside its destination."""
    remove_tree(temporary_path(destination))


def remove_tree(path: str) -> None:
    """Remove a directory with all that is in it. A path that does not exist is not an error.

    :raises CloneFailed: something could not be removed; ``details`` names each such path
    """
    left = trees.remove(path)
    if left:
        others = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise CloneFailed(
            f"Removing {path} failed: {left[0].reason} ({left[0].path}{others}).",
            "Remove it by hand as its owner or as root.",
            {"left": [dataclasses.asdict(item) for item in left]},
        )


def _clone_into(source: str, destination: str, private: bool) -> t.Tuple[t.List[str], t.List[t.Tuple[str, int]]]:
    """Fill a new directory. Returns its directories, the innermost first, and method and bytes written of each file.

    Each file is fsynced while it is open.
    """
    found = tuple(walk(source))
    directories = [destination, *(os.path.join(destination, item.disk_path) for item in found if item.is_directory)]
    for directory in directories:
        os.mkdir(directory, 0o700)
    for item in found:
        path = os.path.join(source, item.disk_path)
        if item.is_link:
            os.symlink(os.readlink(path), os.path.join(destination, item.disk_path))
        elif not (item.is_directory or item.is_file):
            raise CloneFailed(f"Cloning {path} failed: it is not a file, directory or link.")

    def clone(item: Found) -> t.Tuple[str, int]:
        target = os.path.join(destination, item.disk_path)
        mode = _file_mode(item.status.st_mode, private)
        return _clone_file(os.path.join(source, item.disk_path), target, mode, durable=True)

    workers = trees.FSYNCS_AT_ONCE
    files = (item for item in found if item.is_file)
    with contextlib.closing(pipeline.unordered_map(clone, files, workers=workers, window=4 * workers)) as stage:
        clones = list(stage)
    if not private:
        for directory in directories:
            os.chmod(directory, 0o755)
    return directories[::-1], clones


def _summary(clones: t.Sequence[t.Tuple[str, int]]) -> CloneResult:
    methods = {method for method, _copied in clones}
    method = methods.pop() if len(methods) == 1 else COPY
    return CloneResult(method, len(clones), sum(copied for _method, copied in clones))


def _file_mode(source_mode: int, private: bool) -> int:
    mode = 0o600 if private else 0o644
    if source_mode & 0o111:
        mode |= 0o100 if private else 0o111
    return mode


def _clone_file(source: str, destination: str, mode: int, *, durable: bool) -> t.Tuple[str, int]:
    """Returns the method, and how many bytes were written instead of shared."""
    try:
        if sys.platform == "darwin":
            _clonefile(source, destination)
            _finish_clone(destination, mode, durable)
            return CLONEFILE, 0
        _reflink(source, destination, mode, durable)
        return REFLINK, 0
    except _Unsupported:
        return COPY, _copy_sparse(source, destination, mode, durable)


def _finish_clone(path: str, mode: int, durable: bool) -> None:
    """Give a new clone, which has the flags and permissions of its original, its own."""
    try:
        trees.unlock(path, os.lstat(path))
        os.chmod(path, mode)
        if durable:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException:
        trees.remove(path)
        raise


def _clonefile(source: str, destination: str) -> None:
    try:
        function = ctypes.CDLL(None, use_errno=True).clonefile
    except AttributeError:
        raise _Unsupported from None
    flags = ctypes.c_uint32(_CLONE_NOFOLLOW | _CLONE_NOOWNERCOPY)
    if function(os.fsencode(source), os.fsencode(destination), flags) != 0:
        number = ctypes.get_errno()
        if number in _NO_CLONES_ON_DARWIN:
            raise _Unsupported
        raise OSError(number, os.strerror(number), destination)


def _reflink(source: str, destination: str, mode: int, durable: bool) -> None:
    source_descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        with _NewFile(destination, mode, durable) as descriptor:
            try:
                fcntl.ioctl(descriptor, _FICLONE, source_descriptor)
            except OSError as error:
                if error.errno in _NO_CLONES_ON_LINUX:
                    raise _Unsupported from error
                raise
    finally:
        os.close(source_descriptor)


def _copy_sparse(source: str, destination: str, mode: int, durable: bool) -> int:
    """Copy what is not zero; holes are found by looking at the bytes, since APFS has reported data as holes."""
    copied = offset = 0
    new_file = _NewFile(destination, mode, durable)
    with open(source, "rb", buffering=0, opener=_open_no_follow) as stream, new_file as descriptor:
        # Most files of a bundle are small, and there may be thousands.
        buffer = bytearray(max(1, min(_BLOCK_BYTES, os.fstat(stream.fileno()).st_size)))
        while True:
            count = stream.readinto(buffer)
            if not count:
                break
            for begin, end in _data_runs(buffer, count):
                write_all(descriptor, memoryview(buffer)[begin:end], offset + begin)
                copied += end - begin
            offset += count
        os.ftruncate(descriptor, offset)
    return copied


def _data_runs(buffer: bytearray, count: int) -> t.Iterator[t.Tuple[int, int]]:
    """Begin and end of what is not zero in the first bytes of a block, in whole pieces."""
    # Only bytes and bytearray compare by memcmp.
    if (buffer if count == _BLOCK_BYTES else buffer[:count]) == _ZERO_BLOCK[:count]:
        return
    begin = 0
    for start in range(0, count, _PIECE_BYTES):
        piece = buffer[start : min(start + _PIECE_BYTES, count)]
        if piece == _ZERO_BLOCK[: len(piece)]:
            if begin < start:
                yield begin, start
            begin = start + len(piece)
    if begin < count:
        yield begin, count


def _open_no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


class _NewFile:
    """A file that did not exist before, and does not afterwards if the block fails; fsynced if it is to be durable."""

    def __init__(self, path: str, mode: int, durable: bool) -> None:
        self._path = path
        self._mode = mode
        self._durable = durable
        self._descriptor = -1

    def __enter__(self) -> int:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        return self._descriptor

    def __exit__(self, kind: t.Optional[t.Type[BaseException]], *_rest: t.Any) -> None:
        try:
            if kind is None:
                os.fchmod(self._descriptor, self._mode)
                if self._durable:
                    os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            if kind is not None:
                os.unlink(self._path)
