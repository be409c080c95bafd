# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the server's host: steps of the role that a module of Ansible cannot do in one go.

    python3 - INSTALL uninstall check|remove < host_steps.py
    python3 - INSTALL claim < host_steps.py
    python3 - INSTALL unpack RUN ARCHIVE RELEASE ENVIRONMENT < host_steps.py
    python3 - INSTALL drop|mark RUN DIRECTORY < host_steps.py
    python3 - INSTALL put|discard|back|clean RUN CHANGES < host_steps.py

``claim`` prints a name for this run of the role. From then on, the steps of an earlier run are refused, whether it was
interrupted or still goes on: of two runs at once, the later one goes on. Each step holds a lock while it works. The
claim ends with ``clean``, which is the last step of a run.

``put`` keeps each file as ``FILE.before``, unless an interrupted run has done so, and moves ``FILE.RUN.new`` to its
place. ``discard`` removes what was not put there, ``back`` undoes it. ``clean`` removes what runs have left beside the
files, and the releases and environments that no link needs.
CHANGES is JSON: the files, those that shall not be there, and the links of INSTALL, where nothing means no link::

    {"files": [PATH, …], "removed": [PATH, …], "links": {"current": PATH, "previous": PATH, "undone": ""}}
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

LINKS = ("current", "previous", "undone")
# What the role has made below INSTALL
PROGRAM = (*LINKS, "run", "bin/catalog-server", "bin/catalog-server-background", "releases", "venvs")
LOCK_SECONDS = 120
POLL_SECONDS = 0.1


def uninstall(install: Path, how: str) -> str:
    """Remove the program, and its directories if nothing else is in them; return what is removed, one path a line.

    ``how`` is ``remove``, or ``check`` to tell it only.
    """
    found = [install / name for name in PROGRAM if os.path.lexists(install / name)]
    if how == "remove":
        for path in found:
            remove(path)
        for directory in (install / "bin", install):
            # One with other things in it stays, and one that is a link or a mount point.
            with contextlib.suppress(OSError):
                directory.rmdir()
    return "\n".join(map(str, found))


def remove(path: Path) -> None:
    """Remove a file, a link or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# One run at a time


@contextlib.contextmanager
def claimed(install: Path, run: str | None) -> t.Iterator[t.TextIO]:
    """Hold the lock of the installation while the block runs; ``run`` must have the claim, or None takes it."""
    descriptor = os.open(install / "run", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(descriptor, "r+", encoding="ascii") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                sys.exit(
                    f"Another run of the role has held {install / 'run'} for {LOCK_SECONDS} s. Run the role again."
                )
            time.sleep(POLL_SECONDS)
        if run is not None and file.read() != run:
            sys.exit("Another run of the role has begun on this host, so this one ends. Run the role again.")
        yield file


def claim(install: Path) -> str:
    """Return the name that this run has from now on."""
    name = secrets.token_hex(8)
    with claimed(install, None) as file:
        file.truncate(0)
        file.write(name)
    return name


class Run(t.NamedTuple):
    """The run of the role that has the claim."""

    install: Path
    name: str


# What must be whole


def unpack(run: Run, archive: str, release: str, environment: str) -> None:
    """Make a release of an archive. It has its name when it is complete."""
    target, partial = Path(release), Path(f"{release}.new")
    if is_complete(target):
        # Another run has made it since this one has looked, and it may be in use.
        return
    for directory in (target, partial):
        shutil.rmtree(directory, ignore_errors=True)
    with tarfile.open(archive) as packed:
        # Older Pythons know no filters.
        if hasattr(tarfile, "data_filter"):
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(partial)
    # The server may not write here. Without the variables of whoever runs it: beside the sources, where it looks.
    argv = [f"{environment}/bin/python", "-E", "-m", "compileall", "-q", "-j", "0", str(partial)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The release could not be compiled: {(done.stdout + done.stderr).strip()}")
    (partial / "venv").symlink_to(environment)
    mark(run, str(partial))
    partial.rename(target)


def drop(_run: Run, directory: str) -> None:
    """Remove what an earlier run has not finished."""
    if not is_complete(Path(directory)):
        remove(Path(directory))


def mark(_run: Run, directory: str) -> None:
    """Mark what is complete. It is whole behind a power cut, too."""
    os.sync()
    Path(directory, "complete").touch()


def is_complete(directory: Path) -> bool:
    """Return whether a release or an environment is whole."""
    return (directory / "complete").exists()


def put(run: Run, changes: str) -> None:
    """Put what is new into its place, and keep what was there. If this fails, everything is as it was."""
    asked = json.loads(changes)
    files = [Path(name) for name in asked["files"]]
    links = {name: link(run.install / name) for name in LINKS}
    keep(files)
    try:
        for file in files:
            if new(file, run).exists():
                move(new(file, run), file)
        for name in asked["removed"]:
            Path(name).unlink(missing_ok=True)
        set_links(run.install, asked["links"])
    except OSError as error:
        restore(run.install, files, links)
        sys.exit(f"What is new could not be put into its place ({error}), so what was in use before is there again.")


def keep(files: list[Path]) -> None:
    """Keep each file as ``FILE.before``, or none of them."""
    kept = []
    try:
        for file in files:
            before = beside(file, "before")
            # A link needs no room, and is whole at once.
            if file.exists() and not before.exists():
                os.link(file, before)
                kept.append(before)
    except OSError as error:
        for before in kept:
            before.unlink()
        sys.exit(f"What is in use could not be kept ({error}), so nothing was replaced.")


def discard(run: Run, changes: str) -> None:
    """Remove what was not put into its place."""
    for name in json.loads(changes)["files"]:
        new(Path(name), run).unlink(missing_ok=True)


def back(run: Run, changes: str) -> None:
    """Put back what ``put`` has kept."""
    asked = json.loads(changes)
    restore(run.install, [Path(name) for name in asked["files"]], asked["links"])


def restore(install: Path, files: list[Path], links: dict[str, str]) -> None:
    """Give the files the content that they had before, and the links these targets."""
    for file in files:
        if beside(file, "before").exists():
            move(beside(file, "before"), file)
        else:
            file.unlink(missing_ok=True)
    set_links(install, links)


def clean(run: Run, changes: str) -> str:
    """Remove what is not needed any more; return its paths, one a line."""
    left = [path for name in json.loads(changes)["files"] for path in left_beside(Path(name))]
    for path in left:
        path.unlink()
    directories = unneeded(run.install)
    for path in directories:
        remove(path)
    return "\n".join(map(str, (*left, *directories)))


def left_beside(file: Path) -> list[Path]:
    """Return what this run and earlier ones have left beside a file."""
    before = beside(file, "before")
    return [*sorted(file.parent.glob(f"{glob.escape(file.name)}.*.new")), *([before] if before.exists() else [])]


def unneeded(install: Path) -> list[Path]:
    """Return the releases and environments that none of the links need; none before there is a link."""
    releases = [Path(target) for target in (link(install / name) for name in LINKS) if target]
    kept = {Path(name).name for release in releases for name in (str(release), link(release / "venv")) if name}
    found = [path for name in ("releases", "venvs") for path in sorted((install / name).glob("*"))]
    return [path for path in found if releases and path.name not in kept]


def new(file: Path, run: Run) -> Path:
    """Return the file that the run has written beside this one. Another run has one of its own."""
    return beside(file, f"{run.name}.new")


def beside(file: Path, suffix: str) -> Path:
    """Return the file of the same name with a suffix."""
    return file.with_name(f"{file.name}.{suffix}")


def move(source: Path, target: Path) -> None:
    """Give a file the name of another one, so that it is whole there after a power cut, too."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    if target.exists() and source.samefile(target):
        source.unlink()
    else:
        source.replace(target)


def link(path: Path) -> str:
    """Return where the link points to, or nothing if there is none."""
    return os.readlink(path) if path.is_symlink() else ""


def set_links(install: Path, links: dict[str, str]) -> None:
    """Make each link point to its target, at once."""
    for name, target in links.items():
        path = install / name
        if not target:
            path.unlink(missing_ok=True)
        elif name == "current" and not is_complete(Path(target)):
            raise FileNotFoundError(f"{target} is not a complete release")
        elif link(path) != target:
            beside(path, "new").unlink(missing_ok=True)
            beside(path, "new").symlink_to(target)
            beside(path, "new").replace(path)


STEPS: dict[str, t.Callable[..., str | None]] = {
    "unpack": unpack,
    "drop": drop,
    "mark": mark,
    "put": put,
    "discard": discard,
    "back": back,
    "clean": clean,
}


def main() -> int:
    """Do one step."""
    install, step, *words = sys.argv[1:]
    # The server is another user, and must be able to read what is made here.
    os.umask(0o022)
    directory = Path(install)
    if step == "uninstall":
        print(uninstall(directory, *words), end="")
    elif step == "claim":
        print(claim(directory))
    else:
        run, *words = words
        with claimed(directory, run) as file:
            print(STEPS[step](Run(directory, run), *words) or "", end="")
            if step == "clean":
                file.truncate(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
