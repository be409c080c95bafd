# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes each result of a playbook run, and how long it took, as a line of JSON."""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: record_results
type: notification
short_description: Writes results as lines of JSON
description:
  - Appends one line for each result to the file that the environment variable E(RECORD_RESULTS_PATH) names.
requirements:
  - enabled in the configuration
"""


class CallbackModule(CallbackBase):
    """See the documentation above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._begun: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """A host begins a task."""
        self._begun[(str(host), task._uuid)] = time.monotonic()

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """It went well."""
        self._write("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """It failed."""
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """There was no way to the host."""
        self._write("unreachable", result)

    def _write(self, status: str, result: t.Any) -> None:
        ended = time.monotonic()
        host, task = result._host.get_name(), result._task
        row = {
            "host": host,
            "task": task.get_name(),
            "action": task.resolved_action or task.action,
            "status": status,
            "seconds": ended - self._begun.get((host, task._uuid), ended),
            "result": result._result,
        }
        with open(os.environ["RECORD_RESULTS_PATH"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, default=str) + "\n")
