# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real file systems, real processes: a cache in a directory of its own, volumes with and without clones."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac

_TOOLS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@pytest.fixture
def cache(tmp_path: pathlib.Path) -> Cache:
    return Cache.open(str(tmp_path / "cache"), create=True)


@pytest.fixture
def mac(tmp_path: pathlib.Path) -> Mac:
    return Mac(tmp_path)


@pytest.fixture(scope="session", params=["xfs", "btrfs"])
def _volume_with_clones(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[pathlib.Path]:
    yield from _mounted(request.param, tmp_path_factory.mktemp(request.param), 512)


@pytest.fixture(scope="session")
def _volume_without_clones(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    yield from _mounted("ext4", tmp_path_factory.mktemp("ext4"), 8)


@pytest.fixture
def reflink_volume(_volume_with_clones: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """An empty directory of a volume that has clones."""
    yield from _emptied(_volume_with_clones)


@pytest.fixture(scope="session")
def xfs_without_reflinks(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    """A volume of a kind that usually has clones."""
    yield from _mounted("xfs", tmp_path_factory.mktemp("old-xfs"), 512, "reflink=0")


@pytest.fixture
def small_volume(_volume_without_clones: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """An empty directory of a volume without clones, which a few MiB fill."""
    yield from _emptied(_volume_without_clones)


def _emptied(volume: pathlib.Path) -> t.Iterator[pathlib.Path]:
    directory = volume / "test"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


def _mounted(
    kind: str, scratch: pathlib.Path, size_mib: int, xfs_metadata: str = "reflink=1"
) -> t.Iterator[pathlib.Path]:
    make = shutil.which(f"mkfs.{kind}", path=_TOOLS)
    if os.geteuid() != 0 or make is None:
        pytest.skip(f"needs root and mkfs.{kind}")
    image = scratch / "image"
    with open(image, "wb") as stream:
        stream.truncate(size_mib << 20)
    options = {"xfs": ["-q", "-m", xfs_metadata], "btrfs": ["-q"], "ext4": ["-q", "-m", "0"]}[kind]
    subprocess.run([make, *options, str(image)], check=True, timeout=60)
    mount_point = scratch / "mount"
    mount_point.mkdir()
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(mount_point)], check=False, timeout=60, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine cannot mount {kind}: {mounted.stderr.strip()}")
    try:
        yield mount_point
    finally:
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["umount", str(mount_point)], check=True, timeout=60)
