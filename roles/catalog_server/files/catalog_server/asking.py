# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to what may never answer, such as the volume of a file server that is away.

No timeout ends a call to such a volume. So a question is asked by a thread of its own, and whoever wants the answer
waits as long as it likes. There is one such thread for each question, however often it is asked.
"""

from __future__ import annotations

import contextvars
import threading
import typing as t
from collections.abc import Callable
from concurrent.futures import Future

Answer = t.TypeVar("Answer")


class Asking(t.Generic[Answer]):
    """One question. ``call`` asks it; ``name`` is that of its thread."""

    def __init__(self, name: str, call: Callable[[], Answer]) -> None:
        self._name = name
        self._call = call
        self._lock = threading.Lock()
        self._answer: Future[Answer] | None = None

    def ask(self) -> Future[Answer]:
        """Return the answer that will come. It is asked now, unless an earlier question has no answer yet."""
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer = Future()
                run = contextvars.copy_context().run
                thread = threading.Thread(target=run, args=(self._run, self._answer), name=self._name, daemon=True)
                thread.start()
            return self._answer

    def _run(self, answer: Future[Answer]) -> None:
        try:
            answer.set_result(self._call())
        except BaseException as error:
            answer.set_exception(error)
