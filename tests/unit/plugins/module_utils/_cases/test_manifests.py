# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    BadRequest,
    Conflict,
    InvalidAddress,
    Missing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import info_spec, manifest_spec
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import manifests as _manifests
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest

OPTIONS: dict[str, t.Any] = {
    **dict.fromkeys(manifest_spec()),
    "catalog_id": "macos-15",
    "version": "1.4",
    "state": "present",
}
QUERY = {"catalog_id": "macos-15", "version": "1.4", "limit": "200"}
ID = "a1" * 32


def plan(found: list[dict[str, t.Any]], **options: t.Any) -> list[_manifests.Change]:
    wanted = _manifests.Wanted.from_options({**OPTIONS, **options})
    return _manifests.plan(wanted, [Manifest.from_json(data) for data in found])


def ensure(server: Recording, *, check_mode: bool = False, diff: bool = False, **options: t.Any) -> dict[str, t.Any]:
    client = CatalogClient(Http(BASE_URL, server.send, patience=NEVER))
    result = _manifests.ensure(client, {**OPTIONS, **options}, check_mode=check_mode, diff=diff)
    server.finished()
    return result


def there(*manifests: dict[str, t.Any]) -> Recording:
    return Recording().expect("GET", "manifests", query=QUERY, reply={"manifests": manifests, "next": None})


def test_what_is_not_set_stays_as_it_is() -> None:
    assert not plan([manifest(tainted=True, tags=["a"])])[0].changed


@pytest.mark.parametrize(
    ("before", "options", "edits"),
    [
        ({}, {"description": "New"}, {"description": "New"}),
        ({"description": "Old"}, {"description": ""}, {"description": ""}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, {}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "b"]}, {"tags": ["b"]}),
        ({"tags": ["latest"]}, {"tags": []}, {}),
        ({"tags": ["latest", "a"]}, {"tags": ["B"]}, {"tags": ["b", "latest"]}),
        ({"tags": ["latest"]}, {"tags": ["latest"]}, {}),
        ({"required_roles": ["BUILD"]}, {"required_roles": ["build"]}, {}),
        ({"required_roles": ["BUILD"]}, {"required_roles": []}, {"required_roles": []}),
        ({}, {"required_claims": ["x y", "a", "A"]}, {"required_claims": ["A", "X_Y"]}),
        (
            {"minimum_requirements": {"cpu": 2, "memory_mb": 4, "disk_mb": 0}},
            {"minimum_requirements": {"cpu": 4, "memory_mb": None, "disk_mb": 0}},
            {"minimum_requirements": {"cpu": 4, "memory_mb": 4, "disk_mb": 0}},
        ),
        ({"minimum_requirements": {"cpu": 2}}, {"minimum_requirements": {"cpu": 2}}, {}),
    ],
)
def test_edits_are_what_differs(before: dict[str, t.Any], options: dict[str, t.Any], edits: dict[str, t.Any]) -> None:
    change = plan([manifest(**before)], **options)[0]
    assert change.edits == edits
    assert change.changed is bool(edits)
    # Twice is once.
    after = t.cast(Manifest, change.after).to_json()
    assert not plan([after], **options)[0].changed


@pytest.mark.parametrize(
    ("before", "options", "marks"),
    [
        ({}, {"tainted": True}, ("taint",)),
        ({"tainted": True}, {"tainted": True}, ()),
        ({"tainted": True}, {"tainted": False}, ("untaint",)),
        ({}, {"revoked": True}, ("revoke",)),
        ({"revoked": True}, {"revoked": True}, ()),
        ({}, {"revoked": False, "tainted": False}, ()),
        ({"tainted": True}, {"tainted": False, "revoked": True}, ("untaint", "revoke")),
    ],
)
def test_marks(before: dict[str, t.Any], options: dict[str, t.Any], marks: tuple[str, ...]) -> None:
    change = plan([manifest(**before)], **options)[0]
    assert change.marks == marks
    assert not plan([t.cast(Manifest, change.after).to_json()], **options)[0].changed


@pytest.mark.parametrize("options", [{"revoked": False}, {"tainted": True}, {"tainted": True, "revoked": True}])
def test_a_revocation_is_for_good(options: dict[str, bool]) -> None:
    with pytest.raises(Conflict, match="for good") as failure:
        plan([manifest(revoked=True)], **options)
    assert failure.value.code == "revoked"


def test_latest_cannot_be_put_anywhere() -> None:
    with pytest.raises(BadRequest, match="follows the newest push"):
        plan([manifest(tags=[])], tags=["latest"])


def test_what_was_never_pushed_cannot_be_present_and_is_absent() -> None:
    with pytest.raises(Missing, match=r"version '1.4' of catalog id 'macos-15' for arm64") as failure:
        plan([], architecture="aarch64")
    assert failure.value.code == "unknown_manifest"
    assert plan([], state="absent") == []


@pytest.mark.parametrize("options", [{"version": "1.*"}, {"catalog_id": ""}, {"architecture": "x"}, {"tags": ["a b"]}])
def test_addresses_and_tags_are_checked_before_anything_is_asked(options: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidAddress):
        ensure(Recording(), **options)


def test_one_request_if_there_is_nothing_to_do() -> None:
    result = ensure(there(manifest()), diff=True, tags=["latest"], catalog_id="MacOS-15")
    assert result == {"changed": False, "manifests": [manifest()], "diff": []}


def test_a_change_with_its_diff() -> None:
    server = there(manifest())
    server.expect("PATCH", f"manifests/{ID}", body={"description": "New"}, reply=manifest(description="New"))
    server.expect("POST", f"manifests/{ID}/taint", body={}, reply=manifest(description="New", tainted=True))
    result = ensure(server, diff=True, description="New", tainted=True)
    assert result["changed"]
    assert result["manifests"] == [manifest(description="New", tainted=True)]
    difference = result["diff"][0]
    assert difference["before_header"] == "macos-15 1.4 arm64"
    assert (difference["before"]["description"], difference["after"]["description"]) == ("", "New")
    assert (difference["before"]["tainted"], difference["after"]["tainted"]) == (False, True)


def test_check_mode_says_the_same_and_only_looks() -> None:
    result = ensure(there(manifest()), check_mode=True, description="New", revoked=True)
    assert result == {"changed": True, "manifests": [manifest(description="New", revoked=True)]}
    result = ensure(there(manifest()), check_mode=True, diff=True, state="absent")
    assert (result["changed"], result["manifests"], result["diff"][0]["after"]) == (True, [], {})
    assert "freed_bytes" not in result


def test_all_architectures_of_a_version_unless_one_is_named() -> None:
    other = manifest(id="b2" * 32, architecture="x86_64")
    like = manifest(id="c3" * 32, version="1.4.1")
    server = there(other, like, manifest())
    server.expect("DELETE", f"manifests/{ID}", reply={"freed_bytes": 7})
    server.expect("DELETE", f"manifests/{'b2' * 32}", reply={"freed_bytes": 5})
    result = ensure(server, state="absent")
    assert (result["changed"], result["freed_bytes"]) == (True, 12)
    query = {**QUERY, "architecture": "x86_64"}
    server = Recording().expect("GET", "manifests", query=query, reply={"manifests": [other, manifest()]})
    server.expect("DELETE", f"manifests/{'b2' * 32}", status=204)
    assert ensure(server, state="absent", architecture="amd64")["changed"]


# Queries


def found(server: Recording, **options: t.Any) -> list[str]:
    client = CatalogClient(Http(BASE_URL, server.send, patience=NEVER))
    manifests = _manifests.query(client, {**dict.fromkeys(info_spec()), **options})
    server.finished()
    return [f"{record.catalog_id} {record.version} {record.architecture}" for record in manifests]


def test_filters_are_the_servers_business() -> None:
    query = {"catalog_id": "a_b", "version": "1.4", "architecture": "arm64", "tag": "stable", "type": "pvm"}
    query.update(tainted="true", revoked="false", limit="200")
    server = Recording().expect("GET", "manifests", query=query, reply={"manifests": []})
    assert (
        found(server, **{**query, "catalog_id": "A B", "architecture": "arm", "tainted": True, "revoked": False}) == []
    )


def test_ranges_are_ours_and_skip_nothing() -> None:
    versions = ["2", "1.10", "1.9", "1.5-rc1", "sequoia"]
    records = [manifest(version=version, tainted=version == "1.10") for version in versions]
    server = Recording().expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": records})
    assert found(server, version=">=1.4,<2") == ["macos-15 1.9 arm64", "macos-15 1.10 arm64"]


def test_the_order_is_that_of_the_addresses() -> None:
    addresses = [
        ("b", "1", "arm64"),
        ("a", "1.10", "arm64"),
        ("a", "1.9", "x86_64"),
        ("a", "1.9", "arm64"),
        ("a", "z", "arm64"),
    ]
    records = [manifest(catalog_id=name, version=version, architecture=arch) for name, version, arch in addresses]
    server = Recording().expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": records})
    assert found(server) == ["a z arm64", "a 1.9 arm64", "a 1.9 x86_64", "a 1.10 arm64", "b 1 arm64"]
