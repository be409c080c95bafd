# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import commands
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import CommandRunner
from ansible_collections.macfleet.parallels.tests.unit.support import modules


@pytest.fixture(scope="module")
def runner() -> CommandRunner:
    return CommandRunner(modules.module(), max_output_bytes=100_000)


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", code, *words]


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_what_a_command_says(runner: CommandRunner) -> None:
    code = "import os,sys; print('out', os.environ['LC_ALL']); sys.stderr.write('err'); sys.exit(3)"
    assert runner(python(code)) == (3, "out C\n", "err", False)


def test_arguments_arrive_as_they_are(runner: CommandRunner) -> None:
    words = ["$HOME", "~", "a b", "", "'", "-c", "ü"]
    assert runner(python("import sys; print(sys.argv[1:])", *words)).stdout == f"{words}\n"


def test_there_is_nothing_to_read(runner: CommandRunner) -> None:
    assert runner(["cat"], 5).returncode == 0


def test_signals_are_as_a_shell_leaves_them(runner: CommandRunner) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGPIPE))"
    assert runner(["sh", "-c", "trap"]).stdout == ""
    assert runner(["sh", "-c", "kill -PIPE $$; echo alive"]).stdout == ""
    assert runner(python(code)).returncode == 0


def test_a_command_that_is_not_there(runner: CommandRunner) -> None:
    finished = runner(["/nowhere/prlctl", "list"])
    assert finished.returncode == 127
    assert finished.stderr == "/nowhere/prlctl: No such file or directory\n"


def test_garbage_is_text(runner: CommandRunner) -> None:
    finished = runner(python("import sys; sys.stdout.buffer.write(b'\\xff{}')"))
    assert finished.stdout.endswith("{}")


def test_the_deadline_ends_the_command_and_its_children(runner: CommandRunner, tmp_path: Path) -> None:
    started = time.monotonic()
    finished = runner(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; echo begun; wait"], 1.0)
    assert finished.timed_out
    assert finished.stdout == "begun\n"
    assert time.monotonic() - started < 10
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_command_that_will_not_end_is_ended(
    runner: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_GRACE_SECONDS", 0.3)
    finished = runner(["sh", "-c", f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"], 0.5)
    assert finished.timed_out
    assert gone(int((tmp_path / "pid").read_text()))


def test_output_is_bounded(runner: CommandRunner) -> None:
    for stream in ("stdout", "stderr"):
        finished = runner(python(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)"), 30)
        assert not finished.timed_out
        assert finished.stderr.endswith("\n(ended after 100000 bytes of output)")
        assert (finished.stdout + finished.stderr).count("x") == 100_000


def test_a_command_does_not_outlive_its_caller(
    runner: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = commands._Watch.started

    def started(watch: t.Any, process: t.Any) -> None:
        original(watch, process)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands._Watch, "started", started)
    with pytest.raises(KeyboardInterrupt):
        runner(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"], 30)
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_a_command_leaves_running_on_purpose_stays(runner: CommandRunner, tmp_path: Path) -> None:
    finished = runner(["sh", "-c", f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid"], 30)
    pid = int((tmp_path / "pid").read_text())
    assert finished.returncode == 0
    os.kill(pid, 0)
    os.kill(pid, 9)
