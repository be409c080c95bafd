# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import commands
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import CommandRunner


@pytest.fixture(scope="module")
def runner() -> CommandRunner:
    return CommandRunner(max_output_bytes=100_000)


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
    code = "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"
    assert runner(python(code)) == (3, "out\n", "err", False)


def test_a_command_that_ends_while_nothing_is_ready_is_read(
    runner: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its outputs and the look whether it has ended, it prints all it has to say, and ends."""

    class Late(selectors.DefaultSelector):
        """Its first select has found nothing; when it returns, the command has ended."""

        is_first = True

        def select(self, timeout: t.Optional[float] = None) -> list[tuple[selectors.SelectorKey, int]]:
            if not self.is_first:
                return super().select(timeout)
            self.is_first = False
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            return []

    monkeypatch.setattr(commands.selectors, "DefaultSelector", Late)
    assert runner(python("print('out')")) == (0, "out\n", "", False)


def test_messages_are_english_and_names_are_utf8(runner: CommandRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.ISO-8859-1")
    monkeypatch.setenv("MACFLEET_KEPT", "kept")
    names = ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "MACFLEET_KEPT")
    code = f"import os; print([os.environ.get(name) for name in {names}], os.environ['LC_CTYPE'])"
    # Where there is no locale UTF-8, the launcher makes it the one that is.
    assert runner(python(code)).stdout in {f"[None, 'C', 'C', 'kept'] {name}\n" for name in ("UTF-8", "C.UTF-8")}


def test_names_are_read_as_utf8(runner: CommandRunner) -> None:
    assert runner(["printf", "日本語"]).stdout == "日本語"


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
    def read(_output: t.Any, _deadline: float) -> bool:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands._Output, "read", read)
    with pytest.raises(KeyboardInterrupt):
        runner(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"], 30)
    assert gone(int((tmp_path / "pid").read_text()))


_MODULE = """
import sys
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.commands import CommandRunner
CommandRunner()(sys.argv[1:], 60.0)
"""


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_a_command_does_not_outlive_a_module_that_is_killed(tmp_path: Path, trap: str) -> None:
    pid_file = tmp_path / "pid"
    module = subprocess.Popen(
        [sys.executable, "-c", _MODULE, "sh", "-c", f"{trap}sleep 60 & echo $! > {pid_file}; wait"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not pid_file.exists() or not pid_file.read_text().strip():
        time.sleep(0.02)
    module.kill()
    module.wait()
    assert gone(int(pid_file.read_text()))


def test_a_command_that_ended_leaves_no_guard(runner: CommandRunner, tmp_path: Path) -> None:
    assert runner(["sh", "-c", f"echo $$ > {tmp_path}/pid"], 30).returncode == 0
    group = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.02)


def test_a_command_that_closes_its_outputs_is_awaited(runner: CommandRunner) -> None:
    started = time.monotonic()
    assert runner(["sh", "-c", "exec >&- 2>&-; sleep 0.5; exit 4"], 30).returncode == 4
    assert runner(["sh", "-c", "exec >&- 2>&-; sleep 60"], 0.5).timed_out
    assert time.monotonic() - started < 20


def test_what_a_command_leaves_running_on_purpose_stays(runner: CommandRunner, tmp_path: Path) -> None:
    finished = runner(["sh", "-c", f"sleep 60 >/dev/null 2>&1 & echo $! > {tmp_path}/pid"], 30)
    pid = int((tmp_path / "pid").read_text())
    assert finished.returncode == 0
    os.kill(pid, 0)
    os.kill(pid, 9)
