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
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import GrantHolder
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress, Snapshot
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.background import CANCEL_SUFFIX, Cancelled

_PROGRESS_BYTES = 512


def progress(module: AnsibleModule, grant: t.Optional[GrantHolder] = None) -> Progress:
    """Counters that write where the action plugin looks, if it does; each report is an occasion to keep the grant."""
    watchers: list[t.Callable[[Snapshot], None]] = []
    path = (module.params.get("handover") or {}).get("progress_path")
    if path:
        for name in (path, path + CANCEL_SUFFIX):
            module.add_cleanup_file(name)
        watchers.append(ProgressFile(path))
    if grant is not None:
        watchers.append(lambda snapshot: grant.keep())

    def report(snapshot: Snapshot) -> None:
        for watcher in watchers:
            watcher(snapshot)

    return Progress(report)


class ProgressFile:
    """The latest snapshot of a transfer in a small file, for whoever polls.

    As long as the file is not there, nobody polls, and nothing is written. It is written in place, padded to one
    length, in one call: short enough for a reader to see the old one or the new one, and no harm is done if it sees
    neither.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: t.Optional[int] = None

    def __call__(self, snapshot: Snapshot) -> None:
        """Write ``snapshot``.

        :raises Cancelled: somebody asked for it
        """
        if os.path.exists(self._path + CANCEL_SUFFIX):
            raise Cancelled()
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                return
        told = {**snapshot, "pid": os.getpid()}
        data = json.dumps(told).encode("ascii").ljust(_PROGRESS_BYTES)[:_PROGRESS_BYTES]
        # A full disk ends the transfer where it is written to. This may be called from inside of a request, which would
        # seem to have failed.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, data, 0)
