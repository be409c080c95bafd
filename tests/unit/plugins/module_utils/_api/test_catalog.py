# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply, Missing, Unreachable
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import UploadRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest, refusal

ID = "a1" * 32
SHA = "5e" * 32
UPLOAD = "0f" * 16


@pytest.fixture
def catalog(server: Recording) -> CatalogClient:
    return CatalogClient(Http(BASE_URL, server.send, authorization=lambda: {"X-Api-Key": "a2V5"}, patience=NEVER))


def test_server_info_needs_no_credentials(server: Recording, catalog: CatalogClient) -> None:
    info = {"name": "x", "version": "1.0.0", "catalog_uuid": "u", "api": 1, "features": ["grants"], "limits": {"a": 1}}
    server.expect("GET", "server", reply=info, headers={"X-Api-Key": None})
    assert catalog.server_info().features == ("grants",)


def test_grants(server: Recording, catalog: CatalogClient) -> None:
    body = {"verb": "pull", "catalog_id": "macos-15", "version": ">=1.4,<2"}
    reply = {"grant": "g", "expires_in": 100, "manifests": [manifest()], "bases": []}
    server.expect("POST", "grants", body=body, reply=reply, headers={"X-Api-Key": "a2V5"})
    grant = catalog.mint_pull_grant("macos-15", ">=1.4,<2")
    assert (grant.token, grant.manifests[0].id) == ("g", ID)

    body = {"verb": "push", "catalog_id": "macos-15", "version": "1.5", "architecture": "arm64", "bases": ["1.4"]}
    reply = {"grant": "g", "expires_in": 100, "manifests": [], "bases": [manifest()]}
    server.expect("POST", "grants", body=body, reply=reply)
    assert catalog.mint_push_grant("macos-15", "1.5", "arm64", ["1.4"]).bases[0].version == "1.4"

    headers = {"Authorization": "Bearer g", "X-Api-Key": None}
    server.expect("POST", "grants/renew", body={}, headers=headers, reply={"grant": "h", "expires_in": 200})
    assert catalog.renew_grant("g").token == "h"


def test_an_unknown_image_is_named(server: Recording, catalog: CatalogClient) -> None:
    server.expect(
        "POST",
        "grants",
        body={"verb": "pull", "catalog_id": "nix", "architecture": "arm64"},
        **refusal("unknown_manifest", 404),
    )
    with pytest.raises(Missing, match="Could not get a grant to pull catalog id 'nix', for arm64 at .*: No."):
        catalog.mint_pull_grant("nix", None, "arm64")


def test_manifests_come_page_by_page(server: Recording, catalog: CatalogClient) -> None:
    filters = {"catalog_id": "macos-15", "tainted": "false", "limit": "200"}
    other = manifest(id="b2" * 32)
    server.expect("GET", "manifests", query=filters, reply={"manifests": [manifest()], "next": "c1"})
    server.expect("GET", "manifests", query={**filters, "cursor": "c1"}, reply={"manifests": [other], "next": None})
    found = catalog.manifests({"catalog_id": "macos-15", "tainted": False, "tag": None})
    assert [record.id for record in found] == [ID, "b2" * 32]


def test_pages_that_go_in_circles_end(server: Recording, catalog: CatalogClient) -> None:
    page = {"manifests": [], "next": "c1"}
    server.expect("GET", "manifests", query={"limit": "200"}, reply=page)
    server.expect("GET", "manifests", query={"limit": "200", "cursor": "c1"}, reply=page)
    with pytest.raises(BadReply, match="again and again"):
        list(catalog.manifests())


def test_resolve(server: Recording, catalog: CatalogClient) -> None:
    query = {"catalog_id": "macos-15", "version": "latest"}
    server.expect("GET", "manifests/resolve", query=query, reply={"manifests": [manifest()]})
    assert [record.id for record in catalog.resolve("macos-15", "latest")] == [ID]


def test_edits(server: Recording, catalog: CatalogClient) -> None:
    server.expect("GET", f"manifests/{ID}", reply=manifest())
    server.expect("PATCH", f"manifests/{ID}", body={"tags": ["a"]}, reply=manifest(tags=["a"]))
    server.expect("POST", f"manifests/{ID}/taint", body={"reason": "broken"}, reply=manifest(tainted=True))
    server.expect("POST", f"manifests/{ID}/untaint", body={}, reply=manifest())
    server.expect("POST", f"manifests/{ID}/revoke", body={}, reply=manifest(revoked=True))
    server.expect("DELETE", f"manifests/{ID}", reply={"freed_bytes": 7, "freed_after": "2026-11-27T10:15:00.000Z"})
    server.expect("DELETE", f"manifests/{ID}", status=204)
    assert catalog.manifest(ID).tags == ("latest",)
    assert catalog.edit_manifest(ID, {"tags": ["a"]}).tags == ("a",)
    assert catalog.taint(ID, "broken").tainted
    assert not catalog.untaint(ID).tainted
    assert catalog.revoke(ID).revoked
    assert catalog.delete_manifest(ID) == 7
    assert catalog.delete_manifest(ID) == 0


def test_indexes(server: Recording, catalog: CatalogClient) -> None:
    server.expect_bytes(f"manifests/{ID}/listing", b"listing")
    server.expect_bytes(f"manifests/{ID}/locator", b"locator")
    assert (catalog.listing(ID), catalog.locator(ID)) == (b"listing", b"locator")


def test_urls_of_segments_come_in_pages(server: Recording, catalog: CatalogClient) -> None:
    segments = [("p" * 32, f"{number:064x}") for number in range(501)]
    for page in (segments[:500], segments[500:]):
        wanted = [{"pack": pack, "sha256": sha256} for pack, sha256 in page]
        urls = [{**segment, "url": f"https://s/{segment['sha256']}", "expires_in": 5} for segment in wanted]
        server.expect("POST", f"manifests/{ID}/urls", body={"segments": wanted}, reply={"urls": urls[::-1]})
    found = catalog.object_urls(ID, segments)
    assert list(found) == segments
    assert found[segments[7]].url.endswith(segments[7][1])


def test_a_url_that_was_not_sent(server: Recording, catalog: CatalogClient) -> None:
    server.expect("POST", f"manifests/{ID}/urls", body={"segments": [{"pack": "p", "sha256": SHA}]}, reply={"urls": []})
    with pytest.raises(BadReply, match="did not send all"):
        catalog.object_urls(ID, [("p", SHA)])
    assert catalog.object_urls(ID, []) == {}


def test_an_upload(server: Recording, catalog: CatalogClient) -> None:
    request = UploadRequest("macos-15", "1.5", "arm64", "macvm", "x.macvm", 1 << 20, bases=(ID,))
    segment = {"sha256": SHA, "size": 7, "url": "https://s/x", "expires_in": 900, "headers": {"x-a": "b"}}
    upload = {"id": UPLOAD, "expires_at": "2026-11-25T10:00:00Z", "storage": "local", "chunk_size": 1 << 20}
    upload.update(revision="r1", bases=[manifest()], segments=[segment])
    server.expect("POST", "uploads", body=request.to_json(), reply=upload)
    begun = catalog.begin_upload(request)
    assert (begun.id, begun.segments[0].sha256, begun.bases[0].id) == (UPLOAD, SHA, ID)
    signed = begun.segments[0].signed
    assert (signed.url, signed.lifetime_seconds, signed.headers) == ("https://s/x", 900, {"x-a": "b"})

    server.expect("GET", f"uploads/{UPLOAD}", reply=upload)
    assert catalog.upload(UPLOAD) == begun

    url = {"sha256": SHA, "url": "https://s/y", "headers": {"x-a": "b"}, "expires_in": 5}
    server.expect(
        "POST", f"uploads/{UPLOAD}/urls", body={"segments": [{"sha256": SHA, "size": 7}]}, reply={"urls": [url]}
    )
    assert catalog.upload_urls(UPLOAD, [(SHA, 7)])[SHA].headers == {"x-a": "b"}

    server.expect("POST", f"uploads/{UPLOAD}/commit", query={"revision": "r1"}, body=b"index", reply=manifest())
    assert catalog.commit_upload(UPLOAD, begun.revision, b"index").id == ID
    assert server.requests[-1].timeout_seconds == 900.0

    server.expect("DELETE", f"uploads/{UPLOAD}", status=204)
    catalog.abort_upload(UPLOAD)


def upload_page(names: list[str], cursor: str | None) -> dict[str, object]:
    """A page of an upload with segments of these SHA-256."""
    segments = [{"sha256": name, "size": 7, "url": "https://s/x", "expires_in": 900, "headers": {}} for name in names]
    page = {"id": UPLOAD, "expires_at": 4000000000, "storage": "local", "chunk_size": 1 << 20, "revision": "r1"}
    return {**page, "bases": [], "segments": segments, "next": cursor}


def test_an_upload_of_many_segments_comes_in_pages(server: Recording, catalog: CatalogClient) -> None:
    names = [f"{number:064x}" for number in range(3)]
    request = UploadRequest("macos-15", "1.5", "arm64", "macvm", "x.macvm", 1 << 20)
    server.expect("POST", "uploads", body=request.to_json(), reply=upload_page(names[:1], "first"))
    server.expect("GET", f"uploads/{UPLOAD}", query={"cursor": "first"}, reply=upload_page(names[1:2], "second"))
    server.expect("GET", f"uploads/{UPLOAD}", query={"cursor": "second"}, reply=upload_page(names[2:], None))
    begun = catalog.begin_upload(request)
    assert [segment.sha256 for segment in begun.segments] == names
    assert begun.next is None


def test_an_upload_whose_pages_never_end_is_a_bad_reply(server: Recording, catalog: CatalogClient) -> None:
    server.expect("GET", f"uploads/{UPLOAD}", reply=upload_page([SHA], "again"))
    server.expect("GET", f"uploads/{UPLOAD}", query={"cursor": "again"}, reply=upload_page([SHA], "again"))
    with pytest.raises(BadReply, match="again and again"):
        catalog.upload(UPLOAD)


def test_a_commit_is_never_sent_twice() -> None:
    server = Recording().expect(
        "POST", f"uploads/{UPLOAD}/commit", query={"revision": "r1"}, body=b"index", error=NotConnected("broken pipe")
    )
    catalog = CatalogClient(Http(BASE_URL, server.send, sleep=lambda seconds: None))
    with pytest.raises(Unreachable):
        catalog.commit_upload(UPLOAD, "r1", b"index")
