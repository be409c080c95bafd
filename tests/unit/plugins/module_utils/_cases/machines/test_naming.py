# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import pathlib
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheLocked,
    CloneFailed,
    VmNameInvalid,
    VolumeMissing,
)


def test_name_is_held_by_one_task_at_a_time(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "Parallels")
    receipts = [str(tmp_path / name) for name in ("receipts", "others")]
    for path in receipts:
        os.mkdir(path)
    with naming.lock_name(receipts[0], directory, "caf\u00e9", 1.0):
        for place, where, name in (
            # Through another cache, and through this one in another directory.
            (receipts[1], directory, "cafe\u0301"),
            (receipts[0], str(tmp_path / "elsewhere"), "cafe\u0301"),
            (receipts[0], str(tmp_path / "elsewhere"), "CAF\u00c9"),
        ):
            with pytest.raises(CacheLocked, match="work on the virtual machine caf\u00e9"):
                with naming.lock_name(place, where, name, 0.0):
                    pass
        with naming.lock_name(receipts[0], directory, "other", 0.0):
            pass
    assert [os.listdir(path) for path in (directory, *receipts)] == [[], [], []]
    with naming.lock_name(receipts[0], directory, "caf\u00e9", 0.0):
        pass


def test_both_locks_of_a_name_share_one_deadline(tmp_path: pathlib.Path) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 6:
            first.close()

    def hold(name: str, seconds: float, **options: t.Any) -> t.ContextManager[None]:
        return naming.lock_name(str(tmp_path / name), str(tmp_path / "Parallels"), "a", seconds, **options)

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with hold("one", 0.0), contextlib.ExitStack() as first:
        first.enter_context(locks.hold(naming.receipts_lock_path(str(tmp_path / "two"), "a"), "another", 0.0))
        with pytest.raises(CacheLocked, match=r"Parallels/\.a\.lock failed"):
            first.enter_context(hold("two", 10.0, clock=lambda: now, sleep=sleep))
    assert 10 <= now < 11


def test_lock_is_hidden_and_goes_with_a_failure_too(tmp_path: pathlib.Path) -> None:
    receipts, directory = tmp_path / "receipts", tmp_path / "Parallels"
    receipts.mkdir()
    with pytest.raises(ZeroDivisionError), naming.lock_name(str(receipts), str(directory), "x" * 230, 1.0):
        (name,) = os.listdir(directory)
        assert name.startswith(".")
        raise ZeroDivisionError
    assert os.listdir(directory) == os.listdir(receipts) == []


def test_directory_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CloneFailed, match="Making the directory"):
        with naming.lock_name(str(tmp_path), str(tmp_path / "file/x"), "a", 1.0):
            pass


def test_directory_on_a_disk_that_is_not_mounted(tmp_path: pathlib.Path) -> None:
    with pytest.raises(VolumeMissing, match="no volume is mounted at /Volumes/nowhere"):
        with naming.lock_name(str(tmp_path), "/Volumes/nowhere/VMs", "a", 1.0):
            pass
    assert not os.path.exists("/Volumes/nowhere")


def test_temporary_bundle_is_hidden_and_has_a_short_name(tmp_path: pathlib.Path) -> None:
    name = "x" * 230
    one = naming.temporary_path(naming.home_path(str(tmp_path), name, "macvm"), "u1")
    assert one != naming.temporary_path(naming.home_path(str(tmp_path), name, "macvm"), "u2")
    assert one == str(tmp_path / ".u1.incomplete")


@pytest.mark.parametrize("name", ["../x", "", ".hidden"])
def test_name_that_leaves_the_directory(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(VmNameInvalid), naming.lock_name(str(tmp_path), str(tmp_path), name, 1.0):
        pass


def test_mount_point_of_a_path_that_is_not_there_yet(tmp_path: pathlib.Path) -> None:
    found = naming.mount_point(str(tmp_path / "not/there"))
    assert os.path.ismount(found)
    assert str(tmp_path).startswith(found)
