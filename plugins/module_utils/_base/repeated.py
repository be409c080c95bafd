# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A function that is called again and again in a thread of its own, beside the work."""

from __future__ import annotations

import threading
import types
import typing as t

# A call that waits for the network may take longer; the process need not wait for it.
_JOIN_SECONDS = 2.0


class Repeated:
    """Calls ``function`` while the context is open; what it returns is the pause until the next call, in seconds.

    The pause counts from the end of a call, so a call that takes long is not followed by the next one at once. An
    exception ends the thread and is given to ``failed``.
    """

    def __init__(self, function: t.Callable[[], float], failed: t.Callable[[Exception], None], name: str) -> None:
        self._function = function
        self._failed = failed
        self._wake = threading.Event()
        self._ended = threading.Event()
        # A call that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def wake(self) -> None:
        """End the pause."""
        self._wake.set()

    def __enter__(self) -> Repeated:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: t.Optional[t.Type[BaseException]],
        error: t.Optional[BaseException],
        trace: t.Optional[types.TracebackType],
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            try:
                pause = self._function()
            except Exception as error:
                self._failed(error)
                return
            # The end wakes it, too, also one that came while the function ran.
            if not self._ended.is_set():
                self._wake.wait(pause)
