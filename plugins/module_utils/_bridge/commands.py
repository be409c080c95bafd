# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Runs commands for those who know no AnsibleModule: with a deadline that ends all of it, and a bounded output."""

from __future__ import annotations

import os
import signal
import sys
import threading
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult

if t.TYPE_CHECKING:
    import subprocess

    from ansible.module_utils.basic import AnsibleModule

MAX_OUTPUT_BYTES = 16 << 20
_GRACE_SECONDS = 2.0
# Makes the command the leader of a session, and so of a process group, of its own, with nothing to read and the
# signals as a shell would leave them. run_command() cannot do that, and macOS has no setsid(1).
_IN_A_SESSION = """
import os, signal, sys
os.setsid()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[1]}: {error.strerror}\\n")
    sys.exit(127)
"""


class _BoundedStream:
    """What ``run_command`` reads an output from; it seems to end where the bound is."""

    def __init__(self, stream: t.Any, bound: _Bound) -> None:
        self._stream = stream
        self._bound = bound

    def read(self, size: int) -> bytes | None:
        data: bytes | None = self._stream.read(size)
        return self._bound.let_through(data) if data else data

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()


class _Bound:
    """Counts the bytes of both outputs."""

    def __init__(self, max_bytes: int, exceeded: t.Callable[[], None]) -> None:
        self._left = max_bytes
        self._exceeded = exceeded
        self.reached = False

    def let_through(self, data: bytes) -> bytes:
        allowed = data[: self._left]
        self._left -= len(allowed)
        if len(allowed) < len(data):
            self.reached = True
            self._exceeded()
        return allowed


class _Watch:
    """Ends the group of a process: at the deadline, at too much output, and when its reader leaves."""

    def __init__(self, deadline_seconds: float, max_output_bytes: int) -> None:
        self._deadline_seconds = deadline_seconds
        self._timers: list[threading.Timer] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.bound = _Bound(max_output_bytes, self.end)
        self.timed_out = False

    def started(self, process: subprocess.Popen[bytes]) -> None:
        """Called by ``run_command`` between the start of the process and the first read."""
        self._process = process
        process.stdout = t.cast("t.IO[bytes]", _BoundedStream(process.stdout, self.bound))
        process.stderr = t.cast("t.IO[bytes]", _BoundedStream(process.stderr, self.bound))
        self._after(self._deadline_seconds, self._deadline)

    def end(self) -> None:
        """Ask the group to end, and make it end if it does not."""
        self._signal(signal.SIGTERM)
        self._after(_GRACE_SECONDS, lambda: self._signal(signal.SIGKILL))

    def left(self) -> None:
        """Nobody reads any more: whatever is left of the group ends now."""
        with self._lock:
            timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()
        if self._process is not None and (self._process.poll() is None or self.timed_out or self.bound.reached):
            self._signal(signal.SIGKILL)

    def _deadline(self) -> None:
        self.timed_out = True
        self.end()

    def _after(self, seconds: float, action: t.Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        with self._lock:
            self._timers.append(timer)
        timer.start()

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            # It has no group of its own yet, or the group is gone.
            if self._process.poll() is None:
                self._process.send_signal(number)


class CommandRunner:
    """Runs commands by ``module.run_command``."""

    def __init__(self, module: AnsibleModule, max_output_bytes: int = MAX_OUTPUT_BYTES) -> None:
        self._module = module
        self._max_output_bytes = max_output_bytes

    def __call__(
        self,
        argv: t.Sequence[str],
        deadline_seconds: float = 60.0,
    ) -> CommandResult:
        """Run ``argv``, never through a shell; its texts are those of the C locale, its input is empty.

        A command that cannot be started ends with 127, as in a shell; one that says too much is ended.
        """
        watch = _Watch(deadline_seconds, self._max_output_bytes)
        try:
            rc, stdout, stderr = self._module.run_command(
                [sys.executable, "-I", "-S", "-c", _IN_A_SESSION, *argv],
                environ_update={"LC_ALL": "C", "LANGUAGE": "C"},
                expand_user_and_vars=False,
                errors="replace",
                before_communicate_callback=watch.started,
            )
        finally:
            watch.left()
        if watch.bound.reached:
            stderr += f"\n(ended after {self._max_output_bytes} bytes of output)"
        return CommandResult(rc, stdout, stderr, watch.timed_out)
