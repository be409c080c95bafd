# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs in a process of their own, which ends by SIGKILL at a step that the test names.

    python killed_job.py JOB STEP

The settings are those of the environment. The process ends with 0 if it never came to that step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from collections.abc import Callable

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from catalog_server.app import open_services
from catalog_server.database import Database
from catalog_server.jobs.kinds import KINDS
from catalog_server.jobs.runner import new_owner, run
from catalog_server.settings import load_settings
from running import COMMAND_SECONDS, Server, environment

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


def killed(server: Server, job: str, step: str) -> bool:
    """Run a job in a process that is killed at a step; returns False if it never came there."""
    answer = subprocess.run(
        [sys.executable, __file__, job, step],
        env=environment(server.data_dir, server.settings),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert answer.returncode in (0, -signal.SIGKILL), answer.stderr
    return answer.returncode != 0


if __name__ == "__main__":
    services = open_services(load_settings())
    kind = next(one for one in KINDS if one.name == sys.argv[1])
    kill_at(sys.argv[2])
    run(services, kind, new_owner())
