# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""A module in the background of a managed host, watched from the controller.

Ansible's own jobs (``async``) do the work; what they do not have is added here: how far the job has come, patience
with connections that break, noticing a job that died, and a way to end it.
"""

from __future__ import annotations

import json
import os
import posixpath
import secrets
import shlex
import signal
import threading
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.utils.display import Display
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.progress_file import CANCEL_SUFFIX
from ansible_collections.macfleet.parallels.plugins.plugin_utils._progress_lines import ProgressLines

if t.TYPE_CHECKING:
    from ansible.plugins.action import ActionBase

Result = t.Dict[str, t.Any]

# A grant is not renewed for longer, so a transfer cannot last longer.
LIMIT_SECONDS = 24 * 3600
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
# How often the job itself is asked about, while its progress can be read; and how long it may not progress before
# somebody looks whether it still lives.
STATUS_SECONDS = 60.0
# How long a host may be out of reach before the task gives up.
LOST_SECONDS = 900.0
_HALF_WRITTEN = 5
# A module that has just ended may have a result that is not written yet.
_SURELY_GONE = 2
# Part of the command line of every module of Ansible.
_MODULE_MARK = "AnsiballZ_"
# What only the job's own bookkeeping is about.
_JOB_KEYS = (
    "ansible_job_id",
    "results_file",
    "started",
    "finished",
    "stdout",
    "stderr",
    "stdout_lines",
    "stderr_lines",
)

display = Display()


class JobLost(CatalogError):
    """The module ended without a result, or its host is out of reach."""

    code = "transfer_lost"


class _Interrupted(BaseException):
    """Somebody wants this process to end."""


class _Signals:
    """Lets a process that is to end do one thing before.

    A worker of Ansible dies at once of the signals that it gets when a play is interrupted. Inside of this context
    they wait, or between ``deliver`` and ``hold`` are exceptions; when it is left, the signal has the effect that it
    would have had.
    """

    def __init__(self) -> None:
        self._before: dict[int, t.Any] = {}
        self._received: int | None = None
        self._delivers = False

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._received is not None:
            os.kill(os.getpid(), self._received)

    def deliver(self) -> None:
        """From now on signals are exceptions, one that waits as well."""
        self._delivers = True
        if self._received is not None:
            raise _Interrupted

    def hold(self) -> None:
        """From now on signals wait."""
        self._delivers = False

    def _receive(self, number: int, _frame: t.Any) -> None:
        self._received = number
        if self._delivers:
            self._delivers = False
            raise _Interrupted


class BackgroundJob:
    """One run of a module in the background."""

    def __init__(
        self,
        action: ActionBase,
        args: t.Mapping[str, t.Any],
        task_vars: dict[str, t.Any],
        clock: t.Callable[[], float],
        sleep: t.Callable[[float], None],
    ) -> None:
        self._action = action
        self._args = args
        self._task_vars = task_vars
        self._clock = clock
        self._sleep = sleep
        self._lines = ProgressLines(clock)
        self._name = f"macfleet-{secrets.token_hex(8)}"
        self._directory = ""
        self._path = ""
        self._job_id = ""

    def run(self) -> Result:
        """Start the module, wait for its end, return what it returned."""
        with _Signals() as signals:
            started = self._start()
            if started.get("failed") or not started.get("ansible_job_id") or not started.get("results_file"):
                return started
            self._job_id = str(started["ansible_job_id"])
            self._directory = posixpath.dirname(str(started["results_file"]))
            self._path = posixpath.join(self._directory, self._name)
            try:
                signals.deliver()
                result = self._wait()
            except BaseException:
                # Also when the user interrupts: nobody would watch it any more.
                signals.hold()
                self._cancel()
                raise
        self._forget()
        if result is None:
            self._action._low_level_execute_command(f"rm -f {shlex.quote(self._path)}")
            raise JobLost(
                "The transfer ended without a result; was the host restarted?",
                "Run the task again; it goes on from there.",
            )
        return {name: value for name, value in result.items() if name not in _JOB_KEYS}

    def _start(self) -> Result:
        """Start the job. Only the host knows where its user's home is, so a path that begins there is kept as it is."""
        action = self._action
        directory = str(action.get_shell_option("async_dir", default="~/.ansible_async"))
        progress_path = action._connection._shell.join_path(directory, self._name)
        handover = {**self._args["handover"], "phase": "run", "progress_path": progress_path}
        # _execute_module() takes the job's time limit from the task.
        action._task.async_val = LIMIT_SECONDS
        try:
            return dict(
                action._execute_module(
                    module_args={**self._args, "handover": handover}, task_vars=self._task_vars, wrap_async=True
                )
            )
        finally:
            action._task.async_val = 0

    def _wait(self) -> Result | None:
        """What the module returned, or None if it runs no more and has returned nothing.

        :raises JobLost: the host is out of reach, or nobody can tell for too long what the module does
        """
        pause = FIRST_PAUSE_SECONDS
        began_at = reached_at = asked_at = moved_at = self._clock()
        last: t.Any = None
        unclear = gone = 0
        # The job itself ends at its limit, and tells that.
        while self._clock() - began_at < LIMIT_SECONDS + LOST_SECONDS:
            self._sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            try:
                snapshot = self._snapshot()
                now = reached_at = self._clock()
                if snapshot is not None:
                    if snapshot != last:
                        last, moved_at, gone = snapshot, now, 0
                    self._show(snapshot)
                    if now - asked_at < STATUS_SECONDS and not gone:
                        continue
                status, asked_at = self._ask("status"), now
                if status.get("finished"):
                    return status
                gone = 0 if now - moved_at < STATUS_SECONDS or self._lives(last) else gone + 1
            except AnsibleConnectionFailure as error:
                self._reconnect(error, reached_at)
                continue
            # The file of a job that is just being written cannot be read.
            unclear = unclear + 1 if status.get("failed") else 0
            if unclear >= _HALF_WRITTEN:
                return status
            if gone >= _SURELY_GONE:
                return None
            if last is None and now - began_at > LOST_SECONDS:
                # The first thing that a module does is to say that it is there.
                break
        raise JobLost(
            f"Nothing is known of the transfer after {self._clock() - began_at:.0f} seconds; was the host restarted?",
            "Run the task again; it goes on from there.",
        )

    def _snapshot(self) -> t.Any:
        """What the module last wrote; None if there is nothing to read."""
        answer = self._action._low_level_execute_command(f"cat {shlex.quote(self._path)}")
        text = answer.get("stdout", "")
        if answer.get("rc") != 0 or "{" not in text:
            return None
        try:
            snapshot = json.loads(text[text.index("{") : text.rindex("}") + 1])
        except ValueError:
            return None
        return snapshot if isinstance(snapshot, dict) else None

    def _show(self, snapshot: t.Mapping[str, t.Any]) -> None:
        line = self._lines.line(snapshot)
        if line:
            name = self._action._task.action.rpartition(".")[2]
            display.display(f"[{self._task_vars.get('inventory_hostname')}] {name} {line}")

    def _lives(self, snapshot: t.Any) -> bool:
        """Whether the module that wrote the snapshot still runs; True if that cannot be known."""
        pid = snapshot.get("pid") if isinstance(snapshot, dict) else None
        if not isinstance(pid, int) or pid <= 1:
            return True
        # A host that was restarted may have given the number to another process. Where there is no ps, nobody knows.
        command = f"kill -0 {pid} && {{ ps -ww -o args= -p {pid} || echo {_MODULE_MARK}; }}"
        answer = self._action._low_level_execute_command(command)
        return answer.get("rc") == 0 and _MODULE_MARK in answer.get("stdout", "")

    def _reconnect(self, error: AnsibleConnectionFailure, reached_at: float) -> None:
        if self._clock() - reached_at > LOST_SECONDS:
            raise JobLost(
                f"The host is out of reach for {LOST_SECONDS:.0f} seconds, its transfer may still run: {error}",
                "Run the task again when the host is back; it goes on from there.",
            ) from error
        display.vvv(
            f"polling the transfer failed, trying again: {error}", host=self._task_vars.get("inventory_hostname")
        )
        try:
            self._action._connection.reset()
        except (AttributeError, AnsibleConnectionFailure):
            pass

    def _ask(self, mode: str) -> Result:
        """Run Ansible's own module for the state of a job, with the directory that the job has found."""
        args: dict[str, t.Any] = {"jid": self._job_id, "mode": mode, "_async_dir": self._directory}
        return dict(
            self._action._execute_module(
                module_name="ansible.legacy.async_status", module_args=args, task_vars=self._task_vars
            )
        )

    def _forget(self) -> None:
        """Have the job's own file removed. Whatever it said is known, so its loss costs nothing."""
        try:
            self._ask("cleanup")
        except AnsibleConnectionFailure as error:
            display.vvv(f"cleaning up the transfer failed: {error}", host=self._task_vars.get("inventory_hostname"))

    def _cancel(self) -> None:
        try:
            self._action._low_level_execute_command(f": > {shlex.quote(self._path + CANCEL_SUFFIX)}")
        except Exception as error:
            display.vvv(f"cancelling the transfer failed: {error}", host=self._task_vars.get("inventory_hostname"))
