# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Makes sure that nobody uses a bundle that is pushed."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import PushRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine, normal_uuid
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, disks
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import BundleInUse


def check_untouched(request: PushRequest, snapshot: bundle.Snapshot, control: t.Optional[Prlctl]) -> None:
    """Make sure that nobody has written to the bundle since ``snapshot``, and that no VM runs from it.

    :raises BundleChanged, BundleInUse: somebody has, or one does
    """
    bundle.check_unchanged(snapshot, allow_suspended=request.allow_suspended)
    check_stopped(request, control)


def check_stopped(request: PushRequest, control: t.Optional[Prlctl]) -> None:
    """Refuse a bundle whose VM is not stopped. Without prlctl, only the marks in the bundle are checked.

    :raises BundleInUse: Parallels Desktop says that it runs, or is suspended and that is not allowed
    """
    if control is None:
        return
    allowed = {"stopped", "invalid"} | ({"suspended"} if request.allow_suspended else set())
    for machine in control.list_machines():
        if machine.state not in allowed and _runs_from(machine, request.path):
            raise BundleInUse(
                f"The virtual machine {machine.name} of the bundle {request.path} is {machine.state}.",
                hint="Shut it down, and push it again.",
            )


def _runs_from(machine: VirtualMachine, path: str) -> bool:
    """Returns True if ``path`` is the machine's bundle, however its path is spelled: a firmlink has no other mark."""
    if machine.home:
        with contextlib.suppress(OSError):
            return os.path.samefile(machine.home, path)
    # prlctl does not always tell where a virtual machine lies; its UUID is in its bundle, too.
    return normal_uuid(disks.vm_uuid(path)) == normal_uuid(machine.uuid)
