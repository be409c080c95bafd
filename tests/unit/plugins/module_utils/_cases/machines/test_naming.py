# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheLocked,
    CloneFailed,
    VmNameInvalid,
)


def test_name_is_held_by_one_task_at_a_time(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "Parallels")
    with naming.lock_name(directory, "caf\u00e9", 1.0):
        with pytest.raises(CacheLocked, match="work on the virtual machine caf\u00e9"):
            with naming.lock_name(directory, "cafe\u0301", 0.0):
                pass
        with naming.lock_name(directory, "other", 0.0):
            pass
    assert os.listdir(directory) == []
    with naming.lock_name(directory, "caf\u00e9", 0.0):
        pass


def test_lock_is_hidden_and_goes_with_a_failure_too(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ZeroDivisionError), naming.lock_name(str(tmp_path), "x" * 230, 1.0):
        (name,) = os.listdir(tmp_path)
        assert name.startswith(".")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_directory_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CloneFailed, match="Making the directory"), naming.lock_name(str(tmp_path / "file/x"), "a", 1.0):
        pass


def test_temporary_bundle_is_hidden_and_has_a_short_name(tmp_path: pathlib.Path) -> None:
    name = "x" * 230
    one = naming.temporary_path(naming.home_path(str(tmp_path), name, "macvm"), "u1")
    assert one != naming.temporary_path(naming.home_path(str(tmp_path), name, "macvm"), "u2")
    assert one == str(tmp_path / ".u1.incomplete")


@pytest.mark.parametrize("name", ["../x", "", ".hidden"])
def test_name_that_leaves_the_directory(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(VmNameInvalid), naming.lock_name(str(tmp_path), name, 1.0):
        pass


def test_mount_point_of_a_path_that_is_not_there_yet(tmp_path: pathlib.Path) -> None:
    found = naming.mount_point(str(tmp_path / "not/there"))
    assert os.path.ismount(found)
    assert str(tmp_path).startswith(found)
