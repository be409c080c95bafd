# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Watches a module that went to the background of a managed host (``module_utils/_bridge/background.py``).

One command at a time waits on the host for the end of the module, as long as no line of progress is due: few commands,
and none of them late. Connections that break are made again; a module that died is noticed; an interrupted play ends
its transfer, and so does one that was killed.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
import time
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.utils.display import Display
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.background import (
    CANCEL_SUFFIX,
    LOCK_SUFFIX,
    RESULT_SUFFIX,
    WATCHED_SUFFIX,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._host_results import cleaned
from ansible_collections.macfleet.parallels.plugins.plugin_utils._interruptions import (
    Interrupted,
    Overdue,
    Signals,
    deadline,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._progress_lines import ProgressLines

if t.TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

Result = t.Dict[str, t.Any]

# A grant is not renewed for longer, so a transfer cannot last longer.
LIMIT_SECONDS = 24 * 3600
# How long a host may be out of reach, or nothing be known of a transfer, before the task gives up.
LOST_SECONDS = 900.0
# How much longer than asked a command may take. Only a connection that is dead takes longer.
OVERDUE_SECONDS = 60.0
RECONNECT_SECONDS = 2.0
_UNREADABLE = 5
# What os.path.expanduser and os.path.expandvars expand in the option of a module.
_EXPANDED = re.compile(r"^~[\w.-]*/|\$[a-z_]\w*|\$\{[a-z_]\w*\}", re.ASCII | re.IGNORECASE)
_POLL = Path(__file__).with_name("_poll_on_host.py")
_AGAIN = "Run the task again; it resumes where it was."

display = Display()


class TransferLost(CatalogError):
    """The module ended without a result, or its host is out of reach."""

    code = "transfer_lost"


class BackgroundJob:
    """A module that works in the background as soon as it has much to do.

    ``path`` is the progress file that it will have; ``name`` stands at the beginning of the lines of progress. A task
    with ``no_log`` has no such lines.
    """

    def __init__(
        self,
        action: ActionBase,
        path: str,
        name: str,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._action = action
        self._path = path
        self._play = os.getppid()
        self._process = 0
        self._python = ""
        self._name = name
        self._clock = clock
        self._sleep = sleep
        self._lines = ProgressLines(clock)
        self._is_silent = bool(action._task.no_log)

    def run(self, start: t.Callable[[], Result]) -> Result:
        """Have ``start`` run the module, wait for its end wherever it is; return what it returned.

        :raises TransferLost: it ended without a result, or its host is out of reach
        """
        with Signals() as signals:
            try:
                signals.deliver()
                started = start()
                place = started.pop("transfer", None)
                if not isinstance(place, dict):
                    if "module_stdout" in started:
                        # What the module printed did not arrive whole, so it may have gone to the background.
                        self._cancel()
                    return started
                self._path, self._process, self._python = _job(place)
                result = self._wait()
            except BaseException:
                # Also when the user interrupts, or the connection breaks before the answer is here: nobody would watch
                # the transfer any more. One that cannot be told ends by itself, later.
                signals.hold()
                self._cancel()
                raise
            signals.hold()
            self._forget()
        if result is None:
            raise TransferLost("The transfer ended without a result. Was the host restarted?", _AGAIN)
        line = self._lines.last(result)
        if line:
            self._say(line)
        return result

    def _wait(self) -> Result | None:
        """Return what the module returned, or None if it has ended and returned nothing.

        :raises TransferLost: the host is out of reach, its progress cannot be read, or the transfer takes too long
        """
        began_at = known_at = self._clock()
        unreadable, pause_seconds = 0, self._lines.pause()
        while self._clock() - began_at < LIMIT_SECONDS:
            if os.getppid() != self._play:
                # The play was killed, and this worker of it was not.
                raise Interrupted
            try:
                answer = self._poll(pause_seconds)
            except (AnsibleConnectionFailure, Overdue) as error:
                self._reconnect(error, known_at)
                continue
            if answer is None:
                unreadable += 1
                if unreadable >= _UNREADABLE:
                    break
                self._sleep(RECONNECT_SECONDS)
                continue
            snapshot = _object(answer.get("progress"))
            if answer.get("ended"):
                return cleaned(_object(answer.get("result")) or (snapshot or {}).get("result"))
            pause_seconds = self._lines.pause_in_the_dark()
            if snapshot is not None:
                known_at, unreadable = self._clock(), 0
                self._show(snapshot)
                pause_seconds = self._lines.pause()
            elif self._clock() - known_at > LOST_SECONDS:
                break
        if self._clock() - began_at >= LIMIT_SECONDS:
            raise TransferLost(f"The transfer had not ended after {LIMIT_SECONDS // 3600} hours.", _AGAIN)
        raise TransferLost(
            f"The progress of the transfer could not be read for {self._clock() - known_at:.0f} seconds.",
            "Check that the host was not restarted, and that its ansible_async_dir can be read. " + _AGAIN,
        )

    def _poll(self, seconds: float) -> Result | None:
        """Wait on the host for the end of the module, at most so long; return what ``_poll_on_host.py`` prints.

        :raises Overdue: there is no answer, though it is time
        """
        words = [self._python, "-I", "-S", "-c", _POLL.read_text(encoding="ascii")]
        words += [self._path, str(self._process), f"{seconds:.1f}"]
        with deadline(seconds + OVERDUE_SECONDS):
            answer = self._action._low_level_execute_command(shlex.join(words))
        return _object(answer.get("stdout"))

    def _show(self, snapshot: t.Mapping[str, t.Any]) -> None:
        line = self._lines.line(snapshot)
        if line:
            self._say(line)

    def _say(self, line: str) -> None:
        if not self._is_silent:
            display.display(f"{self._name}: {line}")

    def _say_verbosely(self, line: str) -> None:
        if not self._is_silent:
            display.vvv(f"{self._name}: {line}")

    def _reconnect(self, error: BaseException, known_at: float) -> None:
        silent_seconds = self._clock() - known_at
        if silent_seconds > LOST_SECONDS:
            raise TransferLost(
                f"The host has been out of reach for {silent_seconds:.0f} seconds, and its transfer may still run: "
                f"{str(error) or 'it does not answer'}",
                "Run the task again when the host is back; it resumes where it was.",
            ) from error
        self._say_verbosely(f"polling the transfer failed, trying again: {error}")
        try:
            self._action._connection.reset()
        except (AttributeError, AnsibleConnectionFailure):
            pass
        self._sleep(RECONNECT_SECONDS)

    def _forget(self) -> None:
        """Have the files of the job removed. All that they say is known, so a failure costs nothing."""
        suffixes = ("", LOCK_SUFFIX, WATCHED_SUFFIX, RESULT_SUFFIX, CANCEL_SUFFIX)
        self._try(shlex.join(["rm", "-f", *(self._path + suffix for suffix in suffixes)]))

    def _cancel(self) -> None:
        # The directory may have been removed, or not be there yet.
        # Only the host knows what it stands for, until the module has said where it is.
        quoted = shlex.quote if self._process else _quoted
        directory, request = quoted(posixpath.dirname(self._path)), quoted(self._path + CANCEL_SUFFIX)
        self._try(f"umask 077; mkdir -p {directory} && : > {request}")

    def _try(self, command: str) -> None:
        try:
            with deadline(OVERDUE_SECONDS):
                self._action._low_level_execute_command(command)
        except (Exception, Overdue) as error:
            self._say_verbosely(f"{command} failed: {error}")


def _job(place: t.Mapping[str, t.Any]) -> tuple[str, int, str]:
    """Return the path, the process and the Python of a job.

    :raises TransferLost: the host has not said so
    """
    path, process, python = place.get("path"), place.get("pid"), place.get("python")
    if not isinstance(path, str) or not isinstance(process, int) or not isinstance(python, str):
        raise TransferLost("The host did not say where its transfer runs.", _AGAIN)
    return path, process, python


def _quoted(path: str) -> str:
    """Return a path for a shell, which expands homes and variables as the module does, and nothing else."""
    words, end = [], 0
    for found in _EXPANDED.finditer(path):
        words.append(shlex.quote(path[end : found.start()]) if found.start() > end else "")
        words.append(f'"{found[0]}"' if found[0].startswith("$") else found[0])
        end = found.end()
    return "".join(words) + (shlex.quote(path[end:]) if path[end:] else "")


def _object(text: t.Any) -> Result | None:
    """Return the first JSON object of one line in a text that may have anything around it, or None."""
    for line in text.splitlines() if isinstance(text, str) else ():
        start = line.find('{"')
        if start < 0:
            continue
        try:
            value: Result = json.JSONDecoder().raw_decode(line, start)[0]
        except (ValueError, RecursionError):
            continue
        return value
    return None
