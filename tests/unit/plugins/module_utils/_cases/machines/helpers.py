# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host on which VMs are made: a cached bundle, receipts, and a simulated Parallels Desktop."""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.lookup import ManagedVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.vms import Vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt, Receipts
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac, make_receipt

NAME = "runner-01"


class Watch:
    """A clock that goes on only while somebody sleeps by it; ``on_sleep`` is called then."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: t.Callable[[], None] = lambda: None

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


class Host:
    """The directories of one user of a Mac."""

    def __init__(self, mac: Mac, directory: pathlib.Path) -> None:
        self.mac = mac
        mac.in_process = True
        self.bundle = self.make_bundle(directory)
        self.directory = mac.home / "Parallels"
        (directory / "receipts").mkdir()
        self.receipts = Receipts(str(directory / "receipts"))
        self.watch = Watch()
        self.vms = Vms(mac.prlctl, self.receipts, Patience(clock=self.watch.read, sleep=self.watch.sleep))

    @staticmethod
    def make_bundle(directory: pathlib.Path, name: str = "sample", kind: str = "pvm") -> str:
        """Make a bundle that is read-only, as in the cache."""
        disk = bundles.PLAIN if kind == "macvm" else bundles.EXPANDABLE
        bundle = bundles.make_bundle(str(directory), os.urandom(2 << 20), name=name, kind=kind, disk=disk)
        for path in pathlib.Path(bundle).rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        return bundle

    def draft(self, name: str = NAME, kind: str = "pvm", **changes: t.Any) -> Receipt:
        """Return the receipt of a VM that is to be made."""
        values = {"vm_name": name, "home": naming.home_path(str(self.directory), name, kind), **changes}
        return make_receipt(**values)

    def create(self, name: str = NAME, **changes: t.Any) -> ManagedVm:
        """Make a VM."""
        return self.vms.create(self.bundle, self.draft(name, **changes)).vm

    def look(self, name: str = NAME) -> ManagedVm:
        """Return the VM of that name, which must be there."""
        vm = self.vms.look(name).vm
        assert vm is not None
        return vm

    def prlctl(self, *words: str) -> None:
        """Do what a user does by hand."""
        done = self.mac.run([self.mac.program, *words], 60)
        assert done.returncode == 0, done.stderr

    def put(self, vm: ManagedVm, state: str) -> ManagedVm:
        """Bring a stopped VM to a state as a user does."""
        for verb in {"running": ["start"], "suspended": ["start", "suspend"], "paused": ["start", "pause"]}.get(
            state, []
        ):
            self.prlctl(verb, vm.machine.uuid)
        return self.look(vm.receipt.vm_name)

    def move(self, vm: ManagedVm, directory: pathlib.Path) -> ManagedVm:
        """Move a stopped VM to another volume as a user does: its bundle gets another inode."""
        directory.mkdir()
        home = str(directory / os.path.basename(vm.home))
        self.prlctl("unregister", vm.machine.uuid)
        shutil.copytree(vm.home, home)
        shutil.rmtree(vm.home)
        self.prlctl("register", home, "--preserve-uuid")
        return self.look(vm.receipt.vm_name)

    def state(self, vm: ManagedVm) -> str:
        """Return the state of a VM, empty if it is not registered."""
        return str(self.mac.simulated.machines().get(vm.machine.uuid, {}).get("state", ""))

    def assert_nothing_is_left(self) -> None:
        """Nothing of any VM is registered, on disk, or remembered."""
        assert self.mac.simulated.machines() == {}
        assert not self.directory.exists() or list(self.directory.iterdir()) == []
        assert self.receipts.read_all() == ([], [])
