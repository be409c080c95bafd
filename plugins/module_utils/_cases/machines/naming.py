# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Where a VM lies, and the locks of its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import bundles
from ansible_collections.macfleet.parallels.plugins.module_utils._host import config_pvs, locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, translated


def home_path(directory: str, name: str, kind: str) -> str:
    """Return the path of the bundle of a VM: ``kind`` is pvm or macvm."""
    return os.path.join(directory, f"{config_pvs.check_name(name)}.{kind}")


@contextlib.contextmanager
def lock_name(
    receipts: str,
    directory: str,
    name: str,
    timeout_seconds: float,
    *,
    on_wait: t.Optional[t.Callable[[str], None]] = None,
    alive: t.Callable[[], None] = lambda: None,
    on_left: t.Callable[[str], None] = lambda _sentence: None,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> t.Iterator[None]:
    """Hold the name of a VM for the block: among the receipts of the cache first, then in the directory of its bundle.

    The first lock is met by tasks that use the same cache, wherever they make the VM. The second one is met by tasks
    that use other caches; the directory is made if need be. Both are hidden files, which are gone afterwards.
    ``receipts`` is the directory of the receipts. ``on_wait``, ``alive`` and ``on_left`` are those of
    :func:`locks.hold`.

    :raises VolumeMissing: the directory is on a disk that is not mounted
    :raises CacheLocked: another task holds it for longer than ``timeout_seconds``
    """
    name = config_pvs.check_name(name)
    deadline = clock() + timeout_seconds

    def hold(path: str) -> t.ContextManager[None]:
        return locks.hold(
            path,
            f"work on the virtual machine {name}",
            max(0.0, deadline - clock()),
            on_wait=on_wait,
            alive=alive,
            clock=clock,
            sleep=sleep,
            leaves_file=False,
            on_left=on_left,
        )

    bundles.check_directory(directory)
    with hold(receipts_lock_path(receipts, name)):
        with translated(CloneFailed, f"Making the directory {directory}"):
            os.makedirs(directory, exist_ok=True)
        with hold(lock_path(directory, name)):
            yield


def receipts_lock_path(receipts: str, name: str) -> str:
    """Return the path of the lock of a VM's name among the receipts, the same for names that differ in case only."""
    folded = config_pvs.check_name(name).casefold()
    return os.path.join(receipts, f".{hashlib.sha256(folded.encode()).hexdigest()}.lock")


def lock_path(directory: str, name: str) -> str:
    """Return the path of the lock of a VM's name."""
    return os.path.join(directory, f".{config_pvs.check_name(name)}.lock")


def temporary_path(home: str, vm_uuid: str) -> str:
    """Return where the bundle of a VM grows before it gets its name: hidden, and found again through the UUID."""
    return os.path.join(os.path.dirname(home), f".{vm_uuid}.incomplete")


def mount_point(path: str) -> str:
    """Return the mount point of the volume on which ``path``, or its nearest existing parent, lies."""
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
