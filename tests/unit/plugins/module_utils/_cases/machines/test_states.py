# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever there is under a name, and whatever a task wants of it: the second run changes nothing."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VmNameTaken
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.support.macs import UUID, Mac
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

NAME = "runner-01"
CHUNK = 64 << 10


class Stage:
    """An image in the cache, and a VM of it that is brought to a state."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.mac = Mac(directory)
        self.mac.in_process = True
        self.shelf = Shelf(directory)
        self.shelf.prlctl = self.mac.prlctl
        bundle = bundles.make_bundle(str(directory), b"x" * (1 << 20))
        self.manifest: Manifest = self.shelf.push(pathlib.Path(bundle), "1.0", chunk_size=CHUNK)
        self.receipts = Receipts(self.shelf.cache.receipts_path)

    def run(self, state: str, *, check_mode: bool = False) -> t.Dict[str, t.Any]:
        return self.shelf.run(self.manifest, state=state, name=NAME, check_mode=check_mode)

    def outcome(self, state: str, *, check_mode: bool = False) -> t.Union[bool, str]:
        """What catalog_pull says: whether it changed something, or the error word."""
        try:
            return bool(self.run(state, check_mode=check_mode)["changed"])
        except CatalogError as error:
            return error.code

    def holdings(self) -> t.Tuple[t.List[str], t.List[str], t.Dict[str, str]]:
        """What there is of VMs: on disk, remembered, registered."""
        places = self.shelf.directory / "Parallels"
        return (
            sorted(path.name for path in places.iterdir()) if places.exists() else [],
            sorted(f"{receipt.vm_uuid} {receipt.state}" for receipt in self.receipts.read_all()[0]),
            {uuid: machine["state"] for uuid, machine in self.mac.simulated.machines().items()},
        )

    def prepare(self, before: str) -> None:
        """Bring the VM to a state."""
        if before == "none":
            return
        vm = self.run("present")["vm"]
        uuid, home = vm["uuid"], pathlib.Path(vm["home"])
        receipt = self.receipts.read(uuid)
        assert receipt is not None
        for verb in {"running": ["start"], "suspended": ["start", "suspend"], "paused": ["start", "pause"]}.get(
            before.partition(" ")[0], []
        ):
            self.mac.run([self.mac.program, verb, uuid], 60)
        if before.endswith("gone"):
            shutil.rmtree(home)
        if before.endswith("broken"):
            (home / "config.pvs").write_text("<broken")
        if before in {"unregistered", "creating", "deleted"}:
            self.mac.prlctl.unregister(uuid)
        if before == "deleted":
            shutil.rmtree(home)
        if before in {"creating", "creating, registered"}:
            self.receipts.write(dataclasses.replace(receipt, state="creating", registering_at=0.0))
        if before == "removing":
            self.receipts.write(dataclasses.replace(receipt, state="removing"))


STATES = [
    "none",
    "stopped",
    "running",
    "suspended",
    "paused",
    "stopped, gone",
    "running, gone",
    "suspended, gone",
    "stopped, broken",
    "running, broken",
    "unregistered",
    "deleted",
    "creating",
    "creating, registered",
    "removing",
]


def expected(before: str, wanted: str) -> t.Optional[str]:
    """The error word of what can neither be had nor made without losing something, else None."""
    if wanted == "absent":
        return None
    if before.endswith("broken"):
        return "vm_broken"
    return "vm_unregistered" if before == "unregistered" else None


@pytest.mark.parametrize("wanted", ["present", "started", "stopped", "absent"])
@pytest.mark.parametrize("before", STATES)
def test_second_run_changes_nothing(tmp_path: pathlib.Path, before: str, wanted: str) -> None:
    stage = Stage(tmp_path)
    # Otherwise the process of a VM without its files stays for ever; test_remove.py has that.
    stage.mac.simulated.behave(lost_can_be_killed=True)
    stage.prepare(before)
    there = stage.holdings()
    predicted = stage.outcome(wanted, check_mode=True)
    assert stage.holdings() == there
    first = stage.outcome(wanted)
    after = stage.holdings()
    assert first == predicted
    assert first == expected(before, wanted) or isinstance(first, bool)
    assert isinstance(first, str) == (expected(before, wanted) is not None)
    if isinstance(first, str):
        assert after == there
    second = stage.outcome(wanted)
    assert second == (first if isinstance(first, str) else False)
    assert stage.holdings() == after
    if not isinstance(first, str):
        states = {"present": {"stopped", "running", "suspended", "paused"}, "started": {"running"}, "absent": set()}
        assert set(after[2].values()) <= states.get(wanted, {"stopped"})
        assert len(after[2]) == (0 if wanted == "absent" else 1)


def test_third_macos_vm_is_refused_before_anything_is_done(tmp_path: pathlib.Path) -> None:
    stage = Stage(tmp_path)
    bundle = bundles.make_bundle(str(tmp_path), b"y" * (1 << 20), name="mac", kind="macvm", disk=bundles.PLAIN)
    stage.manifest = stage.shelf.push(pathlib.Path(bundle), "2.0", chunk_size=CHUNK, type="macvm")
    for number in range(2):
        other = f"{number}" + UUID[1:]
        running = bundles.make_bundle(str(tmp_path), b"", name=f"mac{number}", kind="macvm", disk=bundles.PLAIN)
        stage.mac.prlctl.register(running, other)
        stage.mac.prlctl.start(other)
    before = stage.holdings()
    for check_mode in (True, False):
        assert stage.outcome("started", check_mode=check_mode) == "macos_limit"
    assert stage.holdings() == before
    assert stage.shelf.cache.find(stage.manifest.digest) is None
    assert stage.outcome("present") is True
    assert stage.outcome("started") == "macos_limit"
    stage.mac.prlctl.stop("0" + UUID[1:])
    assert stage.outcome("started") is True


def test_vm_of_another_cache_is_named_by_the_published_facts(tmp_path: pathlib.Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / "facts/build").mkdir(parents=True)
    stage.run("present")
    first = stage.shelf.cache.path
    stage.shelf.cache = Cache.open(str(tmp_path / "other"), create=True)
    with pytest.raises(VmNameTaken, match=f"made through another cache, {first}"):
        stage.run("present")
