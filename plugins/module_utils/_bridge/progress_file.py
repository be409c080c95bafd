# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The progress of a transfer in a small file, where the action plugin looks for it."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress, Snapshot
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.background import (
    CANCEL_SUFFIX,
    NEW_FILE,
    UNWATCHED_SECONDS,
    WATCHED_SUFFIX,
    Cancelled,
    Unwatched,
)

_PROGRESS_BYTES = 1024


def progress(module: AnsibleModule) -> Progress:
    """Return counters that report where the action plugin looks, if it does."""
    path = (module.params.get("handover") or {}).get("progress_path")
    if not path:
        return Progress()
    for name in (path, path + CANCEL_SUFFIX):
        module.add_cleanup_file(name)
    return Progress(ProgressFile(path))


class _Watch:
    """Notices that a transfer is not polled any more.

    Each poll touches a file. Its time is only compared with the one it had before: the clock of a host may be wrong.
    """

    def __init__(self, path: str, clock: t.Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._touched_ns: t.Optional[int] = None
        self._changed_at = clock()

    def check(self) -> None:
        """Look at the file.

        :raises Unwatched: the last poll was too long ago
        """
        touched_ns = None
        with contextlib.suppress(OSError):
            touched_ns = os.stat(self._path).st_mtime_ns
        now = self._clock()
        if touched_ns != self._touched_ns:
            self._touched_ns, self._changed_at = touched_ns, now
        elif now - self._changed_at > UNWATCHED_SECONDS:
            raise Unwatched(
                f"The controller has not asked about the transfer for {now - self._changed_at:.0f} seconds.",
                "Run the task again; it resumes where it was.",
            )


class ProgressFile:
    """The latest snapshot of a transfer in a small file, for the controller, which polls it.

    Until the file is there, nobody polls, and nothing is written. If it is removed later, it is made again: a transfer
    of which nothing is known is cancelled. It is written in place, padded to one length, in one call: short enough for
    a reader to see the old one or the new one, and no harm is done if it sees neither. Only one thread may call it.
    """

    def __init__(self, path: str, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._descriptor: t.Optional[int] = None
        self._watch: t.Optional[_Watch] = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Write ``snapshot``.

        :raises Cancelled: the controller asked for the end of the transfer
        :raises Unwatched: the controller does not poll any more
        """
        if os.path.exists(self._path + CANCEL_SUFFIX):
            raise Cancelled()
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                return
            self._watch = _Watch(self._path + WATCHED_SUFFIX, self._clock)
        if self._watch is not None:
            self._watch.check()
        data = json.dumps({**snapshot, "pid": os.getpid()}).encode("ascii").ljust(_PROGRESS_BYTES)
        # A full disk ends the transfer where it is written to.
        with contextlib.suppress(OSError):
            if not os.path.lexists(self._path):
                self._descriptor = self._made_again(self._descriptor)
            os.pwrite(self._descriptor, data, 0)

    def _made_again(self, removed: int) -> int:
        """Return a descriptor of a new file, in place of that of the file that was removed."""
        os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)
        made = os.open(self._path, NEW_FILE, 0o600)
        os.close(removed)
        return made
