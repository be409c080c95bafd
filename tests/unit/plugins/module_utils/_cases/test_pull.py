# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull as a use case: room, what the cache remembers of a version, absence."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
import re
import shutil
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError, SystemFailure
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached, room
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import ensure, segmented
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import power, vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull import demands, run
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    ABSENT,
    CACHED,
    PRESENT,
    STARTED,
    STOPPED,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, facts, locks, trees, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import entries, locking, trash
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheChanged,
    CacheError,
    CacheLocked,
    DiskFull,
    PrlctlError,
    PrlctlMissing,
    VmNotFound,
    VmStillRuns,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import download
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
)
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import CATALOG_ID, URL, Shelf

MARGIN = room.MARGIN_BYTES
DISK = noise(1, 2 * CHUNK) + bytes(3 * CHUNK) + noise(1, CHUNK) + noise(2, 100)


@pytest.fixture(name="shelf")
def shelf_fixture(tmp_path: Path) -> Shelf:
    shelf = Shelf(tmp_path)
    shelf.prlctl = Mac(tmp_path).prlctl
    return shelf


@pytest.fixture(name="manifest")
def manifest_fixture(shelf: Shelf) -> Manifest:
    return shelf.push(make_bundle(shelf.directory / "Runner.pvm", {IMAGE: DISK}), "1.0")


def holdings(shelf: Shelf) -> list[str]:
    """All that lies on the disk but what prlctl remembers, and the locks and rooms of an empty cache."""
    passed_over = {"home", "locks", "trash", "partial", "bundles", "receipts"}
    return sorted(str(path) for path in shelf.directory.rglob("*") if passed_over.isdisjoint(path.parts))


# Room


class Disks:
    """Volumes with so much free space, by the directory that they are mounted at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> None:
        self.has_clones = False
        self.is_one = True
        self.free = {"cache": 1 << 40, "Parallels": 1 << 40}
        self._shelf = shelf
        monkeypatch.setattr(volumes, "has_clones", lambda path: self.has_clones)
        monkeypatch.setattr(volumes, "share_volume", lambda one, other: self.is_one)
        monkeypatch.setattr(volumes, "free_bytes", self._free_bytes)

    def _free_bytes(self, path: str) -> int:
        place = os.path.relpath(path, self._shelf.directory).split(os.sep, maxsplit=1)[0]
        return self.free.get("cache" if self.is_one else place, 1 << 40)


@pytest.fixture(name="disks")
def disks_fixture(monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> Disks:
    return Disks(monkeypatch, shelf)


def sizes(shelf: Shelf, manifest: Manifest) -> tuple[int, int]:
    """What a download writes, and what a copy takes: chunks that appear twice count twice."""
    fill = shelf.fill(manifest)
    others = manifest.logical_bytes - len(DISK)
    assert fill.unpacked_bytes == fill.pack.write_bytes == 3 * CHUNK + 100 + others
    return fill.pack.disk_bytes, fill.unpacked_bytes


def assert_needs(shelf: Shelf, manifest: Manifest, place: str, disks: Disks, needed: int) -> str:
    """The task is refused with a byte less, and is not with exactly as many; nothing is written for either answer."""
    before = holdings(shelf)
    disks.free[place] = needed - 1
    for check_mode in (True, False):
        with pytest.raises(DiskFull) as caught:
            shelf.run(manifest, state=PRESENT, check_mode=check_mode)
        assert caught.value.details == {"needed_bytes": needed, "free_bytes": needed - 1}
    disks.free[place] = needed
    assert shelf.run(manifest, state=PRESENT, check_mode=True)["changed"]
    assert holdings(shelf) == before
    return caught.value.message


def test_room_for_image_and_copy_is_one_sum_on_one_volume(shelf: Shelf, manifest: Manifest, disks: Disks) -> None:
    image, copy = sizes(shelf, manifest)
    message = assert_needs(shelf, manifest, "cache", disks, image + copy + MARGIN)
    assert message.startswith(f"Pulling {CATALOG_ID} 1.0 into {shelf.cache.path} and copying {CATALOG_ID} 1.0 to ")


def test_room_for_image_and_copy_is_looked_for_on_either_volume(shelf: Shelf, manifest: Manifest, disks: Disks) -> None:
    disks.is_one = False
    image, copy = sizes(shelf, manifest)
    # Clones within a volume are no clones between two.
    disks.has_clones = True
    assert_needs(shelf, manifest, "cache", disks, image + MARGIN)
    message = assert_needs(shelf, manifest, "Parallels", disks, copy + MARGIN)
    assert str(shelf.directory / "Parallels/Runner.pvm") in message


def test_a_clone_takes_no_room(shelf: Shelf, manifest: Manifest, disks: Disks) -> None:
    disks.has_clones = True
    image, _copy = sizes(shelf, manifest)
    assert_needs(shelf, manifest, "cache", disks, image + MARGIN)


def test_room_for_a_copy_of_what_is_cached(shelf: Shelf, manifest: Manifest, disks: Disks) -> None:
    shelf.run(manifest)
    allocated = shelf.entry(manifest).record.allocated_bytes
    message = assert_needs(shelf, manifest, "cache", disks, allocated + MARGIN)
    assert message.startswith(f"Copying {CATALOG_ID} 1.0 to {shelf.directory}/Parallels/Runner.pvm needs ")
    disks.free["cache"] = 0
    assert not shelf.run(manifest)["changed"]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("place", ["cache", "Parallels"])
def test_a_refusal_leaves_not_even_an_empty_cache(
    shelf: Shelf, manifest: Manifest, disks: Disks, place: str, check_mode: bool
) -> None:
    shutil.rmtree(shelf.cache.path)
    disks.is_one = False
    disks.free[place] = MARGIN
    before = sorted(shelf.directory.iterdir())
    with pytest.raises(DiskFull):
        shelf.run(manifest, state=PRESENT, check_mode=check_mode)
    # What the simulator remembers lies deeper, in the home.
    assert sorted(shelf.directory.iterdir()) == before


def count_plans(monkeypatch: pytest.MonkeyPatch) -> list[Fill]:
    """The plans that are made from now on."""
    plans: list[Fill] = []
    real = segmented.plan_fill

    def plan_fill(*arguments: t.Any) -> Fill:
        plans.append(real(*arguments))
        return plans[-1]

    monkeypatch.setattr(segmented, "plan_fill", plan_fill)
    return plans


def test_the_first_pull_of_a_host_is_planned_once(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(shelf.cache.path)
    plans = count_plans(monkeypatch)
    assert shelf.run(manifest)["changed"]
    assert len(plans) == 1


@pytest.mark.parametrize("other", ["the same image", "another version"])
def test_a_plan_made_before_the_cache_is_not_used_when_something_is_in_it(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    second = shelf.push(make_bundle(shelf.directory / "2" / "Runner.pvm", {IMAGE: DISK + b"more"}), "2.0")
    shutil.rmtree(shelf.cache.path)
    plans = count_plans(monkeypatch)
    real = cached.open_cache

    def open_cache(context: t.Any) -> Cache:
        monkeypatch.setattr(cached, "open_cache", real)
        shelf.cache = Cache.open(shelf.cache.path, create=True)
        shelf.pull(manifest if other == "the same image" else second)
        return real(context)

    monkeypatch.setattr(cached, "open_cache", open_cache)
    result = shelf.run(manifest)
    assert result["changed"] is (other != "the same image")
    assert [bool(plan.seeds) for plan in plans] == [False, False, True][: 2 + (other != "the same image")]
    assert shelf.entry(manifest)


@pytest.mark.parametrize(
    ("has_clones", "is_one", "is_short"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_long_copy_is_done_in_the_background(
    shelf: Shelf,
    manifest: Manifest,
    disks: Disks,
    monkeypatch: pytest.MonkeyPatch,
    has_clones: bool,
    is_one: bool,
    is_short: bool,
) -> None:
    shelf.run(manifest)
    disks.has_clones, disks.is_one = has_clones, is_one
    monkeypatch.setattr(demands, "SHORT_BYTES", shelf.entry(manifest).record.allocated_bytes - 1)
    announced: list[bool] = []
    context = dataclasses.replace(shelf.context, before_long=lambda: announced.append(True))
    run.run(shelf.request(manifest, state=PRESENT), context, check_mode=False)
    assert bool(announced) is not is_short


# States of a version


def states(shelf: Shelf, manifest: Manifest) -> dict[str, str]:
    """What the facts say of the versions of an entry."""
    document = shelf.run(manifest, state=CACHED, check_mode=True)["parallels_catalog"]
    (entry,) = document["caches"][shelf.cache.path]["entries"]
    return {address["version"]: address["state"] for address in entry["addresses"]}


@pytest.mark.parametrize("word", ["tainted", "revoked"])
@pytest.mark.parametrize("state", [CACHED, PRESENT, STARTED])
def test_the_cache_remembers_that_a_version_was_blocked(
    shelf: Shelf, manifest: Manifest, word: str, state: str
) -> None:
    other = dataclasses.replace(manifest, id="f" * 64, version="1.1")
    shelf.indexes[other.id] = shelf.indexes[manifest.id]
    for one in (manifest, other):
        shelf.run(one)
    blocked = dataclasses.replace(manifest, **{word: True})
    for check_mode, expected in ((True, "active"), (False, word)):
        with pytest.raises(Blocked):
            shelf.run(blocked, state=state, check_mode=check_mode)
        assert states(shelf, manifest) == {"1.0": expected, "1.1": "active"}
    # It was let go again.
    shelf.run(manifest)
    assert states(shelf, manifest) == {"1.0": "active", "1.1": "active"}


def test_the_cache_remembers_it_while_its_vm_stays(shelf: Shelf, manifest: Manifest) -> None:
    assert shelf.run(manifest, state=PRESENT)["changed"]
    for manifests, fields, state in (
        ((), {"version": "1.0", "blocked": Blocked("It is revoked.", code="revoked")}, "revoked"),
        ((dataclasses.replace(manifest, tainted=True),), {}, "tainted"),
        ((manifest,), {}, "active"),
    ):
        result = shelf.run(*manifests, state=PRESENT, **fields)
        assert not result["changed"]
        (entry,) = result["parallels_catalog"]["caches"][shelf.cache.path]["entries"]
        assert [address["state"] for address in entry["addresses"]] == [state]


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "1.1"},
        {"version": "latest"},
        {"version": None},
        {"version": "1.0", "catalog_url": "https://other.example.com"},
        {"version": "1.0", "architecture": "x86_64"},
        {"version": "1.0", "catalog_id": "other"},
    ],
)
def test_what_is_said_of_another_version_is_not_remembered(
    shelf: Shelf, manifest: Manifest, fields: dict[str, t.Any]
) -> None:
    shelf.run(manifest)
    with pytest.raises(Blocked):
        shelf.run(blocked=Blocked("It is tainted.", code="tainted"), **fields)
    assert states(shelf, manifest) == {"1.0": "active"}


# A VM


def test_the_receipt_names_the_owner_whatever_the_environment_says(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    result = shelf.run(manifest, state=PRESENT)
    (vm,) = result["parallels_catalog"]["vms"]
    assert vm["receipt"]["created_by"] == "build"


def test_a_vm_that_vanished_is_not_reported_as_started(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=PRESENT)
    request = shelf.request(manifest, state=STARTED)
    planned = run.plan(request, shelf.context)
    assert isinstance(planned, run.KeepVm) and planned.power == STARTED
    shelf.run(state=ABSENT)
    with pytest.raises(VmNotFound, match="Bringing the virtual machine Runner to the state started failed"):
        run.apply(planned, request, shelf.context)


# What a failure tells


def refused(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise PrlctlError("Something was refused.")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), CacheLocked("Locked.")])
def test_facts_that_cannot_be_published_are_a_warning_of_what_succeeded(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise error

    monkeypatch.setattr(facts, "publish", fail)
    result = shelf.run(manifest, state=STARTED)
    assert result["changed"] and result["vm"]["state"] == "running"
    assert [vm["state"] for vm in result["parallels_catalog"]["vms"]] == ["running"]
    assert [sentence for sentence in shelf.warnings if "facts of this host stay as they were" in sentence]


def test_facts_that_cannot_be_gathered_are_a_warning_of_what_succeeded(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Cache) -> t.NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Cache, "trash_bytes", fail)
    assert shelf.run(manifest)["changed"]
    assert [sentence for sentence in shelf.warnings if "Input/output error" in sentence]


def test_a_failure_after_the_download_tells_of_it(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task takes the lock between the download and the use of what was downloaded."""
    other = Cache.open(shelf.cache.path, create=False).lock(manifest.digest, locking.FILL, "a verification", 60)

    held: list[str] = []

    def lock(key: t.Any, wanted: Manifest, operation: str, cache: Cache, context: t.Any) -> t.Any:
        held.append(operation)
        if held == [locking.USE, locking.FILL, locking.USE]:
            other.__enter__()
        return cache.lock(wanted.digest, operation, "a test", 0)

    monkeypatch.setattr(ensure, "_lock", lock)
    with pytest.raises(CacheLocked) as caught:
        shelf.run(manifest)
    other.__exit__(None, None, None)
    (sentence,) = caught.value.done
    assert sentence.startswith("Download ") and "macos-15 1.0" in sentence


def test_a_failure_of_the_download_tells_what_was_taken_out_of_use(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)
    image = os.path.join(shelf.entry(manifest).bundle_path, IMAGE)
    os.chmod(image, 0o644)
    with open(image, "r+b") as stream:
        stream.write(b"damaged")

    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.ENETDOWN, "Network is down")

    monkeypatch.setattr(shelf, "fetch_into", fail)
    with pytest.raises((CatalogError, OSError)) as caught:
        shelf.run(manifest)
    assert isinstance(caught.value, CatalogError)
    assert caught.value.done == (f"Take the damaged content of macos-15 1.0 out of use in {shelf.cache.path}.",)


def test_a_failure_after_the_start_tells_of_it(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=PRESENT)
    real = Prlctl.start

    def start(prlctl: Prlctl, uuid: str) -> None:
        real(prlctl, uuid)
        monkeypatch.setattr(Prlctl, "find", refused)

    monkeypatch.setattr(Prlctl, "start", start)
    with pytest.raises(PrlctlError) as caught:
        shelf.run(manifest, state=STARTED)
    assert caught.value.done == (
        "Set the virtual machine Runner to run without a window.",
        "Start the virtual machine Runner.",
    )


def test_a_stop_that_fails_tells_that_it_resumed_the_vm(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=STARTED)
    real = Prlctl.find

    def find(prlctl: Prlctl, uuid: str) -> t.Optional[VirtualMachine]:
        machine = real(prlctl, uuid)
        return machine and dataclasses.replace(machine, state="suspended")

    def list_machines(prlctl: Prlctl) -> list[VirtualMachine]:
        return [dataclasses.replace(one, state="suspended") for one in prlctl_list(prlctl)]

    def stop(self: vms.Vms, vm: t.Any, **_options: t.Any) -> bool:
        return power.stop(vm, self.prlctl, self.patience, timeout_seconds=0.1, did=self.did)

    prlctl_list = Prlctl.list_machines
    monkeypatch.setattr(Prlctl, "list_machines", list_machines)
    monkeypatch.setattr(Prlctl, "find", find)
    monkeypatch.setattr(Prlctl, "resume", lambda _prlctl, _uuid: None)
    monkeypatch.setattr(Prlctl, "stop", refused)
    monkeypatch.setattr(vms.Vms, "stop", stop)
    with pytest.raises(VmStillRuns) as caught:
        shelf.run(manifest, state=STOPPED)
    assert caught.value.done == ("Resume the virtual machine Runner to stop it.",)


def test_a_start_that_fails_tells_that_the_window_was_hidden(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=PRESENT)
    monkeypatch.setattr(Prlctl, "start", refused)
    for expected in (("Set the virtual machine Runner to run without a window.",), ()):
        with pytest.raises(PrlctlError) as caught:
            shelf.run(manifest, state=STARTED)
        assert caught.value.done == expected


def test_a_creation_that_cannot_be_undone_is_told(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)
    monkeypatch.setattr(Prlctl, "rename", refused)
    monkeypatch.setattr(Prlctl, "register", refused)
    with pytest.raises(PrlctlError) as caught:
        shelf.run(manifest, state=PRESENT)
    assert caught.value.done == ()
    monkeypatch.setattr(clone, "remove_tree", refused)
    with pytest.raises(PrlctlError) as caught:
        shelf.run(manifest, state=PRESENT)
    (sentence,) = caught.value.done
    assert re.fullmatch(r"Begin to make the virtual machine Runner in .*Runner\.pvm; what was made .*", sentence)
    # What is left is registered, so that there is something to undo before the bundle.
    monkeypatch.setattr(Prlctl, "find", lambda _prlctl, uuid: VirtualMachine(uuid, "Runner", "stopped"))
    monkeypatch.setattr(Prlctl, "unregister", lambda _prlctl, _uuid: None)
    with pytest.raises(PrlctlError) as caught:
        shelf.run(state=ABSENT)
    (sentence,) = caught.value.done
    assert sentence.startswith("Begin to remove what an interrupted task left of the virtual machine Runner in ")


def partial_of(shelf: Shelf, manifest: Manifest) -> None:
    """Have a partial image beside an entry, as a task of another version may have left it."""
    assert os.path.isdir(shelf.cache.partial(manifest.digest).bundle_path)
    shelf.entry(manifest)


def fail_from(monkeypatch: pytest.MonkeyPatch, holder: t.Any, name: str, number: int) -> None:
    """Let a function fail from its ``number``-th call on."""
    real, calls = getattr(holder, name), itertools.count(1)

    def function(*arguments: t.Any, **options: t.Any) -> t.Any:
        if next(calls) >= number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    monkeypatch.setattr(holder, name, function)


@pytest.mark.parametrize("number", [1, 2])
def test_a_purge_that_fails_tells_what_it_had_removed(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shelf.run(manifest)
    partial_of(shelf, manifest)
    fail_from(monkeypatch, trash, "rename_durably", number)
    with pytest.raises(CacheError) as caught:
        shelf.run(state=ABSENT, purge_cache=True)
    assert caught.value.done == ((f"Remove {manifest.digest} from the cache.",) if number == 2 else ())


@pytest.mark.parametrize("step", ["none", "discarded", "demoted"])
def test_a_repair_that_fails_tells_how_far_it_came(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    shelf.run(manifest)
    image = os.path.join(shelf.entry(manifest).bundle_path, IMAGE)
    partial_of(shelf, manifest)
    os.chmod(image, 0o644)
    with open(image, "r+b") as stream:
        stream.write(b"damaged")
    sentences = [
        f"Remove what an interrupted pull of macos-15 1.0 left in {shelf.cache.path}.",
        f"Take the damaged content of macos-15 1.0 out of use in {shelf.cache.path}.",
    ]
    if step == "none":
        fail_from(monkeypatch, trash, "rename_durably", 1)
    elif step == "discarded":
        fail_from(monkeypatch, entries, "rename_durably", 1)
    else:
        fail_from(monkeypatch, trees, "make_writable", 1)
    with pytest.raises(CacheError) as caught:
        shelf.run(manifest)
    assert list(caught.value.done) == sentences[: ["none", "discarded", "demoted"].index(step)]


@pytest.mark.parametrize("removed", [0, 1])
def test_mending_that_fails_tells_that_it_has_begun(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    shelf.run(manifest)
    bundle = shelf.entry(manifest).bundle_path
    for name in ("a", "b"):
        with open(os.path.join(bundle, name), "wb"):
            pass
    real, calls = trees.remove, itertools.count()

    def remove(path: str) -> t.Any:
        return (trees.Unremoved(path, "it is locked"),) if next(calls) >= removed else real(path)

    monkeypatch.setattr(trees, "remove", remove)
    with pytest.raises(CacheError, match="it is locked") as caught:
        shelf.run(manifest)
    sentence = f"Begin to repair macos-15 1.0 in {shelf.cache.path}."
    assert caught.value.done == ((sentence,) if removed else ())
    assert sorted(set(os.listdir(bundle)) & {"a", "b"}) == ["a", "b"][removed:]


def test_a_removal_that_fails_tells_that_it_has_begun(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=STARTED)
    monkeypatch.setattr(Prlctl, "delete", refused)
    with pytest.raises(PrlctlError) as caught:
        shelf.run(state=ABSENT)
    assert caught.value.done == ("Begin to delete the virtual machine Runner.",)


def test_a_failure_of_the_system_tells_what_was_done(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest, state=PRESENT)

    def fail(_self: Cache) -> t.NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    request = {"state": ABSENT, "purge_cache": True}
    monkeypatch.setattr(Cache, "free_bytes", fail)
    with pytest.raises(SystemFailure) as caught:
        shelf.run(**request)
    assert "Delete the virtual machine Runner." in caught.value.done


def test_a_lock_file_that_cannot_be_removed_is_a_warning(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.unlink

    def unlink(path: t.Any, **options: t.Any) -> None:
        if str(path).endswith(".Runner.lock"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        real(path, **options)

    monkeypatch.setattr(locks.os, "unlink", unlink)
    assert shelf.run(manifest, state=PRESENT)["changed"]
    (sentence,) = [sentence for sentence in shelf.warnings if ".Runner.lock" in sentence]
    assert "Permission denied" in sentence


# Absence


def versions(shelf: Shelf) -> list[tuple[str, str, str, str]]:
    """All that the cache holds, by its addresses."""
    return sorted(
        (address.catalog_url, address.catalog_id, address.version, address.architecture)
        for entry in shelf.cache.entries()
        for address in entry.record.addresses
    )


def pull_as(shelf: Shelf, manifest: Manifest, catalog_url: str = URL, **fields: t.Any) -> None:
    """Pull the same content as another image."""
    other = dataclasses.replace(manifest, id=os.urandom(32).hex(), **fields)
    shelf.indexes[other.id] = shelf.indexes[manifest.id]
    shelf.run(other, catalog_url=catalog_url, architecture=other.architecture)


def absent(shelf: Shelf, **fields: t.Any) -> dict[str, t.Any]:
    """Remove, in check mode, for real and again; the middle result."""
    wanted = {"state": ABSENT, "architecture": None, "catalog_url": "", "purge_cache": True, **fields}
    before = versions(shelf)
    predicted = shelf.run(check_mode=True, **wanted)
    assert versions(shelf) == before
    result = shelf.run(**wanted)
    assert not shelf.run(**wanted)["changed"]
    for name in ("changed", "actions", "diff"):
        assert predicted[name] == result[name]
    return result


def test_a_vm_is_removed_though_the_server_was_renamed(shelf: Shelf, manifest: Manifest) -> None:
    shelf.run(manifest, state=PRESENT)
    result = shelf.run(state=ABSENT, catalog_url="https://new-name.example.com")
    assert result["actions"] == ["Delete the virtual machine Runner."]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"catalog_id": "other"}, "its catalog_id is macos-15, and the task names other"),
        ({"version": ">=2"}, "its version is 1.0, and the task names >=2"),
        ({"architecture": "amd64"}, "its architecture is arm64, and the task names amd64"),
    ],
)
def test_what_keeps_a_vm_is_named(shelf: Shelf, manifest: Manifest, fields: dict[str, str], reason: str) -> None:
    shelf.run(manifest, state=PRESENT)
    assert not shelf.run(state=ABSENT, **fields)["changed"]
    assert shelf.warnings[-1:] == [f"The virtual machine Runner stays: {reason}."]


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_vm_that_is_remembered_is_not_absent_without_prlctl(
    shelf: Shelf, manifest: Manifest, check_mode: bool
) -> None:
    shelf.run(manifest, state=PRESENT)
    shelf.prlctl = None
    with pytest.raises(PrlctlMissing):
        shelf.run(state=ABSENT, check_mode=check_mode)
    assert not shelf.run(state=ABSENT, name="Another", check_mode=check_mode)["changed"]


def test_what_a_killed_purge_left_is_deleted_by_the_next_one(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)

    def kill(*_arguments: t.Any) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(cached, "freed_since", kill)
    with pytest.raises(KeyboardInterrupt):
        shelf.run(state=ABSENT, purge_cache=True)
    monkeypatch.undo()
    assert shelf.cache.trash_bytes() > 0
    assert not shelf.run(state=ABSENT, purge_cache=True)["changed"]
    assert shelf.cache.trash_bytes() == 0


def test_free_space_that_cannot_be_measured_does_not_fail_a_removal(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)

    def fail(_path: str) -> t.NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(cached, "flush_volume", fail)
    result = shelf.run(state=ABSENT, purge_cache=True)
    assert (result["changed"], result["freed_bytes"]) == (True, 0)
    assert [sentence for sentence in shelf.warnings if "is not known: Input/output error" in sentence]


def test_an_entry_that_another_image_wants_stays(shelf: Shelf, manifest: Manifest) -> None:
    shelf.run(manifest)
    pull_as(shelf, manifest, catalog_id="other")
    result = absent(shelf)
    assert result["changed"]
    assert result["actions"] == [
        f"Forget that {manifest.digest} in the cache is {CATALOG_ID}; other images have the same content."
    ]
    assert versions(shelf) == [(URL, "other", "1.0", "arm64")]
    assert absent(shelf, catalog_id="other")["actions"] == [f"Remove {manifest.digest} from the cache."]
    assert shelf.cache.entries() == []


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({}, []),
        ({"version": "1.*"}, [(URL, "2.0", "arm64")]),
        (
            {"version": "2.0"},
            [("https://b.example.com", "1.0", "arm64"), (URL, "1.0", "arm64"), (URL, "1.0", "x86_64")],
        ),
        ({"catalog_url": f"{URL}/"}, [("https://b.example.com", "1.0", "arm64")]),
        (
            {"architecture": "amd64"},
            [("https://b.example.com", "1.0", "arm64"), (URL, "1.0", "arm64"), (URL, "2.0", "arm64")],
        ),
        ({"version": "latest"}, None),
    ],
)
def test_only_what_is_meant_is_absent(
    shelf: Shelf, manifest: Manifest, fields: dict[str, t.Any], left: t.Optional[list[tuple[str, str, str]]]
) -> None:
    shelf.run(manifest)
    pull_as(shelf, manifest, "https://b.example.com")
    pull_as(shelf, manifest, architecture="x86_64")
    pull_as(shelf, manifest, version="2.0")
    before = versions(shelf)
    result = absent(shelf, **fields)
    assert result["changed"] is (left is not None)
    found = versions(shelf)
    assert found == before if left is None else [(url, version, name) for url, _id, version, name in found] == left


def test_an_entry_that_is_wanted_meanwhile_stays(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)
    request = shelf.request(state=ABSENT, purge_cache=True)
    planned = run.plan(request, shelf.context)
    assert isinstance(planned, run.RemoveVm) and planned.purges.removed == (manifest.digest,)
    pull_as(shelf, manifest, catalog_id="other")
    run.apply(planned, request, shelf.context)
    assert versions(shelf) == [(URL, "other", "1.0", "arm64")]


def test_an_image_that_changes_while_it_is_cloned_makes_no_vm(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.run(manifest)
    image = Path(shelf.entry(manifest).bundle_path) / IMAGE
    real = clone.clone_tree

    def clone_tree(*arguments: t.Any, **options: t.Any) -> clone.CloneResult:
        image.chmod(0o644)
        with image.open("r+b") as stream:
            stream.write(b"spoiled")
        return real(*arguments, **options)

    monkeypatch.setattr(clone, "clone_tree", clone_tree)
    with pytest.raises(CacheChanged, match=IMAGE):
        shelf.run(manifest, state=PRESENT)
    assert not (shelf.directory / "Parallels/Runner.pvm").exists()
    monkeypatch.undo()
    shelf.run(manifest, state=PRESENT)
    assert (shelf.directory / "Parallels/Runner.pvm" / IMAGE).read_bytes() == DISK


def test_a_pull_makes_as_many_requests_at_once_as_connections_says(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A request is for 8 MiB at most.
    manifest = shelf.push(make_bundle(shelf.directory / "Large.pvm", {IMAGE: noise(3, 80 << 20)}), "2.0")
    together = threading.Barrier(8, timeout=10)
    fetch = shelf.storage.fetch
    places = iter(range(8))

    def fetch_together(*words: t.Any) -> t.Any:
        if next(places, None) is not None:
            together.wait()
        return fetch(*words)

    monkeypatch.setattr(shelf.storage, "fetch", fetch_together)
    shelf.connections = 8
    shelf.pull(manifest)


def test_a_connection_brings_more_while_what_has_arrived_is_written(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = shelf.push(make_bundle(shelf.directory / "Large.pvm", {IMAGE: noise(3, 40 << 20)}), "2.0")
    fetched = threading.Semaphore(0)
    first = iter([True])
    came: list[bool] = []
    fetch, write = shelf.storage.fetch, download._write_range

    def counted(*words: t.Any) -> t.Any:
        fetched.release()
        return fetch(*words)

    def wait_and_write(*words: t.Any) -> int:
        if next(first, False):
            # The first range has arrived. A second one is asked for before it is written.
            came.append(fetched.acquire(timeout=10) and fetched.acquire(timeout=10))
        return write(*words)

    monkeypatch.setattr(shelf.storage, "fetch", counted)
    monkeypatch.setattr(download, "_write_range", wait_and_write)
    shelf.connections = 1
    shelf.pull(manifest)
    assert came == [True]
