# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Runs commands, with a deadline that ends all of their processes, and a bound on what they print.

A command is the leader of a session, and so of a process group, of its own. Another member of that group, the guard,
waits for the end of a pipe that this process holds: when this process dies, however it dies, the guard ends the group.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult

MAX_OUTPUT_BYTES = 16 << 20
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.1
_READ_BYTES = 64 << 10
# Starts the guard, and becomes the command. The guard is nobody's child, so that the command cannot meet it in a
# wait(2), and lets go of the outputs. Standard input is the pipe; a byte in it says that the guard is not needed.
_LAUNCHER = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if not os.read(0, 1):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
            time.sleep(2)
            os.killpg(0, signal.SIGKILL)
    os._exit(0)
os.waitpid(child, 0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.stderr.write(f"{sys.argv[1]}: {error.strerror}\\n")
    sys.exit(127)
"""


class CommandRunner:
    """Runs commands. ``max_output_bytes`` is for standard output and standard error together."""

    def __init__(self, max_output_bytes: int = MAX_OUTPUT_BYTES) -> None:
        self._max_output_bytes = max_output_bytes

    def __call__(self, argv: t.Sequence[str], deadline_seconds: float = 60.0) -> CommandResult:
        """Run ``argv``, never through a shell, with English messages, names in UTF-8, and nothing to read.

        A command that cannot be started ends with 127, as in a shell; one that prints too much is ended.
        """
        # run_command knows no deadline and no limit of what a command prints.
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
        with contextlib.ExitStack() as stack:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stack.callback(stream.close)
            output = _Output(process, self._max_output_bytes)
            try:
                is_in_time = output.read(time.monotonic() + deadline_seconds)
            except BaseException:
                _signal(process, signal.SIGKILL)
                process.wait()
                raise
            if is_in_time and not output.is_too_much:
                _dismiss_guard(process)
                returncode = process.wait()
            else:
                returncode = _end(process)
        stderr = output.text(process.stderr)
        if output.is_too_much:
            stderr += f"\n(ended after {self._max_output_bytes} bytes of output)"
        return CommandResult(returncode, output.text(process.stdout), stderr, not is_in_time)


class _Output:
    """What a process has printed, up to a number of bytes."""

    def __init__(self, process: subprocess.Popen[bytes], max_bytes: int) -> None:
        self._process = process
        self._left_bytes = max_bytes
        self._pieces: t.Dict[t.Optional[t.IO[bytes]], t.List[bytes]] = {process.stdout: [], process.stderr: []}
        self.is_too_much = False

    def read(self, deadline: float) -> bool:
        """Read until the process has ended or has printed too much; return False if the deadline comes before."""
        with selectors.DefaultSelector() as selector:
            for stream in filter(None, self._pieces):
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                left_seconds = deadline - time.monotonic()
                if left_seconds <= 0:
                    return False
                # Asked first: of what ends while nothing is ready, all output is still to be read.
                has_ended = self._process.poll() is not None
                ready = selector.select(min(_LOOK_SECONDS, left_seconds))
                # What it has left running on purpose may hold the pipes open.
                if has_ended and not ready:
                    return True
                for key, _events in ready:
                    if not self._take(key.fd, key.fileobj):
                        selector.unregister(key.fileobj)
                if self.is_too_much:
                    return True
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def text(self, stream: t.Optional[t.IO[bytes]]) -> str:
        """Return what came from one of the outputs."""
        return b"".join(self._pieces[stream]).decode("utf-8", "replace")

    def _take(self, descriptor: int, stream: t.Any) -> bool:
        """Read a piece; return False at the end."""
        data = os.read(descriptor, _READ_BYTES)
        kept = data[: self._left_bytes]
        self._pieces[stream].append(kept)
        self._left_bytes -= len(kept)
        self.is_too_much = len(kept) < len(data)
        return bool(data)


def _environment() -> t.Dict[str, str]:
    # LC_ALL would win over the other two.
    inherited = {name: value for name, value in os.environ.items() if name != "LC_ALL"}
    return {**inherited, "LC_MESSAGES": "C", "LC_CTYPE": "UTF-8", "LANGUAGE": "C"}


def _dismiss_guard(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        # It may have been ended by the command itself.
        with contextlib.suppress(OSError):
            os.write(process.stdin.fileno(), b".")


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ask the whole group to end, and make it end if it does not; return the code of the command."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    _signal(process, signal.SIGKILL)
    return process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # Popen returns after the new session was made, so the group is there as long as anybody is in it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
