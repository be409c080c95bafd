# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Catalog ids over the API, who may manage them, and what the built-in roles may."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from rows import new_catalog_id, put_manifest
from running import Server
from test_identity_api import add
from transfer_client import Client, error, good

Json = dict[str, Any]


def put(server: Server, catalog_id: str, by: str = "admin", **fields: object) -> Any:
    return server.call("PUT", f"/catalog_ids/{catalog_id}", by, json=fields)


def test_a_catalog_id_from_put_to_delete(server: Server) -> None:
    name, role = new_catalog_id(), f"TEAM_{secrets.token_hex(4).upper()}"
    made = good(put(server, name.upper(), push_roles=[role.lower()]))
    assert made["created"] == {"roles": [role], "claims": []}
    assert (made["name"], made["push_roles"], made["changed"], made["created_by"]) == (name, [role], True, "admin")
    assert (made["tag_roles"], made["native_only"], made["retention"], made["quota_bytes"]) == ([], False, None, None)
    assert not good(put(server, name, push_roles=[role]))["changed"]
    changed = good(
        put(server, name, native_only=True, immutable_tags=True, retention={"keep_versions": 5}, quota_bytes=10)
    )
    assert changed["retention"] == {"keep_versions": 5, "keep_days": None, "expire_tags": []}
    assert (changed["native_only"], changed["immutable_tags"], changed["quota_bytes"]) == (True, True, 10)
    assert changed["push_roles"] == [role]
    opened = good(put(server, name, push_roles=[], retention=None, quota_bytes=None, native_only=None))
    assert (opened["push_roles"], opened["retention"], opened["quota_bytes"]) == ([], None, None)
    assert opened["native_only"] is True
    read = good(server.call("GET", f"/catalog_ids/{name}", "reader"))
    assert read == {key: opened[key] for key in read}
    assert name in {row["name"] for row in good(server.call("GET", "/catalog_ids?limit=1000", "admin"))["catalog_ids"]}
    assert server.call("DELETE", f"/catalog_ids/{name}", "admin").status_code == 204
    error(server.call("GET", f"/catalog_ids/{name}", "admin"), 404, "not_found")
    found = good(server.call("GET", f"/audit?subject=catalog_id:{name}", "admin"))["entries"]
    assert [entry["action"] for entry in found] == ["catalog_id.delete", *["catalog_id.edit"] * 2, "catalog_id.add"]


@pytest.mark.parametrize(
    "fields", [{"quota_bytes": -1}, {"retention": {"keep_versions": 0}}, {"push_roles": [""]}, {"unknown": 1}], ids=str
)
def test_what_is_not_valid(server: Server, fields: Json) -> None:
    error(put(server, new_catalog_id(), **fields), 400, "bad_request")


def test_one_that_has_versions_is_not_deleted(server: Server) -> None:
    name = new_catalog_id()
    put_manifest(server, name, roles=["STAFF"])
    error(server.call("DELETE", f"/catalog_ids/{name}", "admin"), 409, "catalog_id_in_use")


def test_what_nobody_sees_is_not_listed(server: Server) -> None:
    name = new_catalog_id()
    put_manifest(server, name, roles=["STAFF"])
    error(server.call("GET", f"/catalog_ids/{name}", "pusher"), 404, "not_found")
    listed = good(server.call("GET", "/catalog_ids?limit=1000", "pusher"))["catalog_ids"]
    assert name not in {row["name"] for row in listed}
    assert good(server.call("GET", f"/catalog_ids/{name}", "staff"))["name"] == name
    # Whoever may push there knows it.
    good(put(server, name, push_roles=["PUBLISHER"]))
    assert good(server.call("GET", f"/catalog_ids/{name}", add(server, roles=["PUBLISHER"])))["name"] == name


def test_catalog_ids_come_page_by_page(server: Server) -> None:
    names = sorted(new_catalog_id() for _number in range(3))
    for name in names:
        good(put(server, name))
    found: list[str] = []
    query: Json = {"limit": 2}
    while True:
        page = good(server.call("GET", "/catalog_ids", "admin", params=query))
        found += [row["name"] for row in page["catalog_ids"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == sorted(set(found))
    assert set(names) <= set(found)


# Who may write


def test_a_push_audience_lets_in_and_shuts_out(server: Server) -> None:
    name, role = new_catalog_id(), f"TEAM_{secrets.token_hex(4).upper()}"
    put_manifest(server, name, roles=["STAFF"])
    good(put(server, name, push_roles=[role], tag_roles=["TAGGERS"]))
    team = Client(server, server.token(add(server, roles=["READER", role])))
    outsider = Client(server, server.token(add(server, roles=["PUBLISHER", "STAFF"])))
    assert team.begin(name, "2.0").status_code == 200
    error(outsider.begin(name, "2.0"), 403, "catalog_id_denied")
    minted = outsider.http.post("/grants", json={"verb": "push", "catalog_id": name, "version": "2.0"})
    error(minted, 403, "catalog_id_denied")


def test_nobody_takes_a_catalog_id_with_versions_that_he_does_not_see(server: Server) -> None:
    name = new_catalog_id()
    put_manifest(server, name, roles=["STAFF"])
    manager = add(server, roles=["MANAGER"])
    for fields in (
        {"push_roles": ["MANAGER"]},
        {"tag_roles": ["MANAGER"]},
        {"immutable_tags": False},
        {"native_only": True},
    ):
        error(put(server, name, manager, **fields), 403, "catalog_id_denied")
    error(server.call("DELETE", f"/catalog_ids/{name}", manager), 404, "not_found")
    row = good(server.call("GET", f"/catalog_ids/{name}", "admin"))
    assert (row["push_roles"], row["tag_roles"], row["native_only"]) == ([], [], False)


def test_who_may_not_push_there_does_not_manage_it(server: Server) -> None:
    name = new_catalog_id()
    good(put(server, name, push_roles=["TEAM_A"]))
    manager, other = add(server, roles=["MANAGER", "TEAM_A"]), add(server, roles=["MANAGER"])
    error(put(server, name, other, push_roles=[]), 403, "catalog_id_denied")
    # Nor does he lock himself out.
    error(put(server, name, manager, push_roles=["TEAM_B"]), 403, "catalog_id_denied")
    assert good(put(server, name, manager, push_roles=["TEAM_A", "TEAM_B"]))["changed"]


# The built-in roles


def test_what_a_reader_a_publisher_and_a_manager_may(server: Server) -> None:
    name = new_catalog_id()
    manifest_id = put_manifest(server, name)
    people = {role: add(server, roles=[role]) for role in ("READER", "PUBLISHER", "MANAGER")}

    def statuses(method: str, path: str, body: Json | None = None) -> list[int]:
        more: Json = {"json": body} if body is not None else {}
        return [server.call(method, path, user, **more).status_code for user in people.values()]

    assert statuses("GET", f"/manifests/{manifest_id}") == [200, 200, 200]
    assert statuses("POST", "/grants", {"verb": "pull", "catalog_id": name}) == [200, 200, 200]
    push = {"verb": "push", "catalog_id": name, "version": "2.0"}
    assert statuses("POST", "/grants", push) == [403, 200, 200]
    assert statuses("PATCH", f"/manifests/{manifest_id}", {"description": "x"}) == [403, 403, 200]
    assert statuses("PUT", f"/catalog_ids/{name}", {"quota_bytes": 1}) == [403, 403, 200]
    for verb in ("taint", "untaint", "revoke"):
        assert statuses("POST", f"/manifests/{manifest_id}/{verb}", {}) == [403, 403, 200]
    assert statuses("DELETE", f"/manifests/{manifest_id}") == [403, 403, 200]
    for path in ("/users", "/roles", "/claims", "/audit"):
        assert statuses("GET", path) == [403, 403, 403]
    assert statuses("PUT", "/roles/READER", {"claims": []}) == [403, 403, 403]


def test_a_manager_does_not_revoke_what_is_for_others_to_push(server: Server) -> None:
    name = new_catalog_id()
    manifest_id = put_manifest(server, name)
    good(put(server, name, push_roles=["TEAM_A"]))
    manager, team = add(server, roles=["MANAGER"]), add(server, roles=["MANAGER", "TEAM_A"])
    for verb in ("taint", "untaint", "revoke"):
        error(server.call("POST", f"/manifests/{manifest_id}/{verb}", manager), 403, "catalog_id_denied")
        assert server.call("POST", f"/manifests/{manifest_id}/{verb}", team).status_code == 200
