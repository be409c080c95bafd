# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_cache from its options to its result, on a real cache that catalog_pull has filled."""

from __future__ import annotations

import getpass
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import locking
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.modules import catalog_cache
from ansible_collections.macfleet.parallels.tests.unit.support.hosts import Host, Result
from ansible_collections.macfleet.parallels.tests.unit.support.images import Image, change_disk, image_of, make_bundle
from ansible_collections.macfleet.parallels.tests.unit.support.modules import assert_failed

LEFT_OVER = "ee" * 32


@pytest.fixture(name="images")
def images_fixture(host: Host, tmp_path: Path) -> list[Image]:
    """Two versions in the cache, and what an interrupted pull has left of another image."""
    images = [image_of(make_bundle(tmp_path / str(seed), seed), f"1.{seed}") for seed in (4, 5)]
    for image in images:
        host.expect_pull(image)
        host.pull(image)
    Cache.open(str(host.cache), create=False).partial(LEFT_OVER)
    return images


def change(host: Host, state: str, *, check_mode: bool = False, **options: t.Any) -> Result:
    """What catalog_cache returns."""
    given = {**host.cache_options(), "state": state, **options}
    return host.run(catalog_cache.main, given, check_mode=check_mode)


def check_then_run(host: Host, state: str, **options: t.Any) -> Result:
    """What is done, which is what check mode said before."""
    prediction = change(host, state, check_mode=True, **options)
    result = change(host, state, **options)
    for name in ("changed", "removed", "repaired", "entries", "diff"):
        assert result[name] == prediction[name], name
    return result


def held(host: Host) -> set[str]:
    return {path.name for path in host.cache.glob("bundles/*")} | {path.name for path in host.cache.glob("partial/*")}


def record_of(result: Result, image: Image) -> dict[str, t.Any]:
    (cache,) = result["parallels_catalog"]["caches"].values()
    (record,) = [entry for entry in cache["entries"] if entry["digest"] == image.digest]
    return dict(record)


def test_what_is_whole_is_kept_and_its_proof_remembered(host: Host, images: list[Image]) -> None:
    result = check_then_run(host, "verified")
    assert (result["changed"], result["removed"], result["freed_bytes"]) == (False, [], 0)
    assert {entry["digest"] for entry in result["entries"]} == {image.digest for image in images}
    assert all(record_of(result, image)["verified_at"] for image in images)


def test_what_is_damaged_is_not_used_any_more(host: Host, images: list[Image]) -> None:
    bad, good = images
    change_disk(host.cache / "bundles" / bad.digest / "bundle", 0, seed=9)
    result = check_then_run(host, "verified")
    assert (result["changed"], result["removed"]) == (True, [bad.digest])
    (damaged,) = [entry["damaged"] for entry in result["entries"] if entry["digest"] == bad.digest]
    assert [path.endswith(".hds") for path in damaged] == [True]
    # It is material for the next pull.
    assert (host.cache / "partial" / bad.digest / "origin.json").exists()
    assert not (host.cache / "bundles" / bad.digest).exists()
    assert held(host) == {good.digest, bad.digest, LEFT_OVER}
    assert not change(host, "verified")["changed"]


@pytest.mark.parametrize("name", ["listing", "record.json"])
def test_an_entry_that_nobody_can_read_is_taken_out(host: Host, images: list[Image], name: str) -> None:
    (host.cache / "bundles" / images[0].digest / name).write_bytes(b"?")
    assert check_then_run(host, "verified")["removed"] == [images[0].digest]
    assert not (host.cache / "bundles" / images[0].digest).exists()


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({"all": True}, set()),
        ({"catalog_id": "MacOS-15"}, {LEFT_OVER}),
        ({"catalog_id": "macos-15", "version": "<1.5"}, {"1.5", LEFT_OVER}),
        ({"catalog_id": "macos-15", "version": "1.5"}, {"1.4", LEFT_OVER}),
        ({"digest": LEFT_OVER}, {"1.4", "1.5"}),
    ],
)
def test_the_chosen_entries_are_removed(
    host: Host, images: list[Image], options: dict[str, t.Any], stays: set[str]
) -> None:
    result = check_then_run(host, "absent", **options)
    assert result["changed"]
    named = {image.digest: image.manifest["version"] for image in images}
    assert {named.get(digest, digest) for digest in held(host)} == stays
    assert not change(host, "absent", **options)["changed"]


@pytest.mark.parametrize("options", [{"catalog_id": "other"}, {"catalog_id": "macos-15", "version": ">=2"}])
@pytest.mark.parametrize("state", ["verified", "absent"])
def test_what_was_not_chosen_is_not_touched(
    host: Host, images: list[Image], state: str, options: dict[str, str]
) -> None:
    result = change(host, state, **options)
    assert (result["changed"], result["entries"]) == (False, [])
    assert len(held(host)) == 3


def test_a_cache_that_is_not_there_is_empty(host: Host) -> None:
    assert not check_then_run(host, "absent", all=True)["changed"]
    assert not host.cache.exists()


def test_what_is_left_is_published(host: Host, images: list[Image]) -> None:
    change(host, "absent", catalog_id="macos-15", version="1.4")
    published = json.loads((host.facts / getpass.getuser() / "facts.json").read_bytes())
    (cache,) = published["caches"].values()
    assert [entry["digest"] for entry in cache["entries"]] == [images[1].digest]


def test_an_entry_in_use_is_not_removed(host: Host, images: list[Image]) -> None:
    with Cache.open(str(host.cache), create=False).lock(images[0].digest, locking.USE, "making a clone", 0.0):
        result = change(host, "absent", digest=images[0].digest, lock_timeout=0)
    assert_failed(result, "cache_locked", "making a clone")
    assert images[0].digest in held(host)


def test_a_cache_that_others_can_write_to_is_refused(host: Host, images: list[Image]) -> None:
    host.cache.chmod(0o777)
    assert_failed(change(host, "absent", all=True), "cache_unsafe", "let other users write")
    assert len(held(host)) == 3


def test_nothing_is_removed_by_leaving_something_out(host: Host, images: list[Image]) -> None:
    for options in ({}, {"all": True, "digest": LEFT_OVER}):
        assert_failed(change(host, "absent", **options), "invalid_option", "all=true")
    assert len(held(host)) == 3


@pytest.mark.parametrize("options", [{"version": "1.4"}, {"digest": LEFT_OVER, "catalog_id": "macos-15"}])
def test_options_that_contradict_one_another(host: Host, options: dict[str, str]) -> None:
    result = change(host, "absent", **options)
    assert result["failed"]
    assert "catalog_id" in result["msg"]
