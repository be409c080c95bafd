# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file system with reflinks in a file, the stand-in for APFS."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from .debian import find_program

_INSIDE = "MACFLEET_PRIVATE_MOUNTS"
_FREE_SECONDS = 30


class NoVolume(Exception):
    """Why there is none here."""


def keep_mounts_private() -> None:
    """As root, go on in a mount namespace of this process: what it mounts ends with it, however it ends."""
    if os.geteuid() != 0 or _INSIDE in os.environ:
        return
    unshare = ["unshare", "--mount", "--propagation", "private"]
    with contextlib.suppress(OSError):
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
            os.environ[_INSIDE] = "1"
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


@contextlib.contextmanager
def reflink_volume(directory: Path, size_bytes: int, packages: Path | None = None) -> t.Iterator[Path]:
    """Mount one below ``directory`` while the block runs; what has to be downloaded is kept in ``packages``.

    :raises NoVolume: it takes root, a loop device, and mkfs.xfs or mkfs.btrfs
    """
    if os.geteuid() != 0:
        raise NoVolume("a loop mount needs root")
    image, place = directory / "reflink.img", directory / "reflink"
    place.mkdir(parents=True, exist_ok=True)
    try:
        make_reflink_image(image, size_bytes, packages or directory / "packages")
        done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoVolume(done.stderr.strip())
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)
    finally:
        image.unlink(missing_ok=True)


def make_reflink_image(image: Path, size_bytes: int, packages: Path) -> None:
    """Make a file with such a file system in it, for somebody to mount.

    :raises NoVolume: it takes mkfs.xfs or mkfs.btrfs
    """
    with image.open("wb") as stream:
        stream.truncate(size_bytes)
    for name, package, options in (
        ("mkfs.xfs", "xfsprogs", ["-q", "-m", "reflink=1"]),
        ("mkfs.btrfs", "btrfs-progs", ["-q"]),
    ):
        program = find_program(name, package, packages)
        if program is None:
            continue
        environment = {**os.environ, **program.environment}
        done = subprocess.run(
            [program.path, *options, image], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
    raise NoVolume("neither mkfs.xfs nor mkfs.btrfs can be had")


def free_bytes(place: Path) -> int:
    """What is free once everything is on the disk."""
    os.sync()
    status = os.statvfs(place)
    return status.f_bfree * status.f_frsize


def wait_until_free(place: Path, byte_count: int) -> None:
    """Wait until so much is free: XFS frees the blocks of removed files a little later."""
    deadline = time.monotonic() + _FREE_SECONDS
    while free_bytes(place) < byte_count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{place} has {free_bytes(place)} free bytes, not {byte_count}")
        time.sleep(0.05)
