# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every refusal must be."""

from __future__ import annotations

from ansible_collections.macfleet.parallels.tests.support.ansible_runs import TaskResult

LONGEST_MESSAGE = 600
# Of these, the server's own sentence tells what to do.
SAID_BY_SERVER = ("bad_request", "missing_segment", "shared_segments")


def assert_refused(done: TaskResult, code: str, *words: str, changed: bool = False) -> str:
    """A failure with this error word: what was attempted, on what (``words``), and what to do; returns the message.

    ``changed`` says that something was done before it, which the failure tells.
    """
    result = done.result
    assert done.status == "ignored", f"{done.task} was not refused: {result}"
    assert result.get("error_code") == code, result.get("msg")
    message = str(result["msg"])
    for word in words:
        assert word in message, message
    assert "\n" not in message and "Traceback" not in message and len(message) < LONGEST_MESSAGE, message
    assert code in SAID_BY_SERVER or (result["hint"] and message.endswith(result["hint"])), message
    assert bool(result.get("changed")) == changed
    return message
