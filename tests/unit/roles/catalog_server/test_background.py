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

DEPLOY = pathlib.Path(__file__).parents[4] / "roles/catalog_server/files/deploy"
PROGRAM = DEPLOY / "background.py"
LOG_PROGRAM = DEPLOY / "log_lines.py"
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
    wait_for(lambda: background.call("status") in (3, 4))
    assert background.call("start", "sleep", "600") == 0
    assert background.call("status") == 0


LIVING = "echo begun $$; sleep 600 & wait"


def begun(background: Background) -> list[int]:
    """The numbers of the commands that have begun."""
    return [int(line.split()[1]) for line in background.log().splitlines() if line.startswith("begun ")]


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def start_and_kill_keeper(background: Background, command: str) -> int:
    """Start a command and kill its keeper; the number of the command, which goes on."""
    assert background.call("start", "sh", "-c", command) == 0
    wait_for(lambda: bool(begun(background)))
    os.kill(int(background.pid_file.read_text(encoding="ascii")), signal.SIGKILL)
    wait_for(lambda: background.call("status") == 4)
    (pid,) = begun(background)
    assert is_alive(pid)
    return pid


def test_a_command_whose_keeper_was_killed_is_stopped(background: Background) -> None:
    pid = start_and_kill_keeper(background, LIVING)
    assert background.call("stop") == 0
    assert not is_alive(pid)
    assert background.call("status") == 3


def test_a_command_whose_keeper_was_killed_is_replaced(background: Background) -> None:
    pid = start_and_kill_keeper(background, LIVING)
    assert background.call("start", "sh", "-c", LIVING) == 0
    assert not is_alive(pid)
    wait_for(lambda: len(begun(background)) == 2)
    assert background.call("status") == 0


def test_a_command_that_does_not_end_is_killed_with_all_of_its_processes(background: Background) -> None:
    stubborn = "trap '' TERM; echo begun $$; while :; do sleep 0.1; done"
    for keep in (True, False):
        if keep:
            assert background.call("--stop-seconds", "2", "start", "sh", "-c", stubborn) == 0
            wait_for(lambda: bool(begun(background)))
        else:
            background.log_file.unlink()
            start_and_kill_keeper(background, stubborn)
        assert background.call("--stop-seconds", "2", "stop") == 0
        assert not is_alive(begun(background)[0])
        assert background.call("status") == 3


def test_what_a_command_leaves_behind_is_ended(background: Background) -> None:
    background.call("start", "sh", "-c", "sleep 600 & echo begun $!; exit 7")
    wait_for(lambda: len(begun(background)) >= 2)
    wait_for(lambda: not is_alive(begun(background)[0]))
    assert background.call("stop") == 0
    assert not any(map(is_alive, begun(background)))


def test_a_command_that_is_not_there_yet_is_waited_for(background: Background, tmp_path: pathlib.Path) -> None:
    command = tmp_path / "command"
    assert background.call("start", str(command)) == 0
    wait_for(lambda: "could not be started" in background.log())
    command.write_text("#!/bin/sh\necho begun $$\nexec sleep 600\n", encoding="ascii")
    command.chmod(0o755)
    wait_for(lambda: bool(begun(background)))
    assert background.call("status") == 0


def test_the_last_lines_are_in_the_log_when_it_has_stopped(background: Background) -> None:
    background.call("start", "sh", "-c", "trap 'echo last; exit' TERM; echo begun; while :; do sleep 0.1; done")
    wait_for(lambda: "begun" in background.log())
    background.call("stop")
    assert background.log().splitlines()[-1] == "last"


def test_a_writer_of_the_log_that_dies_is_replaced(background: Background) -> None:
    background.call("start", "sh", "-c", "n=0; while sleep 0.05; do n=$((n+1)); echo line $n; done")
    wait_for(lambda: "line 1\n" in background.log())
    for writer in children(int(background.pid_file.read_text(encoding="ascii")), LOG_PROGRAM.name):
        os.kill(writer, signal.SIGKILL)
    seen = background.log()
    wait_for(lambda: len(background.log()) > len(seen))
    numbers = [int(line.split()[1]) for line in background.log().splitlines()]
    # A line that the dead one had read may be gone.
    assert set(range(1, numbers[-1] + 1)) - set(numbers) <= {seen.count("\n") + 1, seen.count("\n") + 2}


def children(parent: int, program: str) -> list[int]:
    """The child processes that run a program."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            is_child = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if is_child and program.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    assert found
    return found


def write_log(file: pathlib.Path, lines: t.Iterable[str], size: int, generations: int) -> None:
    options = ["--bytes", str(size), "--generations", str(generations), str(file)]
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run([sys.executable, LOG_PROGRAM, *options], input=text, text=True, timeout=SECONDS, check=True)


def test_a_log_has_a_bounded_size_and_its_newest_lines(tmp_path: pathlib.Path) -> None:
    lines = [f"line {number}" for number in range(5000)]
    file = tmp_path / "log"
    write_log(file, lines, 10_000, 3)
    files = [tmp_path / "log.2", tmp_path / "log.1", file]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(path.stat().st_size <= 10_000 for path in files)
    kept = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert kept == lines[-len(kept) :] and len(kept) > 2 * 10_000 // len("line 5000\n")
    # The next server goes on behind them.
    write_log(file, ["another"], 10_000, 3)
    assert file.read_text(encoding="utf-8").splitlines()[-1] == "another"
    assert {path.stat().st_mode & 0o777 for path in files} <= {0o640}


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: pathlib.Path) -> None:
    write_log(tmp_path / "not there" / "log", ["a line"] * 100_000, 1000, 2)
    assert list(tmp_path.iterdir()) == []
