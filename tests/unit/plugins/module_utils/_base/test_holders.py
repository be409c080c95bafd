# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.holders import is_held

# How a program can lock the file that it is told, until its input ends.
WAYS = {
    "flock, exclusive": "fcntl.flock(f, fcntl.LOCK_EX)",
    "fcntl, exclusive": "fcntl.lockf(f, fcntl.LOCK_EX)",
    "fcntl, shared": "fcntl.lockf(f, fcntl.LOCK_SH)",
    "fcntl, one byte": "fcntl.lockf(f, fcntl.LOCK_EX, 1, 1000)",
}


@contextlib.contextmanager
def holder(path: Path, way: str) -> t.Iterator[None]:
    """A process that holds a lock."""
    program = f"import fcntl, sys; f = open(sys.argv[1], 'r+b'); {way}; print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()


@pytest.mark.parametrize("way", list(WAYS.values()), ids=list(WAYS))
def test_a_lock_is_seen_while_its_process_lives(tmp_path: Path, way: str) -> None:
    path = tmp_path / "vm.lock"
    path.touch()
    before = path.stat()
    assert not is_held(str(path))
    with holder(path, way):
        assert is_held(str(path))
        assert is_held(str(path))
    assert not is_held(str(path))
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    )


def test_nothing_is_held_where_nothing_can_be_asked(tmp_path: Path) -> None:
    assert not is_held(str(tmp_path / "none"))
    (tmp_path / "link").symlink_to("none")
    assert not is_held(str(tmp_path / "link"))
    (tmp_path / "directory.lock").mkdir()
    assert not is_held(str(tmp_path / "directory.lock"))
