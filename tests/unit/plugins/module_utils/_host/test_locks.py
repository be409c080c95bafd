# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, CacheLocked

_HOLDING = """
import sys
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks
with locks.hold(sys.argv[1], "the pull of macos-15", 0, shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start_holder() -> t.Iterator[t.Callable[..., subprocess.Popen[str]]]:
    """Starts processes that hold a lock until their standard input ends."""
    started = []

    def start(path: pathlib.Path, kind: str = "exclusive") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLDING, str(path), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_lock_is_free_again_after_the_block(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    with locks.hold(path, "one", 0):
        pass
    with locks.hold(path, "another", 0):
        pass


def test_lock_is_free_after_an_exception(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    with pytest.raises(ZeroDivisionError), locks.hold(path, "one", 0):
        raise ZeroDivisionError
    with locks.hold(path, "another", 0):
        pass


def test_error_names_the_holder(tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]) -> None:
    path = tmp_path / "lock"
    process = start_holder(path)
    with pytest.raises(CacheLocked, match="the pull of macos-15") as caught, locks.hold(str(path), "mine", 0.05):
        pass
    assert f"process {process.pid} on " in caught.value.message
    assert caught.value.code == "cache_locked"


def test_waits_until_the_holder_has_ended(tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]) -> None:
    path = tmp_path / "lock"
    process = start_holder(path)
    told: t.List[str] = []

    def end_it(holder: str) -> None:
        told.append(holder)
        process.terminate()

    with locks.hold(str(path), "mine", 20, on_wait=end_it):
        pass
    assert len(told) == 1
    assert "the pull of macos-15" in told[0]


def test_kernel_releases_the_lock_of_a_killed_process(
    tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]
) -> None:
    path = tmp_path / "lock"
    process = start_holder(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locks.hold(str(path), "mine", 0):
        pass


def test_shared_holders_exclude_only_exclusive_ones(
    tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]
) -> None:
    path = tmp_path / "lock"
    start_holder(path, "shared")
    with locks.hold(str(path), "also shared", 0, shared=True):
        pass
    with pytest.raises(CacheLocked), locks.hold(str(path), "alone", 0):
        pass


def test_waiting_is_bounded_and_its_pauses_grow(tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]) -> None:
    path = tmp_path / "lock"
    start_holder(path)
    now = [0.0]
    pauses: t.List[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    with (
        pytest.raises(CacheLocked, match="after 3 s"),
        locks.hold(str(path), "mine", 3, clock=lambda: now[0], sleep=sleep),
    ):
        pass
    assert sum(pauses) == pytest.approx(3)
    assert pauses[0] < 0.1
    assert max(pauses) == 0.5


def test_whoever_waits_can_be_told_not_to(tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]) -> None:
    path = tmp_path / "lock"
    start_holder(path)
    looks: t.List[float] = []

    def alive() -> None:
        looks.append(0.0)
        if len(looks) == 3:
            raise InterruptedError

    with (
        pytest.raises(InterruptedError),
        locks.hold(str(path), "mine", 3600, alive=alive, sleep=lambda seconds: None),
    ):
        pass


def test_rubbish_in_the_lock_file_is_another_process(
    tmp_path: pathlib.Path, start_holder: t.Callable[..., t.Any]
) -> None:
    path = tmp_path / "lock"
    start_holder(path)
    path.write_bytes(b"\xff{[")
    with pytest.raises(CacheLocked, match="another process"), locks.hold(str(path), "mine", 0):
        pass


def test_link_in_place_of_the_lock_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(CacheError, match=os.strerror(errno.ELOOP)), locks.hold(str(tmp_path / "lock"), "mine", 0):
        pass
    assert not (tmp_path / "victim").exists()


def test_lock_that_leaves_no_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lock"
    with locks.hold(str(path), "one", 0, leaves_file=False):
        assert path.exists()
    assert not path.exists()


def test_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path: pathlib.Path) -> None:
    """While one waits, the holder removes the file, and a third makes it anew: the first must not hold the old one."""
    path = str(tmp_path / "lock")
    holders = [locks.hold(path, "the first", 0, leaves_file=False), locks.hold(path, "the third", 0, leaves_file=False)]
    holders[0].__enter__()
    seen: t.List[str] = []

    def change_over(_seconds: float) -> None:
        if len(seen) == 1:
            holders[0].__exit__(None, None, None)
            holders[1].__enter__()
        elif len(seen) == 2:
            holders[1].__exit__(None, None, None)
        seen.append("slept")

    seen.append("began")
    with locks.hold(path, "the second", 60, sleep=change_over, leaves_file=False):
        assert len(seen) == 3
        with pytest.raises(CacheLocked, match="the second"), locks.hold(path, "a fourth", 0, leaves_file=False):
            pass
    assert os.listdir(tmp_path) == []


def test_a_lock_whose_file_somebody_cleaned_up_is_taken_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lock"
    first = locks.hold(str(path), "the first", 0)
    first.__enter__()
    seen: t.List[str] = []

    def clean_up(_seconds: float) -> None:
        path.unlink()
        first.__exit__(None, None, None)
        seen.append("slept")

    with locks.hold(str(path), "the second", 60, sleep=clean_up):
        assert seen == ["slept"]
        with pytest.raises(CacheLocked, match="the second"), locks.hold(str(path), "the third", 0):
            pass


def test_whoever_ends_does_not_remove_the_lock_of_another(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lock"
    with contextlib.ExitStack() as second:
        with locks.hold(str(path), "the first", 0, leaves_file=False):
            # Somebody has cleaned up, and another task has begun.
            path.unlink()
            second.enter_context(locks.hold(str(path), "the second", 0, leaves_file=False))
        with pytest.raises(CacheLocked, match="the second"), locks.hold(str(path), "the third", 0, leaves_file=False):
            pass
    assert os.listdir(tmp_path) == []


def test_a_shared_holder_that_ends_does_not_remove_the_lock_of_the_others(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "lock")
    with locks.hold(path, "the first", 0, shared=True, leaves_file=False):
        with locks.hold(path, "the second", 0, shared=True, leaves_file=False):
            pass
        with pytest.raises(CacheLocked), locks.hold(path, "alone", 0, leaves_file=False):
            pass


def test_a_lock_file_that_never_stays_is_an_error(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_is_at", lambda descriptor, path: False)
    with pytest.raises(CacheLocked, match="was removed"), locks.hold(str(tmp_path / "lock"), "one", 0):
        pass
