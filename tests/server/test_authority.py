# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may write under a name: a catalog id, its versions, its tags."""

from __future__ import annotations

import httpx
import pytest
from catalog_server.access import Audience
from catalog_server.catalog.queries import audience_row
from catalog_server.models.catalog import CatalogId
from packs import make_pack
from rows import new_catalog_id, put_manifest
from running import Server, command_work
from transfer_client import NEXT_FILES, Client, error, good


def let(server: Server, catalog_id: str, *, push: list[str] | None = None, tag: list[str] | None = None) -> None:
    """Name the roles that are needed to push to a catalog id, and to move its tags."""
    with command_work(server.services) as work:
        row = work.session.get(CatalogId, catalog_id)
        if row is None:
            row = CatalogId(name=catalog_id, created_at=work.now, created_by="admin")
            work.session.add(row)
        for name, roles in (("push_audience", push), ("tag_audience", tag)):
            if roles is not None:
                setattr(row, name, audience_row(work.session, Audience.of(roles, []).text()))


def minted(server: Server, by: str, catalog_id: str) -> httpx.Response:
    body = {"verb": "push", "catalog_id": catalog_id, "version": "9.0"}
    return server.call("POST", "/grants", by, json=body)


# Without a word of the catalog id


def test_nobody_pushes_beside_what_is_hidden(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", roles=["STAFF"], tags=["stable"])
    put_manifest(server, catalog_id, "1.1", architecture="x86_64")
    pusher = Client.of(server, "pusher")
    for version in ("1.0", "1.1", "2.0"):
        error(pusher.begin(catalog_id, version), 403, "catalog_id_denied")
        error(pusher.begin(catalog_id, version, force=True), 403, "catalog_id_denied")
    assert minted(server, "pusher", catalog_id).json()["error"] == "catalog_id_denied"
    # Whoever sees it all may.
    good(Client.of(server, "staff").begin(catalog_id, "2.0"))
    assert minted(server, "staff", catalog_id).status_code == 200


def test_what_is_hidden_meanwhile_ends_a_push(server: Server) -> None:
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id, "1.0")
    pusher = Client.of(server, "pusher")
    grant = pusher.granted(server, "push", catalog_id, "2.0", bases=[])
    upload_id = good(grant.begin(catalog_id, "2.0"))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    grant.store(upload_id, pack)
    good(Client.of(server, "admin").http.patch(f"/manifests/{manifest_id}", json={"required_roles": ["STAFF"]}))
    for caller in (grant, pusher):
        error(caller.http.get(f"/uploads/{upload_id}"), 403, "catalog_id_denied")
        error(caller.store_urls(upload_id, {}), 403, "catalog_id_denied")
    error(grant.commit(upload_id, pack.index), 403, "catalog_id_denied")
    error(grant.http.post("/grants/renew"), 403, "catalog_id_denied")


def test_nobody_moves_a_tag_away_from_what_is_hidden(server: Server) -> None:
    catalog_id = new_catalog_id()
    hidden = put_manifest(server, catalog_id, "1.0", claims=["SECRET"], tags=["stable"])
    mine = put_manifest(server, catalog_id, "2.0")
    editor, admin = Client.of(server, "editor"), Client.of(server, "admin")
    error(editor.http.patch(f"/manifests/{mine}", json={"tags": ["stable"]}), 403, "catalog_id_denied")
    assert admin.manifest(hidden)["tags"] == ["stable"]
    # What is not about tags may be edited.
    assert good(editor.http.patch(f"/manifests/{mine}", json={"description": "x"}))["description"] == "x"


@pytest.mark.parametrize("spelling", ["golden", "GOLDEN"])
def test_a_version_and_a_tag_never_share_a_name(server: Server, spelling: str) -> None:
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id, "1.0", tags=["golden"])
    staff = Client.of(server, "staff")
    error(staff.begin(catalog_id, spelling), 409, "name_taken")
    error(staff.begin(catalog_id, "3.0", tags=["3.0"]), 409, "name_taken")
    error(staff.begin(catalog_id, "3.0", tags=["1.0"]), 409, "name_taken")
    pushed = put_manifest(server, catalog_id, "silver")
    admin = Client.of(server, "admin")
    error(admin.http.patch(f"/manifests/{manifest_id}", json={"tags": ["Silver"]}), 409, "name_taken")
    error(admin.http.patch(f"/manifests/{pushed}", json={"tags": ["silver"]}), 409, "name_taken")


def test_a_tag_that_came_while_a_push_ran(server: Server) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    first = admin.push(catalog_id, "1.0")
    upload_id = good(admin.begin(catalog_id, "golden"))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    admin.store(upload_id, pack)
    good(admin.http.patch(f"/manifests/{first.id}", json={"tags": ["golden"]}))
    error(admin.commit(upload_id, pack.index), 409, "name_taken")


def test_whoever_may_push_nowhere_does_not_learn_which_catalog_ids_there_are(server: Server) -> None:
    hidden, shown, empty = new_catalog_id(), new_catalog_id(), new_catalog_id()
    put_manifest(server, hidden, "1.0", claims=["SECRET"])
    put_manifest(server, shown, "1.0")
    for catalog_id in (hidden, shown, empty):
        let(server, catalog_id, push=["STAFF"])
    answers = {name: minted(server, "nobody", name) for name in (hidden, empty, new_catalog_id())}
    assert {reply.text for reply in answers.values()} == {answers[hidden].text}
    assert error(answers[hidden], 403, "forbidden")
    # Who sees a version is told why.
    error(minted(server, "reader", shown), 403, "catalog_id_denied")
    assert minted(server, "reader", hidden).text == answers[hidden].text


# As the catalog id says


def test_a_catalog_id_says_who_may_push(server: Server) -> None:
    catalog_id = new_catalog_id()
    let(server, catalog_id, push=["STAFF"])
    # It has the claim and sees everything, and it has not the role.
    error(Client.of(server, "pusher").begin(catalog_id), 403, "catalog_id_denied")
    # It has the role, and not the claim.
    editor = Client.of(server, "editor")
    pushed = editor.push(catalog_id)
    assert minted(server, "editor", catalog_id).status_code == 200
    # Everywhere else it may not push.
    error(editor.begin(new_catalog_id()), 403, "forbidden")
    let(server, catalog_id, push=["OTHERS"])
    error(editor.begin(catalog_id, "2.0"), 403, "catalog_id_denied")
    error(editor.http.patch(f"/manifests/{pushed.id}", json={"description": "x"}), 403, "catalog_id_denied")
    error(editor.http.delete(f"/manifests/{pushed.id}"), 403, "catalog_id_denied")


def test_whoever_is_let_push_may_do_so_beside_what_is_hidden(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", claims=["SECRET"])
    let(server, catalog_id, push=["STAFF"])
    good(Client.of(server, "editor").begin(catalog_id, "2.0"))
    # The very version that it cannot see stays out of its hands.
    error(Client.of(server, "editor").begin(catalog_id, "1.0", force=True), 409, "version_exists")


def test_a_catalog_id_says_who_may_tag(server: Server) -> None:
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id, "1.0")
    let(server, catalog_id, tag=["RELEASE"])
    editor = Client.of(server, "editor")
    error(editor.http.patch(f"/manifests/{manifest_id}", json={"tags": ["stable"]}), 403, "catalog_id_denied")
    pusher = Client.of(server, "pusher")
    # Before anything moves, and again at the end.
    error(pusher.begin(catalog_id, "2.0", tags=["stable"]), 403, "catalog_id_denied")
    let(server, catalog_id, tag=["USER"])
    upload_id = good(pusher.begin(catalog_id, "2.0", tags=["stable"]))["id"]
    let(server, catalog_id, tag=["RELEASE"])
    pack = make_pack(upload_id, NEXT_FILES)
    pusher.store(upload_id, pack)
    error(pusher.commit(upload_id, pack.index), 403, "catalog_id_denied")
    good(pusher.begin(catalog_id, "2.0", tags=[]))
    # The tag "latest" follows a push by itself.
    assert good(pusher.commit(upload_id, pack.index))["tags"] == ["latest"]
    let(server, catalog_id, tag=["STAFF"])
    assert "stable" in good(editor.http.patch(f"/manifests/{manifest_id}", json={"tags": ["stable"]}))["tags"]


def test_who_may_not_move_a_tag_cannot_take_it_away(server: Server) -> None:
    catalog_id = new_catalog_id()
    first = put_manifest(server, catalog_id, "1.0", tags=["stable"])
    let(server, catalog_id, tag=["RELEASE"])
    editor = Client.of(server, "editor")
    error(editor.http.patch(f"/manifests/{first}", json={"tags": []}), 403, "catalog_id_denied")
    assert "stable" in editor.manifest(first)["tags"]
    # The same tags are no change.
    good(editor.http.patch(f"/manifests/{first}", json={"tags": ["stable"], "description": "x"}))
    let(server, catalog_id, tag=["STAFF"])
    assert "stable" not in good(editor.http.patch(f"/manifests/{first}", json={"tags": []}))["tags"]


def test_who_may_not_move_a_tag_cannot_replace_what_it_names(server: Server) -> None:
    catalog_id, pusher, admin = new_catalog_id(), Client.of(server, "pusher"), Client.of(server, "admin")
    first = pusher.push(catalog_id, "1.0", tags=["stable"])
    let(server, catalog_id, tag=["RELEASE"])
    digest = "0" * 64
    error(pusher.begin(catalog_id, "1.0", force=True, expected_digest=digest), 403, "catalog_id_denied")
    # Of a push that does not say what it brings, it shows at the end.
    upload_id = good(pusher.begin(catalog_id, "1.0", force=True))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    pusher.store(upload_id, pack)
    error(pusher.commit(upload_id, pack.index), 403, "catalog_id_denied")
    assert admin.manifest(first.id)["digest"] == first.pack.digest
    # The same content again changes nothing, and a version without tags may be replaced.
    assert pusher.push(catalog_id, "1.0", force=True).id == first.id
    pusher.push(catalog_id, "2.0")
    assert pusher.push(catalog_id, "2.0", NEXT_FILES, force=True).manifest["tags"] == ["latest"]
    assert admin.push(catalog_id, "1.0", NEXT_FILES, force=True).manifest["digest"] == pack.digest


def test_an_immutable_tag_stays_where_it_is_by_whatever_detour(server: Server) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    first = admin.push(catalog_id, "1.0", tags=["stable"])
    second = admin.push(catalog_id, "2.0", NEXT_FILES)
    with command_work(server.services) as work:
        work.session.get_one(CatalogId, catalog_id).immutable_tags = True
    error(admin.http.patch(f"/manifests/{second.id}", json={"tags": ["stable"]}), 409, "tag_immutable")
    error(admin.http.patch(f"/manifests/{first.id}", json={"tags": []}), 409, "tag_immutable")
    error(admin.begin(catalog_id, "1.0", force=True, expected_digest="0" * 64), 409, "tag_immutable")
    upload_id = good(admin.begin(catalog_id, "1.0", force=True))["id"]
    pack = make_pack(upload_id, NEXT_FILES)
    admin.store(upload_id, pack)
    error(admin.commit(upload_id, pack.index), 409, "tag_immutable")
    assert (admin.manifest(first.id)["digest"], admin.manifest(first.id)["tags"]) == (first.pack.digest, ["stable"])
    # More tags are no move.
    assert good(admin.http.patch(f"/manifests/{first.id}", json={"tags": ["stable", "lts"]}))["tags"] == [
        "lts",
        "stable",
    ]
