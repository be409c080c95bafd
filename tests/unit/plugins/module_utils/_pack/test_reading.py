# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, codecs, reading, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    BundleChanged,
    PackError,
    UnreadableBundle,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    MemoryStorage,
    make_bundle,
    noise,
    write_file,
)


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "Runner.pvm", {IMAGE: noise(1, 20 << 20)})


def test_reading_ends_with_the_file(root: Path) -> None:
    write_file(root / "a", b"0123456789")
    descriptor = reading.open_file(str(root), "a")
    try:
        buffer = bytearray(8)
        assert reading.read_into(descriptor, memoryview(buffer), 1) == 8
        assert bytes(buffer) == b"12345678"
        assert reading.read_into(descriptor, memoryview(buffer), 7) == 3
        assert bytes(buffer[:3]) == b"789"
        assert reading.read_into(descriptor, memoryview(buffer), 99) == 0
    finally:
        os.close(descriptor)
    assert reading.read_range(str(root), "a", 7, 8) == b"789"


def test_reading_where_preadv_does_not_exist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv")
    test_reading_ends_with_the_file(root)


def test_a_link_in_place_of_a_file_is_not_read(root: Path) -> None:
    (root / "link").symlink_to("config.pvs")
    with pytest.raises(BundleChanged):
        reading.open_file(str(root), "link")


# What the operating system refuses


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, call: int) -> None:
    """Make one read from a file fail: the ``call``-th from now on that asks for a megabyte or more, or any for 0."""
    real = os.preadv
    left = [call]

    def preadv(descriptor: int, buffers: t.Any, offset: int) -> int:
        if call == 0 or sum(len(buffer) for buffer in buffers) >= 1 << 20:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(number, os.strerror(number))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)


MEANINGS = [
    (errno.EDEADLK, "it is in iCloud and not downloaded to this Mac", "Download"),
    (errno.EIO, "the disk cannot read a part of it", "Disk Utility"),
    (errno.EPERM, "macOS protects it", "Full Disk Access"),
    (errno.ENXIO, "its volume is not there any more", "Connect"),
    (errno.ESTALE, "its file server", "Connect"),
    (errno.EMFILE, "too many open files", "ulimit"),
    (errno.ENOMEM, os.strerror(errno.ENOMEM), "push"),
]


def assert_told(error: PackError, root: Path, path: str, number: int, meaning: str, hint: str) -> None:
    assert error.__class__ is UnreadableBundle
    assert error.code == "unreadable_bundle"
    for word in (str(root), path, meaning, os.strerror(number)):
        assert word in error.message
    assert hint in (error.hint or "")
    assert (error.details["path"], error.details["errno"]) == (path, errno.errorcode[number])


@pytest.mark.parametrize(("number", "meaning", "hint"), MEANINGS)
def test_what_cannot_be_read_when_the_bundle_is_looked_at(
    root: Path, number: int, meaning: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, number, 0)
    with pytest.raises(UnreadableBundle) as caught:
        bundle.inspect(str(root), CHUNK)
    assert_told(caught.value, root, "NVRAM.dat", number, meaning, hint)


@pytest.mark.parametrize("call", [0, 2])
@pytest.mark.parametrize(("number", "meaning", "hint"), MEANINGS)
def test_what_cannot_be_read_in_the_middle_of_a_push(
    root: Path, call: int, number: int, meaning: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bundle.inspect(str(root), CHUNK)
    fail_at(monkeypatch, number, call + 1)
    storage = MemoryStorage()
    with pytest.raises(UnreadableBundle) as caught:
        writer.write_pack(snapshot, KnownChunks(), codecs.make_encoder(0, 1), storage.put)
    assert_told(caught.value, root, IMAGE, number, meaning, hint)


def test_what_cannot_be_read_for_the_estimate(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = bundle.inspect(str(root), CHUNK)
    calls = 0

    def encode(data: codecs.Buffer) -> tuple[int, bytes]:
        # The first chunk of the sample was read by then.
        nonlocal calls
        calls += 1
        fail_at(monkeypatch, errno.EIO, 0)
        return 0, bytes(data)

    with pytest.raises(UnreadableBundle) as caught:
        writer.scan(snapshot, KnownChunks(), encode)
    assert calls == 1
    assert_told(caught.value, root, caught.value.details["path"], errno.EIO, "the disk cannot read", "Disk Utility")


@pytest.mark.parametrize("name", ["scandir", "readlink"])
@pytest.mark.parametrize(("number", "meaning", "hint"), MEANINGS[:3])
def test_what_cannot_be_walked(
    root: Path, name: str, number: int, meaning: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "harddisk.hdd/link").symlink_to("nowhere")
    real = getattr(os, name)
    failing = {"scandir": "harddisk.hdd", "readlink": "harddisk.hdd/link"}[name]

    def fail(path: str, **options: t.Any) -> t.Any:
        if path == str(root / failing):
            raise OSError(number, os.strerror(number), path)
        return real(path, **options)

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(UnreadableBundle) as caught:
        bundle.inspect(str(root), CHUNK)
    assert_told(caught.value, root, failing, number, meaning, hint)


def test_what_vanishes_under_the_walk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> t.Any:
        if path == str(root / "harddisk.hdd"):
            shutil.rmtree(root / "harddisk.hdd")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(BundleChanged, match=r"harddisk\.hdd .*not there any more"):
        bundle.inspect(str(root), CHUNK)
