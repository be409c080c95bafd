# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a push reads: a clone of the bundle where clones cost nothing, else the bundle itself."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.plan import Subject
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.stopped import check_untouched
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, file_clone, locks, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle


@contextlib.contextmanager
def readable(subject: Subject, upload_id: str, context: Context) -> t.Iterator[tuple[bundle.Snapshot, bool]]:
    """Hold the bundle, and yield what to read and whether that is a clone: then its VM may be started at once.

    :raises BundleChanged, BundleInUse: somebody wrote to the bundle, or started its VM, before the clone was made
    """
    request, root = subject.request, subject.snapshot.root
    directory, name = os.path.split(root)
    with locks.hold_directory(root, "pushing it"):
        if not (may_clone(root) and file_clone.probe(directory)):
            yield subject.snapshot, False
            return
        # Of what is held here there is one push at a time, so any other clone is what a killed one has left.
        _discard_clones(directory, name)
        copy = os.path.join(directory, f".push-{upload_id}-{name}")
        clone.clone_tree(root, copy)
        try:
            # Until now somebody may have written, or started the VM; from now on nobody can.
            check_untouched(request, subject.snapshot, context.parallels)
            yield bundle.inspect(copy, subject.snapshot.chunk_size, allow_suspended=request.allow_suspended), True
        finally:
            clone.remove_tree(copy)


def may_clone(root: str) -> bool:
    """Return True if a clone of a bundle can be made beside it, as far as that can be told without trying."""
    directory = os.path.dirname(root)
    return volumes.has_clones(directory) and os.access(directory, os.W_OK)


def _discard_clones(directory: str, name: str) -> None:
    """Remove clones of the bundle ``name``, complete or not."""
    left = re.compile(rf"\.{{1,2}}push-[0-9a-f]{{32}}-{re.escape(name)}(\.incomplete)?")
    for found in os.listdir(directory):
        if left.fullmatch(found):
            clone.remove_tree(os.path.join(directory, found))
