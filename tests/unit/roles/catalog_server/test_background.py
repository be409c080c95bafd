# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keeper of a host without a service manager, as a real process."""

from __future__ import annotations

import os
import pathlib
import pwd
import signal
import subprocess
import sys
import time
import typing as t

import pytest

PROGRAM = pathlib.Path(__file__).parents[4] / "roles/catalog_server/files/deploy/background.py"
SECONDS = 20


def wait_for(condition: t.Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        os.sched_yield()


class Background:
    """The program with a pid file and a log of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.pid_file = directory / "pid"
        self.log_file = directory / "log"

    def call(self, *words: str) -> int:
        user = pwd.getpwuid(os.geteuid()).pw_name
        options = ["--user", user, "--pid-file", str(self.pid_file), "--log-file", str(self.log_file)]
        return subprocess.run([sys.executable, PROGRAM, *options, *words], timeout=SECONDS, check=False).returncode

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""


@pytest.fixture(name="background")
def make_background(tmp_path: pathlib.Path) -> t.Iterator[Background]:
    background = Background(tmp_path)
    yield background
    background.call("stop")


def test_it_runs_until_it_is_stopped(background: Background) -> None:
    assert background.call("status") == 3
    assert background.call("start", "sh", "-c", "echo begun; exec sleep 600") == 0
    assert background.call("status") == 0
    wait_for(lambda: "begun" in background.log())
    assert background.call("stop") == 0
    assert background.call("status") == 3


def test_a_second_start_changes_nothing(background: Background) -> None:
    background.call("start", "sleep", "600")
    first = background.pid_file.read_text(encoding="ascii")
    assert background.call("start", "sleep", "600") == 0
    assert background.pid_file.read_text(encoding="ascii") == first


def test_a_command_that_ends_is_started_again(background: Background) -> None:
    background.call("start", "sh", "-c", "echo begun; exit 7")
    wait_for(lambda: background.log().count("begun") >= 2)
    assert "ended with status 7" in background.log()
    assert background.call("status") == 0


def test_the_pid_file_of_a_dead_keeper_counts_for_nothing(background: Background) -> None:
    background.call("start", "sh", "-c", "read forever")
    os.kill(int(background.pid_file.read_text(encoding="ascii")), signal.SIGKILL)
    wait_for(lambda: background.call("status") == 3)
    assert background.call("start", "sleep", "600") == 0
    assert background.call("status") == 0
