# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writers that know what a server has acknowledged, for tests that kill it or cut its power.

Each has a catalog id or users of its own. Before a request it notes what the server will hold behind it; with the
answer, that is what the server holds. After a kill one of the two must be there, and nothing between them.
"""

from __future__ import annotations

import threading
import time
import typing as t
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from running import Server

ANSWER_SECONDS = 60


class Ended(Exception):
    """The server gave no answer."""


class Writer(t.Protocol):
    """One of them."""

    # Request ids of acknowledged changes, each with the action that the audit log must have.
    audited: list[tuple[str, str]]

    def connect(self, server: Server) -> None:
        """Talk to a server that was started again from now on."""

    def step(self) -> None:
        """Change something.

        :raises Ended: the server gave no answer
        """

    def check(self) -> None:
        """Check that the server holds what it has acknowledged."""


def write_until(writers: Sequence[Writer], end: Callable[[], None], *, steps: int, seconds: float) -> None:
    """Let all write at once. When they have done so many steps, ``end`` ends the server so much later."""
    is_over, done = threading.Event(), threading.Semaphore(0)

    def work(writer: Writer) -> None:
        try:
            while not is_over.is_set():
                writer.step()
                done.release()
        except Ended:
            # Nobody else may end it.
            assert is_over.wait(ANSWER_SECONDS), "the server gave no answer"

    with ThreadPoolExecutor(len(writers)) as pool:
        running = [pool.submit(work, writer) for writer in writers]
        try:
            enough = all(done.acquire(timeout=ANSWER_SECONDS) for _step in range(steps))
            time.sleep(seconds)
            end()
        finally:
            is_over.set()
        for one in running:
            one.result(ANSWER_SECONDS)
    assert enough, "the server does not answer"


def ask(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer to a request.

    :raises Ended: there is none
    """
    try:
        return call()
    except httpx.TransportError as error:
        raise Ended from error
