# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of jobs where the directory or the disk is not as it was; whole jobs: test_background_for_real.py."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import background

DONE = {"changed": True, "bytes": {"downloaded": 5}}
FAILED = {"failed": True, "msg": "The disk is full.", "error_code": "disk_full", "hint": "Make room.", "exception": "x"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs"
    directory.mkdir()
    progress = directory / "macfleet-1"
    progress.write_text("{}".ljust(512))
    return progress


def publish(path: Path, result: t.Mapping[str, t.Any]) -> None:
    background.Job(str(path), -1).publish(result)


def read(path: Path) -> t.Any:
    return json.loads(path.read_text())


def test_a_directory_that_cannot_be_used_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(background.NoJobDirectory, match=f"{tmp_path}/home/jobs: Not a directory") as caught:
        background.Job(str(tmp_path / "home/jobs/macfleet-1"), -1).detach()
    assert "ansible_async_dir" in caught.value.hint


def test_a_job_whose_lock_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "macfleet-1.lock").mkdir()
    with pytest.raises(background.NoJobDirectory):
        background.Job(str(tmp_path / "macfleet-1"), -1).detach()
    assert os.listdir(tmp_path) == ["macfleet-1.lock"]


def test_a_result_is_for_its_user_alone(path: Path) -> None:
    publish(path, DONE)
    written = Path(f"{path}.result")
    assert read(written) == DONE
    assert written.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(path.parent)) == ["macfleet-1", "macfleet-1.result"]


def test_a_directory_that_was_removed_is_made_again(path: Path) -> None:
    shutil.rmtree(path.parent)
    publish(path, DONE)
    assert read(Path(f"{path}.result")) == DONE


@pytest.mark.parametrize(("result", "code"), [(FAILED, "disk_full"), (DONE, "result_lost")])
def test_a_result_without_room_stands_in_the_progress(path: Path, result: t.Mapping[str, t.Any], code: str) -> None:
    # Nothing can be written in its place.
    Path(f"{path}.result.new").mkdir()
    publish(path, result)
    brief = read(path)["result"]
    assert (brief["failed"], brief["error_code"]) == (True, code)
    assert path.stat().st_size == 512


def test_nobody_wants_the_result_of_what_was_cancelled(path: Path) -> None:
    Path(f"{path}.cancel").touch()
    publish(path, FAILED)
    assert os.listdir(path.parent) == []


def test_what_nobody_took_is_removed_after_days(path: Path) -> None:
    before = time.time() - 3 * 24 * 3600
    for name in ("macfleet-0.result", "j123.456"):
        (path.parent / name).touch()
        os.utime(path.parent / name, (before, before))
    background._remove_stale_files(str(path.parent))
    assert sorted(os.listdir(path.parent)) == ["j123.456", "macfleet-1"]


def test_the_lock_of_a_job_that_runs_for_days_is_not_removed(path: Path) -> None:
    before = time.time() - 3 * 24 * 3600
    locks = [path.parent / "macfleet-0.lock", path.parent / "macfleet-2.lock"]
    for lock in locks:
        lock.touch()
        os.utime(lock, (before, before))
    with open(locks[0], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        background._remove_stale_files(str(path.parent))
    assert sorted(os.listdir(path.parent)) == ["macfleet-0.lock", "macfleet-1"]
