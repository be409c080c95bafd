# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The progress of a transfer in a small file, where the action plugin looks for it."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress, Snapshot
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.background import CANCEL_SUFFIX, Cancelled

_PROGRESS_BYTES = 1024


def progress(module: AnsibleModule) -> Progress:
    """Return counters that report where the action plugin looks, if it does."""
    path = (module.params.get("handover") or {}).get("progress_path")
    if not path:
        return Progress()
    for name in (path, path + CANCEL_SUFFIX):
        module.add_cleanup_file(name)
    return Progress(ProgressFile(path))


class ProgressFile:
    """The latest snapshot of a transfer in a small file, for whoever polls.

    As long as the file is not there, nobody polls, and nothing is written. It is written in place, padded to one
    length, in one call: short enough for a reader to see the old one or the new one, and no harm is done if it sees
    neither. Only one thread may call it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: t.Optional[int] = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Write ``snapshot``.

        :raises Cancelled: the controller asked for the end of the transfer
        """
        if os.path.exists(self._path + CANCEL_SUFFIX):
            raise Cancelled()
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                return
        data = json.dumps({**snapshot, "pid": os.getpid()}).encode("ascii").ljust(_PROGRESS_BYTES)
        # A full disk ends the transfer where it is written to.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, data, 0)
