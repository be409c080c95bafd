# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: listed, resolved, edited, marked, deleted; seen only by those whom they are for."""

from __future__ import annotations

import itertools

import httpx
import pytest
from catalog_server.models.audit import AuditEntry
from rows import audiences_of, moment, new_catalog_id, put_manifest, segments_of
from running import Server
from sqlalchemy import select

RECORD = {
    "id", "catalog_id", "version", "architecture", "type", "name", "description", "release_notes", "labels",
    "requires", "parent", "superseded_by", "provenance", "tags", "required_roles", "required_claims",
    "minimum_requirements", "format", "digest", "chunk_size", "chunks", "files", "logical_bytes",
    "data_bytes", "stored_bytes", "storage", "tainted", "tainted_by", "tainted_at", "untainted_by", "revoked",
    "revoked_by", "revoked_at", "download_count", "last_downloaded_at", "last_downloaded_user", "created_at",
    "updated_at", "created_by",
}  # fmt: skip


def error_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


def listed(server: Server, by: str, catalog_id: str, **query: object) -> list[str]:
    reply = server.call("GET", "/manifests", by, params={"catalog_id": catalog_id, **query})
    assert reply.status_code == 200, reply.text
    return [manifest["version"] for manifest in reply.json()["manifests"]]


def audited(server: Server, subject_id: str) -> list[tuple[str, str]]:
    with server.services.database.reading() as session:
        found = session.scalars(select(AuditEntry).where(AuditEntry.subject_id == subject_id).order_by(AuditEntry.id))
        return [(entry.action, entry.actor) for entry in found]


# Reading


def test_the_record(server: Server) -> None:
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id, "1.0", claims=["b", "A"], minimum_cpu=2)
    record = server.call("GET", f"/manifests/{manifest_id}", "admin").json()
    assert set(record) == RECORD
    assert record["id"] == manifest_id
    assert record["tags"] == ["latest"]
    assert record["required_claims"] == ["A", "B"]
    assert record["minimum_requirements"] == {"cpu": 2, "memory_mb": 0, "disk_mb": 0}
    assert record["tainted_by"] is None
    assert record["created_at"].endswith("Z")
    assert moment(record["created_at"]).tzinfo is not None


def test_pages(server: Server) -> None:
    catalog_id = new_catalog_id()
    for version, architecture in itertools.product(("1.0", "1.1", "1.2"), ("arm64", "x86_64")):
        put_manifest(server, catalog_id, version, architecture)
    seen: list[str] = []
    query: dict[str, object] = {"catalog_id": catalog_id, "limit": 4}
    while True:
        page = server.call("GET", "/manifests", "reader", params=query).json()
        seen += [f"{manifest['version']}/{manifest['architecture']}" for manifest in page["manifests"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen == [f"{v}/{a}" for v, a in itertools.product(("1.0", "1.1", "1.2"), ("arm64", "x86_64"))]


@pytest.mark.parametrize("cursor", ["rubbish", "W10=", "WzEsMiwzXQ==", "ü"])
def test_a_cursor_that_is_none(server: Server, cursor: str) -> None:
    assert error_of(server.call("GET", "/manifests", "reader", params={"cursor": cursor})) == (400, "bad_request")


def test_filters(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", tags=["stable"])
    put_manifest(server, catalog_id, "1.1", "x86_64", type="macvm")
    put_manifest(server, catalog_id, "1.2", tainted=True)
    put_manifest(server, catalog_id, "1.3", revoked=True)
    assert listed(server, "reader", catalog_id) == ["1.0", "1.1", "1.2", "1.3"]
    assert listed(server, "reader", catalog_id.upper()) == ["1.0", "1.1", "1.2", "1.3"]
    assert listed(server, "reader", catalog_id, version="1.2") == ["1.2"]
    assert listed(server, "reader", catalog_id, tag="stable") == ["1.0"]
    assert listed(server, "reader", catalog_id, tag="latest") == ["1.1", "1.3"]
    assert listed(server, "reader", catalog_id, type="macvm") == ["1.1"]
    assert listed(server, "reader", catalog_id, architecture="amd64") == ["1.1"]
    assert listed(server, "reader", catalog_id, tainted="true") == ["1.2"]
    assert listed(server, "reader", catalog_id, revoked="false") == ["1.0", "1.1", "1.2"]
    for wrong in ({"type": "iso"}, {"architecture": "vax"}, {"tainted": "perhaps"}, {"limit": "0"}):
        assert error_of(server.call("GET", "/manifests", "reader", params=wrong)) == (400, "bad_request")


def test_resolution(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", tags=["stable"])
    put_manifest(server, catalog_id, "1.1")
    put_manifest(server, catalog_id, "1.1", "x86_64")
    put_manifest(server, catalog_id, "1.2", tainted=True)

    def resolved(**query: str) -> list[tuple[str, str]]:
        reply = server.call("GET", "/manifests/resolve", "reader", params={"catalog_id": catalog_id, **query})
        assert reply.status_code == 200, reply.text
        return [(manifest["version"], manifest["architecture"]) for manifest in reply.json()["manifests"]]

    assert resolved(version="1.*") == [("1.1", "arm64"), ("1.1", "x86_64")]
    assert resolved(version="stable") == [("1.0", "arm64")]
    # For the one architecture, latest is tainted.
    assert resolved() == [("1.1", "x86_64")]
    query = {"catalog_id": catalog_id, "architecture": "arm64"}
    assert error_of(server.call("GET", "/manifests/resolve", "reader", params=query)) == (409, "tainted")
    nothing = {"catalog_id": catalog_id, "version": "9"}
    assert error_of(server.call("GET", "/manifests/resolve", "reader", params=nothing)) == (404, "unknown_manifest")


def test_whom_a_manifest_is_for(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "all")
    put_manifest(server, catalog_id, "role", roles=["staff", "OTHERS"])
    put_manifest(server, catalog_id, "claim", claims=["Secret_Images"])
    put_manifest(server, catalog_id, "both", roles=["STAFF"], claims=["SECRET_IMAGES"])
    put_manifest(server, catalog_id, "else", roles=["NOBODYS"])
    assert listed(server, "reader", catalog_id) == ["all"]
    assert listed(server, "editor", catalog_id) == ["all", "role"]
    assert listed(server, "staff", catalog_id) == ["all", "both", "claim", "role"]
    assert listed(server, "admin", catalog_id) == ["all", "both", "claim", "else", "role"]


def test_invisible_is_like_unknown_everywhere(server: Server) -> None:
    hidden = put_manifest(server, roles=["NOBODYS"])
    unknown = "f" * 64
    with_rights = "editor"
    for method, path, body in (
        ("GET", "/manifests/{}", None),
        ("PATCH", "/manifests/{}", {"description": "x"}),
        ("DELETE", "/manifests/{}", None),
        ("GET", "/manifests/{}/listing", None),
        ("GET", "/manifests/{}/locator", None),
        ("POST", "/manifests/{}/urls", {"segments": [{"pack": "0" * 32, "sha256": "0" * 64}]}),
    ):
        replies = [server.call(method, path.format(one), with_rights, json=body) for one in (hidden, unknown)]
        assert {error_of(reply) for reply in replies} == {(404, "unknown_manifest")}, path
        assert replies[0].json()["message"].replace(hidden, unknown) == replies[1].json()["message"]
    assert server.call("GET", f"/manifests/{hidden}", "admin").status_code == 200


# Editing


def test_an_edit_sets_what_it_names(server: Server) -> None:
    manifest_id = put_manifest(server, description="before", minimum_cpu=2)
    before = server.call("GET", f"/manifests/{manifest_id}", "editor").json()
    changes = {"description": "after", "minimum_requirements": {"memory_mb": 4096}, "tags": ["Stable", "qa"]}
    after = server.call("PATCH", f"/manifests/{manifest_id}", "editor", json=changes).json()
    assert after["description"] == "after"
    assert after["minimum_requirements"] == {"cpu": 2, "memory_mb": 4096, "disk_mb": 0}
    assert after["tags"] == ["latest", "qa", "stable"]
    assert after["updated_at"] > before["updated_at"]
    assert after == server.call("GET", f"/manifests/{manifest_id}", "editor").json()
    assert audited(server, manifest_id) == [("manifest.edit", "editor")]
    again = server.call("PATCH", f"/manifests/{manifest_id}", "editor", json=changes).json()
    assert again == after
    assert len(audited(server, manifest_id)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": ["with space"]},
        {"tags": ["latest"]},
        {"tags": [""]},
        {"description": 1},
        {"minimum_requirements": {"cpu": -1}},
        {"minimum_requirements": {"gpu": 1}},
        {"required_roles": [""]},
        {"required_roles": ["R" * 150]},
        {"digest": "0" * 64},
    ],
)
def test_edits_that_are_refused_change_nothing(server: Server, changes: dict[str, object]) -> None:
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id, "1.0")
    put_manifest(server, catalog_id, "2.0")
    before = server.call("GET", f"/manifests/{manifest_id}", "editor").json()
    reply = server.call("PATCH", f"/manifests/{manifest_id}", "editor", json={"description": "x", **changes})
    assert error_of(reply) == (400, "bad_request")
    assert server.call("GET", f"/manifests/{manifest_id}", "editor").json() == before


def test_a_tag_moves_from_one_version_to_another(server: Server) -> None:
    catalog_id = new_catalog_id()
    first = put_manifest(server, catalog_id, "1.0", tags=["stable"])
    second = put_manifest(server, catalog_id, "1.1")
    other = put_manifest(server, catalog_id, "1.0", "x86_64", tags=["stable"])
    server.call("PATCH", f"/manifests/{second}", "editor", json={"tags": ["stable"]})
    tags = {one: server.call("GET", f"/manifests/{one}", "reader").json()["tags"] for one in (first, second, other)}
    assert tags == {first: [], second: ["latest", "stable"], other: ["latest", "stable"]}


def test_latest_follows_pushes_but_never_down(server: Server) -> None:
    catalog_id = new_catalog_id()
    for version, latest in (("1.9", "1.9"), ("1.10", "1.10"), ("1.2", "1.10"), ("nightly", "nightly"), ("1.0", "1.0")):
        put_manifest(server, catalog_id, version)
        assert listed(server, "reader", catalog_id, tag="latest") == [latest]


def test_latest_goes_back_when_its_version_is_deleted(server: Server) -> None:
    catalog_id = new_catalog_id()
    ids = {version: put_manifest(server, catalog_id, version) for version in ("1.0", "1.2", "1.1")}
    assert server.call("DELETE", f"/manifests/{ids['1.2']}", "editor").status_code == 200
    assert listed(server, "reader", catalog_id, tag="latest") == ["1.1"]
    for version in ("1.1", "1.0"):
        assert server.call("DELETE", f"/manifests/{ids[version]}", "editor").status_code == 200
    assert listed(server, "reader", catalog_id) == []


# The audience, and the segments that have one as well


def edit_audience(server: Server, manifest_id: str, **changes: list[str]) -> httpx.Response:
    return server.call("PATCH", f"/manifests/{manifest_id}", "admin", json=changes)


def test_the_segments_of_one_manifest_move_with_its_audience(server: Server) -> None:
    manifest_id = put_manifest(server)
    reply = edit_audience(server, manifest_id, required_roles=["staff", "STAFF"])
    assert reply.json()["required_roles"] == ["STAFF"]
    segments = segments_of(server, manifest_id)
    assert set(audiences_of(server, segments)) == {'{"claims":[],"roles":["STAFF"]}'}
    edit_audience(server, manifest_id, required_roles=[], required_claims=["C"])
    assert set(audiences_of(server, segments)) == {'{"claims":["C"],"roles":[]}'}


def test_shared_segments_stay_closed(server: Server) -> None:
    first = put_manifest(server, roles=["STAFF"])
    segments = segments_of(server, first)
    second = put_manifest(server, roles=["STAFF"], shares=segments[:1])
    for widening in ([], ["STAFF", "OTHERS"], ["OTHERS"]):
        for manifest_id in (first, second):
            before = server.call("GET", f"/manifests/{manifest_id}", "admin").json()
            reply = edit_audience(server, manifest_id, required_roles=widening)
            assert error_of(reply) == (409, "shared_segments")
            assert "without bases" in reply.json()["message"]
            assert server.call("GET", f"/manifests/{manifest_id}", "admin").json() == before
    assert set(audiences_of(server, segments)) == {'{"claims":[],"roles":["STAFF"]}'}


def test_a_narrowing_edit_leaves_shared_segments_as_they_are(server: Server) -> None:
    first = put_manifest(server, roles=["A", "B"])
    segments = segments_of(server, first)
    put_manifest(server, roles=["A", "B"], shares=segments[:1])
    assert edit_audience(server, first, required_roles=["A"]).status_code == 200
    old, new = '{"claims":[],"roles":["A","B"]}', '{"claims":[],"roles":["A"]}'
    assert audiences_of(server, segments) == [old, new]
    # It is not opened again as long as the segment is shared, not even to those who could see it before.
    assert error_of(edit_audience(server, first, required_roles=["A", "B"])) == (409, "shared_segments")


def test_whoever_is_shut_out_by_an_edit_sees_it_no_more(server: Server) -> None:
    manifest_id = put_manifest(server)
    assert server.call("GET", f"/manifests/{manifest_id}", "reader").status_code == 200
    edit_audience(server, manifest_id, required_roles=["STAFF"])
    assert server.call("GET", f"/manifests/{manifest_id}", "reader").status_code == 404
    assert server.call("GET", f"/manifests/{manifest_id}", "staff").status_code == 200


# Marks


def test_taint_and_untaint(server: Server) -> None:
    manifest_id = put_manifest(server)
    tainted = server.call("POST", f"/manifests/{manifest_id}/taint", "admin", json={"reason": "virus"}).json()
    assert (tainted["tainted"], tainted["tainted_by"]) == (True, "admin")
    assert tainted["tainted_at"] is not None
    assert server.call("POST", f"/manifests/{manifest_id}/taint", "admin").json() == tainted
    untainted = server.call("POST", f"/manifests/{manifest_id}/untaint", "admin").json()
    assert (untainted["tainted"], untainted["tainted_by"], untainted["untainted_by"]) == (False, None, "admin")
    assert audited(server, manifest_id) == [("manifest.taint", "admin"), ("manifest.untaint", "admin")]


def test_revoked_is_for_good(server: Server) -> None:
    manifest_id = put_manifest(server)
    revoked = server.call("POST", f"/manifests/{manifest_id}/revoke", "admin", json={}).json()
    assert (revoked["revoked"], revoked["revoked_by"]) == (True, "admin")
    assert server.call("POST", f"/manifests/{manifest_id}/revoke", "admin").json() == revoked
    assert error_of(server.call("POST", f"/manifests/{manifest_id}/taint", "admin")) == (409, "revoked")
    assert error_of(server.call("POST", f"/manifests/{manifest_id}/untaint", "admin")) == (409, "revoked")
    # It can still be looked at, edited and deleted.
    assert server.call("PATCH", f"/manifests/{manifest_id}", "admin", json={"description": "x"}).status_code == 200
    assert server.call("DELETE", f"/manifests/{manifest_id}", "admin").status_code == 200


def test_a_deleted_manifest_leaves_the_segments_that_others_use(server: Server) -> None:
    first = put_manifest(server)
    segments = segments_of(server, first)
    second = put_manifest(server, shares=segments)
    assert server.call("DELETE", f"/manifests/{first}", "editor").status_code == 200
    assert segments_of(server, second) == segments
    assert error_of(server.call("DELETE", f"/manifests/{first}", "editor")) == (404, "unknown_manifest")
    assert audited(server, first) == [("manifest.delete", "editor")]
