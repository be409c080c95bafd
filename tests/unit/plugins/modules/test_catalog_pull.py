# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_pull from its options to its result: with a recorded catalog, a real storage and a real cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import room
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull import demands
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.tests.unit.support import storage
from ansible_collections.macfleet.parallels.tests.unit.support.hosts import (
    Host,
    cancel_when,
    handover,
)
from ansible_collections.macfleet.parallels.tests.unit.support.images import (
    CHUNK,
    OTHER_CHUNKS,
    Image,
    change_disk,
    image_of,
    make_bundle,
    tree,
)
from ansible_collections.macfleet.parallels.tests.unit.support.modules import assert_failed
from ansible_collections.macfleet.parallels.tests.unit.support.recording import ANY, refusal

# What a prediction cannot tell: the time, the VM that does not exist yet, and what it costs to make it.
NOT_PREDICTED = ("parallels_catalog", "elapsed", "vm", "warnings", "freed_bytes")


@pytest.fixture(name="bundle")
def bundle_fixture(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "source", 1, 2, 0, 3)


@pytest.fixture(name="image")
def image_fixture(bundle: Path) -> Image:
    return image_of(bundle)


@pytest.fixture(name="newer")
def newer_fixture(tmp_path: Path) -> Image:
    """The next version: one chunk of the disk is another one."""
    return image_of(make_bundle(tmp_path / "newer", 1, 4, 0, 3), "1.5")


@pytest.fixture(name="mac")
def mac_fixture(host: Host) -> Host:
    """A host with Parallels Desktop."""
    host.install_parallels()
    return host


def cached(host: Host, image: Image) -> Path:
    return host.cache / "bundles" / image.digest / "bundle"


def fill(host: Host, image: Image, **options: t.Any) -> dict[str, t.Any]:
    """Pull what is not there yet."""
    host.expect_pull(image)
    result = host.pull(image, **options)
    assert result["changed"], result
    host.storage.seen.clear()
    return result


def predicted(result: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in result.items() if name not in NOT_PREDICTED}


def check_then_run(host: Host, image: Image, **options: t.Any) -> dict[str, t.Any]:
    """What is done, which is what check mode said before."""
    host.expect_index(image)
    host.storage.seen.clear()
    prediction = host.pull(image, check_mode=True, **options)
    assert not host.storage.seen
    host.expect_pull(image)
    result = host.pull(image, **options)
    assert predicted(result) == predicted(prediction)
    return result


def ranges_of(host: Host) -> int:
    """Bytes that the storage was asked for."""
    total = 0
    for _method, _path, headers in host.storage.seen:
        first, last = headers["Range"].partition("=")[2].split("-")
        total += int(last) - int(first) + 1
    return total


def assert_nothing_published(host: Host) -> None:
    assert not list(host.cache.glob("bundles/*"))
    assert not list(host.vms.iterdir())
    assert not host.machines()


# The image


def test_an_image_is_downloaded_as_check_mode_said(host: Host, image: Image, bundle: Path) -> None:
    result = check_then_run(host, image)
    assert result["changed"]
    assert tree(cached(host, image)) == tree(bundle)
    assert result["chunks"] == {"downloaded": 3 + OTHER_CHUNKS}
    assert result["bytes"]["downloaded"] == ranges_of(host) < result["bytes"]["downloaded_raw"]
    assert result["bytes"]["downloaded_raw"] == image.manifest["data_bytes"]
    assert result["bytes"]["logical"] == image.manifest["logical_bytes"]
    assert result["bytes"]["holes"] >= CHUNK
    assert result["diff"] == {"before": {"cached": False}, "after": {"cached": True}}
    (entry,) = result["parallels_catalog"]["caches"][str(host.cache)]["entries"]
    assert (entry["digest"], entry["use_count"]) == (image.digest, 1)


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_cached_image_takes_no_request(host: Host, image: Image, check_mode: bool) -> None:
    fill(host, image)
    result = host.pull(image, check_mode=check_mode)
    assert not result["changed"]
    assert (result["chunks"], result["actions"]) == ({"downloaded": 0}, [])
    assert result["manifest"] == image.manifest
    assert not host.storage.seen


def test_a_seed_saves_what_it_has(host: Host, image: Image, newer: Image, tmp_path: Path) -> None:
    fill(host, image)
    result = check_then_run(host, newer)
    assert result["chunks"] == {"downloaded": 1}
    assert (result["bytes"]["downloaded_raw"], result["bytes"]["downloaded"]) == (CHUNK, ranges_of(host))
    assert result["bytes"]["reused"] >= 2 * CHUNK
    assert tree(cached(host, newer)) == tree(tmp_path / "newer/sample.pvm")


def test_a_seed_that_was_written_to_is_not_believed(host: Host, image: Image, newer: Image, tmp_path: Path) -> None:
    fill(host, image)
    change_disk(cached(host, image), 0, seed=9)
    host.expect_pull(newer)
    result = host.pull(newer)
    assert result["changed"]
    assert tree(cached(host, newer)) == tree(tmp_path / "newer/sample.pvm")


def test_verify_repairs_what_is_damaged(host: Host, image: Image, bundle: Path) -> None:
    fill(host, image)
    change_disk(cached(host, image), 1, seed=9)
    result = check_then_run(host, image, verify=True)
    assert (result["changed"], result["chunks"]) == (True, {"downloaded": 1})
    assert tree(cached(host, image)) == tree(bundle)


def test_verify_finds_nothing_to_do(host: Host, image: Image) -> None:
    fill(host, image)
    result = host.pull(image, verify=True)
    assert not result["changed"]
    (entry,) = result["parallels_catalog"]["caches"][str(host.cache)]["entries"]
    assert entry["verified_at"]


# What the storage and the server do


def test_a_url_that_has_expired_is_renewed(host: Host, image: Image) -> None:
    host.expect_pull(image)
    host.expect_urls(image)
    host.storage.faults.append(storage.status(403))
    assert host.pull(image)["changed"]
    refused, taken = host.used_urls()
    assert refused != taken


def test_a_storage_that_refuses_a_new_url_too(host: Host, image: Image) -> None:
    host.expect_pull(image)
    host.expect_urls(image)
    host.storage.faults += [storage.status(403), storage.status(403)]
    assert_failed(host.pull(image), "storage_denied", "the storage answered 403")
    assert_nothing_published(host)


def test_a_segment_that_is_gone(host: Host, image: Image) -> None:
    host.expect_index(image)
    host.expect_urls(image)
    assert_failed(host.pull(image), "storage_missing", "the storage answered 404")
    assert_nothing_published(host)


def test_flipped_bytes_are_refused_and_the_next_pull_goes_on(host: Host, image: Image, bundle: Path) -> None:
    host.expect_pull(image)
    (path,) = image.objects
    damaged = bytearray(image.objects[path])
    damaged[len(damaged) // 2] ^= 1
    host.storage.objects[path] = bytes(damaged)
    assert_failed(host.pull(image), "damaged_chunk", "does not have its digest")
    assert_nothing_published(host)
    result = check_then_run(host, image)
    assert result["resumed"]
    assert tree(cached(host, image)) == tree(bundle)


def test_an_index_of_another_content_is_refused(host: Host, image: Image, newer: Image) -> None:
    host.catalog.expect_bytes(f"manifests/{image.id}/listing", newer.index.listing_file)
    assert_failed(host.pull(image), "invalid_index", f"{newer.digest} instead of {image.digest}")
    assert_nothing_published(host)


def test_an_index_that_was_changed_on_its_way_is_refused(host: Host, image: Image) -> None:
    listing = image.index.listing_file
    digest = hashlib.sha256(listing).hexdigest()
    host.catalog.expect_bytes(f"manifests/{image.id}/listing", listing[:-1] + b"?", digest)
    assert_failed(host.pull(image), "bad_reply", "do not have the digest that the server sent")
    assert_nothing_published(host)


@pytest.mark.parametrize(("word", "status"), [("tainted", 409), ("grant_revoked", 401), ("unknown_manifest", 404)])
def test_a_refusal_of_the_server_is_one_failure(host: Host, image: Image, word: str, status: int) -> None:
    host.expect_index(image)
    host.expect("POST", f"manifests/{image.id}/urls", body=ANY, **refusal(word, status, "Not any more."))
    assert_failed(host.pull(image), word, "Not any more")
    assert_nothing_published(host)


# What the host lacks


def leave_free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(volumes, "free_bytes", lambda path: count)


@pytest.mark.parametrize("check_mode", [True, False])
def test_too_little_room_is_told_before_anything_is_written(
    host: Host, image: Image, monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    needed = image.manifest["data_bytes"] + room.MARGIN_BYTES
    leave_free(monkeypatch, needed - 1)
    host.expect_index(image)
    result = host.pull(image, check_mode=check_mode)
    assert_failed(result, "disk_full", "bytes of disk space")
    assert result["details"] == {"needed_bytes": needed, "free_bytes": needed - 1}
    assert_nothing_published(host)
    leave_free(monkeypatch, needed)
    host.expect_pull(image)
    assert host.pull(image)["changed"]


def test_room_for_image_and_vm_is_counted_together(mac: Host, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    size = image.manifest["data_bytes"]
    for free, code in ((2 * size - 1, "disk_full"), (2 * size, None)):
        leave_free(monkeypatch, free + room.MARGIN_BYTES)
        mac.expect_index(image)
        result = mac.pull(image, check_mode=True, state="present")
        assert result.get("error_code") == (None if volumes.has_clones(str(mac.disk)) else code)


def test_a_disk_that_gets_full_meanwhile(
    host: Host, image: Image, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    host.expect_pull(image)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert_failed(host.pull(image), "disk_full", "No space left on device")
    assert_nothing_published(host)
    fill(host, image)
    assert tree(cached(host, image)) == tree(bundle)


@pytest.mark.parametrize("what", ["cpu", "memory_mb"])
def test_a_host_that_cannot_run_the_image_is_told_before_anything_is_asked(mac: Host, bundle: Path, what: str) -> None:
    image = image_of(bundle, minimum_requirements={what: 1 << 40})
    result = mac.pull(image, state="present")
    assert_failed(result, "requirements_unmet", f"The image needs {1 << 40} ")
    assert len(result["details"]["unmet"]) == 1
    assert not mac.cache.exists()
    # It may lie in the cache, though.
    fill(mac, image)


def test_disk_space_is_demanded_of_what_is_going_to_be_done(
    mac: Host, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of(bundle, minimum_requirements={"disk_mb": 1000})
    leave_free(monkeypatch, 999 << 20)
    for check_mode in (True, False):
        mac.expect_index(image)
        assert_failed(mac.pull(image, check_mode=check_mode), "requirements_unmet", "The image needs 1000 MiB of free")
        assert_nothing_published(mac)
    leave_free(monkeypatch, 1000 << 20)
    make_vm(mac, image)
    leave_free(monkeypatch, 500 << 20)
    # What is there needs no room.
    for state in ("cached", "present", "started"):
        for check_mode in (True, False):
            assert "failed" not in mac.pull(image, name="runner", state=state, check_mode=check_mode)
    assert_failed(mac.pull(image, name="another", state="present"), "requirements_unmet", "The image needs 1000 MiB")


def test_an_image_for_other_hardware_only(host: Host, image: Image) -> None:
    assert_failed(host.pull(image, architecture="amd64"), "unknown_manifest", "for x86_64")


@pytest.mark.parametrize("given", [None, {"url": "https://catalog.example.com"}])
def test_without_its_action_plugin(host: Host, given: t.Any) -> None:
    assert_failed(host.pull(handover=given), "no_handover", "action plugin")


def test_another_task_that_works_on_the_same_image_is_named(host: Host, image: Image) -> None:
    cache = Cache.open(str(host.cache), create=True)
    with cache.lock(image.digest, locking.FILL, "a pull by somebody else", 0.0):
        result = host.pull(image, lock_timeout=0)
    assert_failed(result, "cache_locked", "a pull by somebody else")
    assert "Waiting for the lock of macos-15 1.4" in result["warnings"][0]
    assert_nothing_published(host)


# Long transfers


def test_whoever_watches_sees_the_progress(
    host: Host, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = tmp_path / "progress"
    given = handover([image], progress_path=str(progress))
    monkeypatch.setattr(demands, "SHORT_BYTES", 0)
    host.expect_index(image)
    host.pull(image, check_mode=True, handover=given)
    assert not progress.exists()
    fill(host, image, handover=given)
    told = json.loads(progress.read_bytes())
    assert (told["phase"], told["pid"]) == ("download", os.getpid())
    assert 0 < told["total_bytes"] < image.manifest["stored_bytes"]


def test_a_short_transfer_is_done_at_once(host: Host, image: Image, tmp_path: Path) -> None:
    fill(host, image, handover=handover([image], progress_path=str(tmp_path / "progress")))
    assert not (tmp_path / "progress").exists()


def test_whoever_watches_can_end_it(host: Host, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel_when("download", tmp_path / "progress", monkeypatch)
    host.expect_index(image)
    result = host.pull(image, handover=handover([image], progress_path=str(tmp_path / "progress")))
    assert_failed(result, "cancelled", "cancelled by the controller")
    assert_nothing_published(host)


@pytest.mark.parametrize("what", ["the image", "the virtual machine"])
def test_whoever_watches_can_end_the_waiting_for_a_lock(
    mac: Host, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    progress = tmp_path / "progress"
    cancel_when("wait", progress, monkeypatch)
    fill(mac, image)
    cache = Cache.open(str(mac.cache), create=True)
    lock = cache.lock(image.digest, locking.FILL, "somebody else", 0.0)
    if what != "the image":
        lock = locks.hold(naming.lock_path(str(mac.vms), "runner"), "somebody else", 0.0)
    with lock:
        given = handover([image], progress_path=str(progress))
        result = mac.pull(image, name="runner", state="present", lock_timeout=600, handover=given)
    assert_failed(result, "cancelled", "cancelled by the controller")
    assert mac.machines() == {}


# The virtual machine


def make_vm(mac: Host, image: Image, **options: t.Any) -> dict[str, t.Any]:
    return fill(mac, image, **{"name": "runner", "state": "present", **options})


@pytest.mark.parametrize(("state", "becomes"), [("present", "stopped"), ("started", "running")])
def test_a_vm_is_made_as_check_mode_said(mac: Host, image: Image, state: str, becomes: str) -> None:
    result = check_then_run(mac, image, name="runner", state=state)
    assert result["changed"]
    home = mac.vms / "runner.pvm"
    assert mac.machines() == {"runner.pvm": becomes}
    assert (result["vm"]["name"], result["vm"]["state"], result["vm"]["home"]) == ("runner", becomes, str(home))
    assert (result["vm"]["version"], result["vm"]["digest"]) == ("1.4", image.digest)
    assert result["diff"]["after"] == {"cached": True, "vm": becomes}
    (vm,) = result["parallels_catalog"]["vms"]
    assert (vm["uuid"], vm["state"]) == (result["vm"]["uuid"], becomes)
    asked = mac.asked_of_parallels()
    again = mac.pull(image, name="runner", state=state)
    assert (again["changed"], again["vm"], mac.asked_of_parallels()) == (False, result["vm"], asked)


def test_a_vm_that_exists_is_started_without_a_request(mac: Host, image: Image) -> None:
    make_vm(mac, image)
    prediction = mac.pull(image, check_mode=True, name="runner", state="started")
    assert mac.machines() == {"runner.pvm": "stopped"}
    result = mac.pull(image, name="runner", state="started")
    assert predicted(result) == predicted(prediction)
    assert (result["changed"], result["vm"]["state"]) == (True, "running")
    assert mac.machines() == {"runner.pvm": "running"}


def test_a_vm_of_another_version_is_kept(mac: Host, image: Image, newer: Image) -> None:
    made = make_vm(mac, image)
    result = mac.pull(newer, name="runner", state="present")
    assert (result["changed"], result["update_available"], result["vm"]) == (False, True, made["vm"])
    assert not mac.pull(image, name="runner", state="present")["update_available"]


def test_vms_are_made_where_parallels_makes_them(mac: Host, image: Image) -> None:
    elsewhere = mac.disk / "chosen by the user"
    mac.simulated.fail({"verb": "info", "returncode": 0, "stdout": json.dumps({"VM home": str(elsewhere)})})
    assert make_vm(mac, image, path=None)["vm"]["home"] == str(elsewhere / "runner.pvm")


def test_a_vm_needs_parallels(host: Host, image: Image) -> None:
    assert_failed(host.pull(image, state="present"), "prlctl_missing", "not installed")


def test_a_vm_that_somebody_else_made_is_left_alone(mac: Host, image: Image, tmp_path: Path) -> None:
    mac.prlctl("register", str(make_bundle(tmp_path / "mine", 5)))
    asked = mac.asked_of_parallels()
    assert_failed(mac.pull(image, name="sample", state="started"), "vm_name_taken", "sample")
    assert mac.asked_of_parallels() == asked
    assert not mac.cache.exists()


def test_what_lies_in_the_way_is_left_alone(mac: Host, image: Image) -> None:
    (mac.vms / "runner.pvm").mkdir()
    assert_failed(mac.pull(image, name="runner", state="present"), "path_taken", "runner.pvm exists")
    assert not mac.cache.exists()


def test_a_vm_that_cannot_be_registered_leaves_nothing_but_the_image(mac: Host, image: Image) -> None:
    mac.simulated.fail({"verb": "register", "returncode": 255, "stderr": "Failed to register the VM: Disk error.\n"})
    mac.expect_pull(image)
    assert_failed(mac.pull(image, name="runner", state="started"), "prlctl_failed", "Disk error")
    assert (mac.machines(), list(mac.vms.iterdir()), list(mac.cache.glob("receipts/*"))) == ({}, [], [])
    mac.simulated.fail()
    assert mac.pull(image, name="runner", state="started")["changed"]
    assert mac.machines() == {"runner.pvm": "running"}


# Versions that must not be pulled


@pytest.mark.parametrize(("word", "check_mode"), [("tainted", False), ("revoked", True)])
def test_the_vm_of_a_blocked_version_stays_as_it_is(mac: Host, image: Image, word: str, check_mode: bool) -> None:
    made = make_vm(mac, image)
    asked = mac.asked_of_parallels()
    blocked = handover(grant=None, blocked=word, blocked_message=f"Version '1.4' is {word}.")
    result = mac.pull(handover=blocked, name="runner", state="started", check_mode=check_mode)
    assert (result["changed"], result["manifest_state"], result["vm"]) == (False, word, made["vm"])
    assert result["warnings"] == [
        f"The virtual machine runner stays as it is, made of macos-15 1.4. Version '1.4' is {word}."
    ]
    assert mac.asked_of_parallels() == asked


@pytest.mark.parametrize("state", ["cached", "started"])
def test_nothing_is_made_of_a_blocked_version(mac: Host, image: Image, state: str) -> None:
    fill(mac, image)
    blocked = handover(grant=None, blocked="tainted", blocked_message="Version '1.4' is tainted.")
    assert_failed(mac.pull(handover=blocked, name="runner", state=state), "tainted", "Version '1.4' is tainted.")
    assert not mac.machines()


def test_a_version_may_be_blocked_for_this_hardware_alone(mac: Host, bundle: Path, image: Image) -> None:
    tainted = image_of(bundle, tainted=True)
    both = handover([tainted, image_of(bundle, id="b2" * 32, architecture="x86_64")])
    assert_failed(mac.pull(handover=both, name="runner", state="present"), "tainted", "for arm64 is tainted")
    made = make_vm(mac, image)
    result = mac.pull(handover=both, name="runner", state="started")
    assert (result["changed"], result["manifest_state"], result["vm"]) == (False, "tainted", made["vm"])
    assert ["for arm64 is tainted" in warning for warning in result["warnings"]] == [True]


# Absent


@pytest.mark.parametrize("purge_cache", [True, False])
def test_absent_removes_the_vm_as_check_mode_said(mac: Host, image: Image, purge_cache: bool) -> None:
    make_vm(mac, image, state="started")
    gone = {"state": "absent", "name": "runner", "handover": None, "purge_cache": purge_cache}
    prediction = mac.pull(check_mode=True, **gone)
    assert mac.machines() == {"runner.pvm": "running"}
    result = mac.pull(**gone)
    assert predicted(result) == predicted(prediction)
    assert (result["changed"], result["manifest"], result["vm"]) == (True, {}, {})
    assert result["diff"]["after"] == ({"cached": [], "vm": "absent"} if purge_cache else {"vm": "absent"})
    assert (list(mac.vms.iterdir()), mac.machines(), list(mac.cache.glob("receipts/*"))) == ([], {}, [])
    assert [path.name for path in mac.cache.glob("bundles/*")] == ([] if purge_cache else [image.digest])
    assert not mac.pull(**gone)["changed"]


@pytest.mark.parametrize("fields", [{"catalog_id": "other"}, {"version": ">=2"}, {"architecture": "x86_64"}])
@pytest.mark.parametrize("check_mode", [True, False])
def test_absent_leaves_a_vm_of_another_image_alone(
    mac: Host, image: Image, fields: dict[str, str], check_mode: bool
) -> None:
    make_vm(mac, image)
    options = {"state": "absent", "name": "runner", "handover": None, "purge_cache": True, **fields}
    result = mac.pull(check_mode=check_mode, **options)
    assert (result["changed"], result["actions"]) == (False, [])
    (warning,) = result["warnings"]
    assert "The virtual machine runner stays: its " in warning and next(iter(fields)) in warning
    assert mac.machines() == {"runner.pvm": "stopped"}


def test_a_vm_is_stopped_as_check_mode_said(mac: Host, image: Image) -> None:
    make_vm(mac, image, state="started")
    prediction = mac.pull(image, check_mode=True, name="runner", state="stopped")
    assert mac.machines() == {"runner.pvm": "running"}
    result = mac.pull(image, name="runner", state="stopped")
    assert predicted(result) == predicted(prediction)
    assert (result["changed"], result["vm"]["state"]) == (True, "stopped")
    assert result["actions"] == ["Stop the virtual machine runner."]
    assert mac.machines() == {"runner.pvm": "stopped"}
    assert not mac.pull(image, name="runner", state="stopped")["changed"]


def test_a_guest_that_does_not_shut_down_is_ended_if_that_is_wanted(mac: Host, image: Image) -> None:
    make_vm(mac, image, state="started")
    mac.simulated.behave(ignores_acpi=True)
    stop = {"name": "runner", "state": "stopped", "stop_timeout": 1}
    refused = mac.pull(image, **stop)
    assert_failed(refused, "vm_still_runs", "had not shut down after 1 s")
    assert "stop_timeout" in refused["hint"] and "force_stop: true" in refused["hint"]
    assert mac.machines() == {"runner.pvm": "running"}
    result = mac.pull(image, **stop, force_stop=True)
    assert (result["changed"], result["vm"]["state"]) == (True, "stopped")
    (warning,) = result["warnings"]
    assert "runner was ended by force" in warning
    assert mac.machines() == {"runner.pvm": "stopped"}


@pytest.mark.parametrize("seconds", [0, -1])
@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_a_guest_needs_time_to_shut_down(mac: Host, image: Image, state: str, seconds: int) -> None:
    refused = mac.pull(image, name="runner", state=state, stop_timeout=seconds)
    assert_failed(refused, "invalid_option", f"stop_timeout of {seconds} s")


@pytest.mark.parametrize("headless", [True, False])
def test_the_window_of_a_vm_is_hidden_unless_it_is_wanted(mac: Host, image: Image, headless: bool) -> None:
    make_vm(mac, image, state="started", headless=headless)
    assert any("headless" in call for call in mac.simulated.calls()) is headless
    assert mac.machines() == {"runner.pvm": "running"}


def test_a_stopped_vm_that_is_not_there_is_made(mac: Host, image: Image) -> None:
    result = check_then_run(mac, image, name="runner", state="stopped")
    assert (result["changed"], mac.machines()) == (True, {"runner.pvm": "stopped"})


def test_a_failure_tells_what_had_been_done(mac: Host, image: Image) -> None:
    mac.simulated.fail({"verb": "start", "returncode": 255, "stderr": "Failed to start the VM: no.\n"})
    mac.expect_pull(image)
    result = mac.pull(image, name="runner", state="started")
    assert_failed(result, "prlctl_failed", "Failed to start the VM")
    assert result["changed"]
    assert [sentence.split()[0] for sentence in result["actions"]] == ["Download", "Make", "Set"]
    assert mac.machines() == {"runner.pvm": "stopped"}


def test_absent_takes_the_named_versions_only(host: Host, image: Image, newer: Image) -> None:
    fill(host, image)
    host.expect_pull(newer)
    host.pull(newer)
    assert host.pull(state="absent", handover=None, version="<1.5", purge_cache=True)["changed"]
    assert [path.name for path in host.cache.glob("bundles/*")] == [newer.digest]
    assert not host.pull(state="absent", handover=None, catalog_id="other", purge_cache=True)["changed"]


def test_absent_leaves_vms_of_others_alone(mac: Host, tmp_path: Path) -> None:
    mac.prlctl("register", str(make_bundle(tmp_path / "mine", 5)))
    assert_failed(mac.pull(state="absent", handover=None, name="sample"), "vm_name_taken", "sample")
    assert mac.machines() == {"sample.pvm": "stopped"}
