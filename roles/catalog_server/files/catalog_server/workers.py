# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several processes that serve one address, so that a server uses more than one core.

The supervisor serves nothing. It forks the workers, starts one anew that ends by itself, and ends all of them when it
is told to. A worker ends when its supervisor has died, so none is left behind that holds the address.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from catalog_server.settings import SettingsError

# Serves on a socket until a signal ends it, calls the callable once it answers, and returns an exit status.
Work = Callable[[socket.socket, Callable[[], None]], int]

FAILED = 1
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# A worker that lived this long was not broken from the start: the pauses begin anew.
_STEADY_SECONDS = 60.0
# Beyond the time in which a worker finishes its requests
_GRACE_SECONDS = 10.0

_log = logging.getLogger("catalog_server.workers")


@dataclass
class _Worker:
    """One worker and the next one in its place."""

    listening: socket.socket
    process: ForkProcess
    answers: Connection
    started: float
    is_ready: bool = False
    pause: float = _FIRST_PAUSE_SECONDS

    def has_ended(self) -> bool:
        return self.process.exitcode is not None


class _Stop:
    """Whether the supervisor was told to stop, and a descriptor that can be read once it was."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self.told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, *_signal: object) -> None:
        if not self.told:
            self.told = True
            os.write(self._writer, b"s")


def supervise(work: Work, sockets: Sequence[socket.socket], on_ready: Callable[[], None], stop_seconds: float) -> int:
    """Run one worker on each socket until SIGTERM or SIGINT; return the exit status of the supervisor.

    ``on_ready`` is called once, when all of them answer. If one ends before that, all end: the next ones would fail
    like it. Workers get ``stop_seconds`` to finish their requests.
    """
    stop = _Stop()
    running = [_start(work, listening) for listening in sockets]
    try:
        if not _wait_until_ready(running, stop):
            return 0 if stop.told else FAILED
        on_ready()
        while not stop.told:
            _wait(running, stop)
            for index, worker in enumerate(running):
                if worker.has_ended() and not stop.told:
                    running[index] = _replace(work, worker, stop)
        return 0
    finally:
        _end(running, stop_seconds + _GRACE_SECONDS)


def _start(work: Work, listening: socket.socket, pause: float = _FIRST_PAUSE_SECONDS) -> _Worker:
    context = multiprocessing.get_context("fork")
    answers, told = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, listening, told), name="worker")
    process.start()
    told.close()
    return _Worker(listening, process, answers, time.monotonic(), pause=pause)


def _run(work: Work, listening: socket.socket, told: Connection) -> None:
    """Be a worker."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    try:
        sys.exit(work(listening, lambda: told.send_bytes(b"ready")))
    except SettingsError as error:
        print(f"catalog-server: {error}", file=sys.stderr)
        sys.exit(FAILED)


def _end_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        wait([supervisor.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _wait(running: Sequence[_Worker], stop: _Stop, seconds: float | None = None) -> None:
    """Return when a worker ends, answers for the first time, or the supervisor is told to stop."""
    starting = [worker.answers for worker in running if not worker.is_ready]
    wait([stop.reader, *starting, *(worker.process.sentinel for worker in running)], seconds)
    for worker in running:
        if not worker.is_ready and worker.answers.poll():
            worker.is_ready = _said_ready(worker.answers)


def _said_ready(answers: Connection) -> bool:
    try:
        return answers.recv_bytes() == b"ready"
    except EOFError:
        return False


def _wait_until_ready(running: Sequence[_Worker], stop: _Stop) -> bool:
    """Return True once all answer, False if one has ended or the supervisor was told to stop."""
    while not all(worker.is_ready for worker in running):
        _wait(running, stop)
        if stop.told or any(worker.has_ended() for worker in running):
            return False
    return True


def _replace(work: Work, ended: _Worker, stop: _Stop) -> _Worker:
    """Start a worker in the place of one that has ended, after a pause that grows while they end soon."""
    steady = time.monotonic() - ended.started >= _STEADY_SECONDS
    pause = _FIRST_PAUSE_SECONDS if steady else ended.pause
    _log.error("worker ended", extra={"status": ended.process.exitcode, "seconds_until_next": pause})
    ended.answers.close()
    ended.process.close()
    wait([stop.reader], pause)
    return _start(work, ended.listening, min(2 * pause, _LONGEST_PAUSE_SECONDS))


def _end(running: Sequence[_Worker], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for worker in running:
        worker.process.terminate()
    for worker in running:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            _log.error("worker killed: it did not end in time")
            worker.process.kill()
            worker.process.join()
