# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache as a use case: what is removed, and what only looks as if it had to be."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import errno
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cache import (
    CacheRequest,
    NothingChosen,
    apply,
    plan,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cache import change as change_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import meaning
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import observe
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, facts, locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import entries, locking, trash
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    CacheLocked,
    FactsTooLarge,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsupportedFormat
from ansible_collections.macfleet.parallels.tests.support.volume import free_bytes, wait_until_free
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

ADDRESS = CachedAddress("https://catalog.example.com/", "macos-15", "1.4", "arm64")


@pytest.fixture(name="shelf")
def shelf_fixture(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture(name="manifest")
def manifest_fixture(shelf: Shelf) -> Manifest:
    manifest = shelf.push(make_bundle(shelf.directory / "Runner.pvm", {IMAGE: noise(1, 2 * CHUNK)}), "1.4")
    shelf.pull(manifest)
    return manifest


def change(
    shelf: Shelf,
    state: str,
    *,
    digest: t.Optional[str] = None,
    catalog_id: t.Optional[str] = None,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """The result of catalog_cache."""
    request = CacheRequest(state, digest, catalog_id, None, everything=not (digest or catalog_id) and state == "absent")
    return change_cache(request, shelf.context, check_mode=check_mode)


def damage(shelf: Shelf, manifest: Manifest) -> Path:
    path = Path(shelf.entry(manifest).bundle_path) / IMAGE
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"damaged")
    return path


def test_what_is_damaged_is_not_used_any_more_and_what_is_sound_of_it_is_reused(
    shelf: Shelf, manifest: Manifest
) -> None:
    damage(shelf, manifest)
    predicted = change(shelf, "verified", check_mode=True)
    result = change(shelf, "verified")
    for found in (predicted, result):
        assert found["changed"]
        assert found["removed"] == [manifest.digest]
        assert found["entries"][0]["damaged"] == [IMAGE]
    (warning,) = shelf.warnings
    assert "The cached image macos-15 1.4 is damaged" in warning
    assert not change(shelf, "verified")["changed"]
    outcome = shelf.pull(manifest)
    assert outcome.fill is not None and outcome.fill.resumes
    assert outcome.fill.pack.download_raw_bytes == CHUNK


@pytest.mark.parametrize("name", ["stray", ".DS_Store"])
def test_what_does_not_belong_to_the_image_is_no_reason_to_remove_it(
    shelf: Shelf, manifest: Manifest, name: str
) -> None:
    stray = Path(shelf.entry(manifest).bundle_path) / name
    stray.touch()
    is_finders = name.startswith(".")
    for check_mode in (True, False):
        result = change(shelf, "verified", check_mode=check_mode)
        assert result["removed"] == []
        assert result["repaired"] == ([] if is_finders else [manifest.digest])
        assert result["changed"] is not is_finders
    assert stray.exists() is is_finders
    assert not change(shelf, "verified")["changed"]
    assert not shelf.pull(manifest).changed


def test_nothing_is_removed_by_leaving_something_out(shelf: Shelf, manifest: Manifest) -> None:
    for fields in ({}, {"digest": manifest.digest, "everything": True}):
        with pytest.raises(NothingChosen, match="all=true"):
            change_cache(CacheRequest("absent", **fields), shelf.context, check_mode=False)
    assert shelf.entry(manifest)
    assert change(shelf, "absent")["removed"] == [manifest.digest]


def test_what_an_interrupted_pull_left_goes_by_the_name_of_its_image(shelf: Shelf, manifest: Manifest) -> None:
    newer = shelf.push(make_bundle(shelf.directory / "B" / "Runner.pvm", {IMAGE: noise(7, 400 * CHUNK)}), "1.5")
    shelf.storage.fail_at = 2
    with pytest.raises(CacheError, match="the cable was pulled"):
        shelf.pull(newer)
    assert change(shelf, "absent", catalog_id="other")["removed"] == []
    for check_mode in (True, False):
        result = change(shelf, "absent", catalog_id="macos-15", check_mode=check_mode)
        assert result["removed"] == [manifest.digest, newer.digest]
    assert shelf.cache.partials() == []


def test_freed_bytes_are_those_by_which_free_space_has_grown(
    reflink_volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(reflink_volume / "freed")
    manifest = shelf.push(make_bundle(shelf.directory / "A.pvm", {IMAGE: noise(1, 160 * CHUNK)}), "1.0")
    shelf.pull(manifest)
    entry = shelf.entry(manifest)
    clone.clone_tree(entry.bundle_path, str(reflink_volume / "freed/vm.pvm"))
    # A virtual machine keeps all blocks of the image.
    assert change(shelf, "absent")["freed_bytes"] < entry.record.allocated_bytes // 10
    shelf.pull(manifest)
    free = free_bytes(reflink_volume)
    shutil.rmtree(reflink_volume / "freed/vm.pvm")
    wait_until_free(reflink_volume, free + int(0.8 * entry.record.allocated_bytes))
    freed = change(shelf, "absent")["freed_bytes"]
    assert 0.8 * entry.record.allocated_bytes < freed < 1.3 * entry.record.allocated_bytes


def interfere(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, act: t.Callable[[], t.Any]) -> None:
    """Have another play do something as soon as somebody wants the lock of an entry."""
    real = Cache.lock
    pending = [act]

    @contextlib.contextmanager
    def lock(cache: Cache, *arguments: t.Any, **options: t.Any) -> t.Iterator[None]:
        while pending:
            pending.pop()()
        with real(cache, *arguments, **options):
            yield

    monkeypatch.setattr(Cache, "lock", lock)


def test_what_was_repaired_meanwhile_stays(shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(shelf, manifest)
    interfere(shelf, monkeypatch, lambda: shelf.pull(manifest))
    result = change(shelf, "verified")
    assert (result["changed"], result["removed"], result["freed_bytes"]) == (False, [], 0)
    assert result["entries"][0]["damaged"] == []
    assert shelf.entry(manifest).record.verified_at is not None
    assert result["diff"]["before"] == result["diff"]["after"]


def test_what_was_touched_meanwhile_and_is_still_damaged_goes(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damage(shelf, manifest)
    interfere(shelf, monkeypatch, lambda: path.chmod(0o600))
    assert change(shelf, "verified")["removed"] == [manifest.digest]


def test_a_record_that_was_repaired_meanwhile_stays(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path(shelf.entry(manifest).path) / "record.json").write_bytes(b"{")
    interfere(shelf, monkeypatch, lambda: shelf.pull(manifest))
    assert not change(shelf, "verified")["changed"]
    assert shelf.entry(manifest).record.use_count == 1


def test_an_entry_of_a_later_version_is_told_of_and_goes_on_request_only(shelf: Shelf, manifest: Manifest) -> None:
    record = Path(shelf.entry(manifest).path) / "record.json"
    record.write_text(json.dumps({"format": 2}))
    assert not change(shelf, "verified")["changed"]
    assert [warning for warning in shelf.warnings if "format 2" in warning and manifest.digest in warning]
    assert not change(shelf, "absent", catalog_id="macos-15")["changed"]
    assert record.exists()
    result = change(shelf, "absent", digest=manifest.digest)
    assert result["removed"] == [manifest.digest]
    assert not record.exists()


def test_a_listing_that_cannot_be_read_now_is_no_damage(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.open

    def fail(path: t.Any, *arguments: t.Any, **options: t.Any) -> t.Any:
        if str(path).endswith("/listing"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(builtins, "open", fail)
    assert not change(shelf, "verified")["changed"]
    (warning,) = shelf.warnings
    assert "macos-15 1.4 was not verified" in warning and "Too many open files" in warning
    monkeypatch.undo()
    assert not change(shelf, "verified")["changed"]


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("fault", ["a later version wrote it", "it cannot be read"])
def test_an_entry_that_cannot_be_verified_does_not_stop_the_others(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, check_mode: bool, fault: str
) -> None:
    other = shelf.push(make_bundle(shelf.directory / "B" / "Runner.pvm", {IMAGE: noise(7, 2 * CHUNK)}), "1.5")
    shelf.pull(other)
    # The one used last is verified first.
    bad = shelf.cache.entries()[0]
    sound = manifest if bad.digest == other.digest else other
    real = observe.examine

    def examine(entry: CacheEntry, *arguments: t.Any, **options: t.Any) -> t.Any:
        if entry.digest == bad.digest:
            raise UnsupportedFormat(fault) if "later" in fault else CacheError(fault)
        return real(entry, *arguments, **options)

    monkeypatch.setattr(observe, "examine", examine)
    result = change(shelf, "verified", check_mode=check_mode)
    assert not result["changed"]
    assert [entry["digest"] for entry in result["entries"]] == [sound.digest]
    (warning,) = shelf.warnings
    assert "was not verified and stays as it is" in warning and fault in warning
    assert (shelf.entry(sound).record.verified_at is None) is check_mode


def test_an_entry_whose_record_is_damaged_does_not_go_silently(shelf: Shelf, manifest: Manifest) -> None:
    Path(shelf.entry(manifest).record_path).write_bytes(b"{")
    assert change(shelf, "verified")["removed"] == [manifest.digest]
    (warning,) = shelf.warnings
    assert manifest.digest in warning and "downloads it again" in warning


def test_a_verification_does_not_remove_the_progress_of_a_pull_that_repairs_the_entry(
    shelf: Shelf, manifest: Manifest
) -> None:
    Path(shelf.entry(manifest).record_path).write_bytes(b"{")
    planned = plan(CacheRequest("verified"), shelf.cache)
    assert planned.leftovers == (manifest.digest,)
    partial = shelf.cache.partial(manifest.digest)
    outcome = apply(planned, shelf.cache, shelf.context)
    assert not outcome.removed
    assert (Path(partial.bundle_path) / IMAGE).exists()


def test_content_that_another_image_has_too_stays_for_it(shelf: Shelf, manifest: Manifest) -> None:
    other = dataclasses.replace(manifest, id="other", catalog_id="other")
    shelf.indexes[other.id] = shelf.indexes[manifest.id]
    shelf.pull(other)
    predicted = change(shelf, "absent", catalog_id="other", check_mode=True)
    result = change(shelf, "absent", catalog_id="other")
    for key in ("changed", "removed", "forgotten", "diff", "freed_bytes"):
        assert predicted[key] == result[key]
    assert (result["changed"], result["removed"], result["forgotten"]) == (True, [], [manifest.digest])
    assert list(result["diff"]["after"]) == [f"macos-15 1.4 ({manifest.digest})"]
    assert [address.catalog_id for address in shelf.entry(manifest).record.addresses] == ["macos-15"]
    assert not change(shelf, "absent", catalog_id="other")["changed"]
    assert change(shelf, "absent", catalog_id="macos-15")["removed"] == [manifest.digest]


@pytest.mark.parametrize("state", ["absent", "verified"])
def test_a_failure_tells_what_was_taken_out_before_it(shelf: Shelf, manifest: Manifest, state: str) -> None:
    other = shelf.push(make_bundle(shelf.directory / "other/Runner.pvm", {IMAGE: noise(7, 3 * CHUNK)}), "2.0")
    shelf.pull(other)
    for one in (manifest, other):
        damage(shelf, one)
    first, last = shelf.cache.entries()
    with shelf.cache.lock(last.digest, locking.USE, "somebody", 0), pytest.raises(CacheLocked) as caught:
        change(shelf, state)
    assert [entry.digest for entry in shelf.cache.entries()] == [last.digest]
    version = first.record.addresses[0].version
    assert caught.value.done == (
        f"Remove {first.digest} from the cache."
        if state == "absent"
        else f"Take the damaged content of macos-15 {version} out of use in {shelf.cache.path}.",
    )


@pytest.mark.parametrize("state", ["absent", "verified"])
def test_a_failure_between_two_steps_tells_of_the_first(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    shelf.cache.partial(manifest.digest)
    damage(shelf, manifest)
    real = trash.rename_durably

    def rename_once(source: str, destination: str) -> None:
        monkeypatch.setattr(trash, "rename_durably", refuse)
        real(source, destination)

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(trash, "rename_durably", rename_once)
    monkeypatch.setattr(entries, "rename_durably", refuse)
    with pytest.raises(CacheError) as caught:
        change(shelf, state)
    assert caught.value.done == (
        f"Remove {manifest.digest} from the cache."
        if state == "absent"
        else f"Remove what an interrupted pull of macos-15 1.4 left in {shelf.cache.path}.",
    )


def test_facts_that_are_too_large_are_a_warning(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise FactsTooLarge("Publishing failed: too much.", "Remove something.")

    monkeypatch.setattr(facts, "publish", refuse)
    result = change(shelf, "verified")
    assert shelf.warnings == [
        "The published facts of this host stay as they were. Publishing failed: too much. Remove something."
    ]
    assert list(result["parallels_catalog"]["caches"]) == [shelf.cache.path]


@pytest.mark.parametrize(
    ("options", "is_meant"),
    [
        ({}, True),
        ({"version": "1.4"}, True),
        ({"version": "1.*"}, True),
        ({"version": ">=2"}, False),
        ({"version": "latest"}, False),
        ({"catalog_id": "macos"}, False),
        ({"architecture": "aarch64"}, True),
        ({"architecture": "x86_64"}, False),
        ({"catalog_url": "https://catalog.example.com/api/v1"}, True),
        ({"catalog_url": "https://catalog.example.org"}, False),
        ({"catalog_url": "https://u:p@catalog.example.com/"}, False),
    ],
)
def test_the_meaning_of_an_address(options: dict[str, t.Any], is_meant: bool) -> None:
    wanted = {"catalog_id": "macos-15", "version": None, **options}
    assert meaning(**wanted)(ADDRESS) is is_meant


def test_addresses_of_a_server_that_have_a_password_are_the_same() -> None:
    known = dataclasses.replace(ADDRESS, catalog_url="https://u:p@catalog.example.com/")
    assert meaning("macos-15", None, "https://u:p@catalog.example.com/")(known)


def test_an_image_can_be_removed_from_a_volume_that_has_no_room_for_a_file(
    shelf: Shelf, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def full(path: t.Any, flags: int, *arguments: t.Any, **options: t.Any) -> int:
        if flags & os.O_CREAT and not os.path.lexists(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", full)
    assert change(shelf, "absent", digest=manifest.digest)["removed"] == [manifest.digest]
    assert os.listdir(os.path.join(shelf.cache.path, "trash")) == []


def test_the_trash_is_left_to_whoever_empties_it(shelf: Shelf, manifest: Manifest) -> None:
    shelf.cache.remove(manifest.digest)
    trash = os.path.join(shelf.cache.path, "trash")
    with locks.hold_directory(trash, "emptying the trash"):
        assert shelf.cache.empty_trash() == []
        assert os.listdir(trash) != []
    assert shelf.cache.empty_trash() == []
    assert os.listdir(trash) == []
