# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real child process that stands for caffeinate(8)."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import power

_DEADLINE_SECONDS = 20.0
# Like the real one: ends when the process after -w has ended, and at a signal.
_FAKE = """#!/bin/sh
trap '{trap}' TERM
echo "$$ $*" > {note}.new && mv {note}.new {note}
while kill -0 "$3" 2>/dev/null; do sleep 0.05; done
echo left >> {note}
"""


@pytest.fixture(name="note")
def note_fixture(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "note"


def fake(note: pathlib.Path, trap: str = "exit 0") -> str:
    program = note.with_name("caffeinate")
    program.write_text(_FAKE.format(note=note, trap=trap))
    program.chmod(0o755)
    return str(program)


def wait_until(is_true: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def started(note: pathlib.Path) -> int:
    """Process id of the fake once it runs."""
    wait_until(note.exists)
    process, arguments = note.read_text().splitlines()[0].split(" ", 1)
    assert arguments == f"-i -w {os.getpid()}"
    return int(process)


@pytest.mark.parametrize("fails", [False, True])
def test_awake_while_the_block_runs(note: pathlib.Path, fails: bool) -> None:
    process = 0
    try:
        with power.awake(fake(note)):
            process = started(note)
            assert is_running(process)
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert not is_running(process)


def test_one_that_does_not_listen_is_ended(note: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "_GRACE_SECONDS", 0.1)
    with power.awake(fake(note, trap="")):
        process = started(note)
    assert not is_running(process)


def test_it_ends_with_a_process_that_is_killed(note: pathlib.Path) -> None:
    code = (
        "import os, signal, sys, time, pathlib\n"
        "from ansible_collections.macfleet.parallels.plugins.module_utils._host import power\n"
        "with power.awake(sys.argv[1]):\n"
        "    while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = pathlib.Path(power.__file__).parents[6]
    subprocess.run(
        [sys.executable, "-c", code, fake(note), str(note)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        check=False,
        timeout=_DEADLINE_SECONDS,
    )
    wait_until(lambda: note.read_text().endswith("left\n"))


def test_without_the_program_the_block_runs_all_the_same(tmp_path: pathlib.Path) -> None:
    for program in (None, str(tmp_path / "missing")):
        with power.awake(program):
            pass


@pytest.mark.parametrize(("platform", "program"), [("darwin", "/usr/bin/caffeinate"), ("linux", None)])
def test_only_macos_has_it(monkeypatch: pytest.MonkeyPatch, platform: str, program: t.Optional[str]) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert power.caffeinate() == program
