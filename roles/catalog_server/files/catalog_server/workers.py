# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several processes that serve one address, so that a server uses more than one core.

The supervisor serves nothing. It forks the workers, starts one anew that ends by itself, and ends all of them when it
is told to. A worker ends when its supervisor has died, so none is left behind that holds the address.

A socket listens as long as any process has it open, and the kernel hands connections to it whether anybody accepts them
or not. So a worker has its own socket only, and the supervisor ends the listening of one whose worker has ended.

A worker says again and again that it answers. One that has been silent for a minute is killed, so that another one
takes its place.
"""

from __future__ import annotations

import contextlib
import logging
import math
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

# Is the worker of that number: serves on a socket until a signal ends it, calls the callable once it answers and every
# BEAT_SECONDS from then on, and returns an exit status.
Work = Callable[[int, socket.socket, Callable[[], None]], int]

FAILED = 1
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# A worker that lived this long was not broken from the start: the pauses begin anew.
_STEADY_SECONDS = 60.0
BEAT_SECONDS = 5.0
_SILENT_SECONDS = 60.0
# Before a silent worker is killed, it gets this part of that time once more: perhaps the whole machine was asleep.
_SECOND_CHANCE = 0.25
# Beyond the time in which a worker finishes its requests: for what it writes behind them, for its job, and for its log
_GRACE_SECONDS = 27.0

_log = logging.getLogger("catalog_server.workers")


@dataclass
class _Worker:
    """One worker and the next one in its place."""

    number: int
    process: ForkProcess
    answers: Connection
    started: float
    is_ready: bool = False
    # When it is to be killed, if it says nothing before that; and whether that is its second chance
    silent_at: float = math.inf
    is_doubted: bool = False
    pause: float = _FIRST_PAUSE_SECONDS
    # When it has ended: when the next one is to be started
    due: float | None = None

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


def supervise(
    work: Work,
    sockets: Sequence[socket.socket],
    on_ready: Callable[[], None],
    stop_seconds: float,
    silent_seconds: float = _SILENT_SECONDS,
) -> int:
    """Run one worker on each socket until SIGTERM or SIGINT; return the exit status of the supervisor.

    ``on_ready`` is called once, when all of them answer. If one ends before that, all end: the next ones would fail
    like it. Workers get ``stop_seconds`` to finish their requests, and may be silent for ``silent_seconds``.
    """
    stop = _Stop()
    running: list[_Worker] = []
    try:
        for number in range(len(sockets)):
            running.append(_start(work, sockets, number))
        if not _wait_until_ready(running, stop, silent_seconds):
            return 0 if stop.told else FAILED
        on_ready()
        while not stop.told:
            _wait(running, stop, silent_seconds)
            _kill_silent(running, silent_seconds)
            for number, worker in enumerate(running):
                if worker.has_ended() and not stop.told:
                    running[number] = _tend(work, sockets, worker)
        return 0
    finally:
        # Those that come while the last requests are answered are refused, and go elsewhere.
        for one in sockets:
            one.close()
        _end(running, stop_seconds + _GRACE_SECONDS)


def _start(work: Work, sockets: Sequence[socket.socket], number: int, pause: float = _FIRST_PAUSE_SECONDS) -> _Worker:
    """:raises OSError: the system has no room for another process"""
    context = multiprocessing.get_context("fork")
    answers, told = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, sockets, number, told), name="worker")
    try:
        process.start()
    except OSError:
        answers.close()
        raise
    finally:
        told.close()
    return _Worker(number, process, answers, time.monotonic(), pause=pause)


def _run(work: Work, sockets: Sequence[socket.socket], number: int, told: Connection) -> None:
    """Be a worker."""
    listening = sockets[number]
    for other in sockets:
        if other is not listening:
            other.close()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_DFL)
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    try:
        sys.exit(work(number, listening, lambda: told.send_bytes(b"answers")))
    except SettingsError as error:
        _log.error("the worker cannot serve: %s", error)
        sys.exit(FAILED)
    finally:
        # A process that was forked ends without what Python does at the end of others.
        logging.shutdown()


def _end_with_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        wait([supervisor.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _wait(running: Sequence[_Worker], stop: _Stop, silent_seconds: float) -> None:
    """Return when a worker ends or says that it answers, when one is due, or the supervisor is told to stop."""
    alive = [worker for worker in running if worker.due is None]
    due = min(worker.silent_at if worker.due is None else worker.due for worker in running)
    seconds = None if due == math.inf else max(0.0, due - time.monotonic())
    wait([stop.reader, *(one.answers for one in alive), *(one.process.sentinel for one in alive)], seconds)
    for worker in alive:
        if _answers(worker.answers):
            worker.is_ready, worker.is_doubted = True, False
            worker.silent_at = time.monotonic() + silent_seconds


def _answers(answers: Connection) -> bool:
    """Return True if a worker has said anything, and take all of it."""
    has_said = False
    try:
        while answers.poll():
            answers.recv_bytes()
            has_said = True
    except EOFError:
        pass
    return has_said


def _kill_silent(running: Sequence[_Worker], silent_seconds: float) -> None:
    now = time.monotonic()
    for worker in running:
        if worker.due is not None or now < worker.silent_at:
            continue
        if worker.is_doubted:
            _log.error("worker killed: it does not answer", extra={"worker": worker.process.pid})
            worker.process.kill()
            worker.silent_at = now + silent_seconds
        else:
            worker.is_doubted = True
            worker.silent_at = now + _SECOND_CHANCE * silent_seconds


def _wait_until_ready(running: Sequence[_Worker], stop: _Stop, silent_seconds: float) -> bool:
    """Return True once all answer, False if one has ended or the supervisor was told to stop."""
    while not all(worker.is_ready for worker in running):
        _wait(running, stop, silent_seconds)
        if stop.told or any(worker.has_ended() for worker in running):
            return False
    return True


def _tend(work: Work, sockets: Sequence[socket.socket], ended: _Worker) -> _Worker:
    """Start a worker in the place of one that has ended, after a pause that grows while they end soon.

    Returns whoever has the place now.
    """
    now = time.monotonic()
    if ended.due is None:
        if now - ended.started >= _STEADY_SECONDS:
            ended.pause = _FIRST_PAUSE_SECONDS
        ended.due = now + ended.pause
        _log.error("worker ended", extra={"status": ended.process.exitcode, "seconds_until_next": ended.pause})
        _stop_listening(sockets, ended.number)
        return ended
    if now < ended.due:
        return ended
    pause = min(2 * ended.pause, _LONGEST_PAUSE_SECONDS)
    try:
        started = _start(work, sockets, ended.number, pause)
    except OSError as error:
        ended.pause, ended.due = pause, now + pause
        _log.error("a worker cannot be started: %s", error, extra={"seconds_until_next": pause})
        return ended
    ended.answers.close()
    ended.process.close()
    return started


def _stop_listening(sockets: Sequence[socket.socket], number: int) -> None:
    """Let the others have the connections that would wait for a worker that has ended.

    The next worker lets the socket listen again. A socket that all of them share goes on listening.
    """
    one = sockets[number]
    # Linux remembers the shutdown of a socket that does not listen: the connections of the next worker would have it.
    if sockets.count(one) == 1 and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


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
