# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs and commands in a process of their own, which ends by SIGKILL at a step that the test names."""

from __future__ import annotations

import importlib
import os
import signal
import typing as t
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from catalog_server import cli
from catalog_server.app import open_services
from catalog_server.database import Database
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.runner import new_owner, run
from catalog_server.settings_sources import load_settings
from forked import Call
from forked import run as run_forked
from running import COMMAND_SECONDS, environment

# Before or behind the call of a method, the how manyth.
STEPS: dict[str, tuple[type, str, bool, int]] = {
    "before deleting objects": (LocalStorage, "delete_many", True, 1),
    "behind deleting objects": (LocalStorage, "delete_many", False, 1),
    "before storing": (LocalStorage, "put", True, 1),
    "behind storing": (LocalStorage, "put", False, 1),
    **{f"before write {number}": (Database, "write", True, number) for number in range(1, 7)},
    **{f"behind write {number}": (Database, "write", False, number) for number in range(1, 7)},
}


def kill_at(step: str) -> None:
    """Let the process end by SIGKILL at that step."""
    owner, name, is_before, number = STEPS[step]
    original: Callable[..., t.Any] = getattr(owner, name)
    calls = 0

    def patched(*arguments: t.Any, **options: t.Any) -> t.Any:
        nonlocal calls
        calls += 1
        if is_before and calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if not is_before and calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, patched)


def killed_job(data_dir: Path, settings: Mapping[str, str], name: str, step: str) -> bool:
    """Run a job that is killed at a step; returns False if it never came there."""
    return _is_killed(Call(_job, (name, step), environment(data_dir, settings)))


def killed_command(data_dir: Path, settings: Mapping[str, str], place: str, *words: str) -> bool:
    """Run catalog-server, which is killed when it calls ``place``, a function named with its module.

    Returns False if it never came there.
    """
    return _is_killed(Call(_command, (place, words), environment(data_dir, settings)))


def _is_killed(call: Call) -> bool:
    answer = run_forked(call, COMMAND_SECONDS)
    assert answer.returncode in (0, -signal.SIGKILL), answer.stderr
    return answer.returncode != 0


def _job(name: str, step: str) -> int:
    services = open_services(load_settings())
    kind = next(one for one in KINDS if one.name == name)
    kill_at(step)
    run(services, kind, new_owner())
    return 0


def _command(place: str, words: Sequence[str]) -> int:
    module, _dot, name = place.rpartition(".")
    setattr(importlib.import_module(module), name, lambda *_words, **_more: os.kill(os.getpid(), signal.SIGKILL))
    return cli.main(words)
