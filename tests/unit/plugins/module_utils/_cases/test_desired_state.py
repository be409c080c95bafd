# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From whatever a host looks like to whatever a task asks for: check mode foretells it, and a second run is ok."""

from __future__ import annotations

import dataclasses
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest, MinimumRequirements
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    ABSENT,
    CACHED,
    PRESENT,
    STARTED,
    STOPPED,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VolumeMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import (
    CREATING,
    READY,
    REMOVING,
    Receipts,
)
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
)
from ansible_collections.macfleet.parallels.tests.unit.support.macs import InProcess, make_receipt
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import CATALOG_ID, URL, Shelf

# What a prediction cannot tell: time, the VM that does not exist yet, and what a file system makes of a removal.
NOT_PREDICTED = {"elapsed", "parallels_catalog", "vm", "freed_bytes"}


def entry_of(shelf: Shelf, manifest: Manifest) -> Path:
    shelf.run(manifest)
    return Path(shelf.entry(manifest).bundle_path)


def damage(shelf: Shelf, manifest: Manifest) -> None:
    path = entry_of(shelf, manifest) / IMAGE
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"damaged")


def half(shelf: Shelf, manifest: Manifest) -> None:
    path = Path(shelf.cache.partial(manifest.digest).bundle_path) / "config.pvs"
    path.write_bytes(b"half")


def unfinished_vm(shelf: Shelf, manifest: Manifest) -> None:
    """Have the task killed between its registration and the last word of its receipt."""
    shelf.run(manifest, state=STARTED)
    receipts = Receipts(shelf.cache.receipts_path)
    (receipt,) = receipts.read_all()[0]
    receipts.write(dataclasses.replace(receipt, state=CREATING))


HOSTS: dict[str, t.Callable[[Shelf, Manifest], t.Any]] = {
    "nothing": lambda shelf, manifest: None,
    "half": half,
    "cached": entry_of,
    "touched": lambda shelf, manifest: (entry_of(shelf, manifest) / "config.pvs").chmod(0o400),
    "stray": lambda shelf, manifest: (entry_of(shelf, manifest) / "stray").touch(),
    "damaged": damage,
    "vm": lambda shelf, manifest: shelf.run(manifest, state=PRESENT),
    "running vm": lambda shelf, manifest: shelf.run(manifest, state=STARTED),
    "unfinished vm": unfinished_vm,
    "vm without image": lambda shelf, manifest: (
        shelf.run(manifest, state=PRESENT),
        shelf.cache.remove(manifest.digest),
    ),
}
TASKS: dict[str, dict[str, t.Any]] = {
    "cached": {"state": CACHED},
    "verified": {"state": CACHED, "verify": True},
    "present": {"state": PRESENT},
    "started": {"state": STARTED},
    "stopped": {"state": STOPPED},
    "absent": {"state": ABSENT},
    "purged": {"state": ABSENT, "purge_cache": True},
}


@pytest.fixture(name="shelf")
def shelf_fixture(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    (tmp_path / "home").mkdir()
    shelf.prlctl = Prlctl(InProcess(tmp_path / "home"), "/usr/local/bin/prlctl")
    return shelf


@pytest.fixture(name="manifest")
def manifest_fixture(shelf: Shelf) -> Manifest:
    root = make_bundle(shelf.directory / "Runner.pvm", {IMAGE: noise(1, 3 * CHUNK)})
    # What a host has free is demanded before the image is there, not of what it takes.
    return shelf.push(root, "1.0", minimum_requirements=MinimumRequirements(disk_mb=100))


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("host", sorted(HOSTS))
def test_check_mode_foretells_the_run_and_a_second_run_changes_nothing(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, host: str, task: str
) -> None:
    HOSTS[host](shelf, manifest)
    options = TASKS[task]
    manifests = () if options["state"] == ABSENT else (manifest,)
    before = {path for path in shelf.directory.rglob("*") if "home" not in path.parts}
    predicted = shelf.run(*manifests, check_mode=True, **options)
    assert {path for path in shelf.directory.rglob("*") if "home" not in path.parts} == before
    result = shelf.run(*manifests, **options)
    for name in result.keys() - NOT_PREDICTED:
        assert predicted[name] == result[name], name
    assert bool(result["actions"]) is result["changed"]
    # The image has taken the room, and the machine is busy: neither is a reason to fail now.
    monkeypatch.setattr(volumes, "free_bytes", lambda path: 0)
    for check_mode in (True, False):
        again = shelf.run(*manifests, check_mode=check_mode, **options)
        assert not again["changed"], again["actions"]
        assert again["actions"] == []
        assert again["diff"]["before"] == again["diff"]["after"]


@pytest.mark.parametrize("state", [PRESENT, STARTED, STOPPED])
def test_vm_of_a_killed_task_keeps_what_is_in_it(shelf: Shelf, manifest: Manifest, state: str) -> None:
    unfinished_vm(shelf, manifest)
    before = shelf.context.prlctl.list_machines()[0]
    result = shelf.run(manifest, state=state)
    power = ["Stop the virtual machine Runner."] if state == STOPPED else []
    assert result["actions"] == ["Adopt the virtual machine Runner, which an interrupted task has made.", *power]
    assert result["vm"]["uuid"] == before.uuid


@pytest.mark.parametrize("state", [PRESENT, STARTED, ABSENT])
def test_moved_vm_whose_volume_is_not_mounted_stays(shelf: Shelf, manifest: Manifest, state: str) -> None:
    shelf.run(manifest, state=PRESENT)
    before = shelf.context.prlctl.list_machines()
    shelf.directory.joinpath("Parallels").rename(shelf.directory / "unplugged")
    receipts = Receipts(shelf.cache.receipts_path)
    (receipt,) = receipts.read_all()[0]
    receipts.write(dataclasses.replace(receipt, home=str(shelf.directory / "first/Runner.pvm")))
    with pytest.raises(VolumeMissing):
        shelf.run(*(() if state == ABSENT else (manifest,)), state=state)
    shelf.directory.joinpath("unplugged").rename(shelf.directory / "Parallels")
    assert shelf.context.prlctl.list_machines() == before
    # The receipt follows, which is not a change of the host.
    assert shelf.run(manifest, state=PRESENT)["actions"] == []
    assert receipts.read_all()[0] == [receipt]


@pytest.mark.parametrize("state", [PRESENT, ABSENT])
@pytest.mark.parametrize("receipt_state", [CREATING, REMOVING])
def test_nothing_is_made_where_a_volume_is_not_mounted(
    shelf: Shelf, manifest: Manifest, state: str, receipt_state: str
) -> None:
    volume = shelf.directory / "external"
    receipt = make_receipt(vm_name="Runner", state=receipt_state, home=str(volume / "VMs/Runner.pvm"))
    receipt = dataclasses.replace(
        receipt, catalog_url=URL, catalog_id=CATALOG_ID, architecture="arm64", volume=str(volume)
    )
    Receipts(shelf.cache.receipts_path).write(receipt)
    before = set(shelf.directory.rglob("*"))
    manifests = () if state == ABSENT else (manifest,)
    for check_mode in (True, False):
        with pytest.raises(VolumeMissing, match=f"no volume is mounted at {volume}"):
            shelf.run(*manifests, state=state, check_mode=check_mode, directory=str(volume / "VMs"))
    assert not volume.exists()
    assert {path for path in set(shelf.directory.rglob("*")) - before if "home" not in path.parts} == set()
    with pytest.raises(VolumeMissing, match="no volume is mounted at /Volumes/nowhere"):
        shelf.run(manifest, state=PRESENT, name="Other", directory="/Volumes/nowhere/VMs")
    assert not Path("/Volumes/nowhere").exists()
    assert shelf.cache.find(manifest.digest) is None


def test_bundle_that_is_not_ours_stays_and_is_told(shelf: Shelf, manifest: Manifest) -> None:
    shelf.run(manifest, state=PRESENT)
    home = shelf.directory / "Parallels/Runner.pvm"
    shutil.copytree(home, home.with_name("restored"))
    shutil.rmtree(home)
    home.with_name("restored").rename(home)
    (home / "config.pvs").write_text("broken")
    shelf.warnings.clear()
    actions = [f"Unregister the virtual machine Runner; the bundle {home} stays."]
    assert shelf.run(state=ABSENT, check_mode=True)["actions"] == actions
    assert shelf.warnings == []
    assert shelf.run(state=ABSENT)["actions"] == actions
    (warning,) = shelf.warnings
    assert warning.startswith(f"The bundle {home} stays: it is not the one that was made for")
    assert shelf.context.prlctl.list_machines() == ()
    assert not shelf.run(state=ABSENT)["changed"]


@pytest.mark.parametrize("state", [CREATING, REMOVING, READY])
@pytest.mark.parametrize("inode", [0, 1])
def test_what_lies_where_an_interrupted_task_had_its_bundle_is_told(
    shelf: Shelf, manifest: Manifest, state: str, inode: int
) -> None:
    home = shelf.directory / "Parallels/Runner.pvm"
    home.mkdir(parents=True)
    receipt = make_receipt(vm_name="Runner", state=state, home=str(home), bundle_inode=inode)
    Receipts(shelf.cache.receipts_path).write(
        dataclasses.replace(receipt, catalog_url=URL, catalog_id=CATALOG_ID, architecture="arm64")
    )
    assert shelf.run(state=ABSENT)["changed"]
    assert home.is_dir()
    assert [f"{home} stays" in warning for warning in shelf.warnings] == [True] * inode


@pytest.mark.parametrize("task", sorted(name for name, options in TASKS.items() if options["state"] != ABSENT))
def test_a_new_version_of_the_image_is_pulled_as_foretold(shelf: Shelf, manifest: Manifest, task: str) -> None:
    shelf.run(manifest, state=PRESENT)
    root = make_bundle(shelf.directory / "newer/Runner.pvm", {IMAGE: noise(1, 2 * CHUNK) + noise(2, CHUNK)})
    newer = dataclasses.replace(shelf.push(root, "1.1"), version="1.1")
    predicted = shelf.run(newer, check_mode=True, **TASKS[task])
    result = shelf.run(newer, **TASKS[task])
    for name in result.keys() - NOT_PREDICTED:
        assert predicted[name] == result[name], name
    if TASKS[task]["state"] == CACHED:
        assert result["chunks"] == {"downloaded": 1}
        assert not shelf.run(newer, **TASKS[task])["changed"]
    else:
        assert result["update_available"]
