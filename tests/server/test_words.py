# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every word of an error is one that a client can get. A word that has no row here fails the tests."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Iterator

import httpx
import jwt
import pytest
from catalog_server.catalog.queries import audience_row
from catalog_server.errors import STATUSES
from catalog_server.models.catalog import Catalog, CatalogId, Manifest
from catalog_server.models.transfers import Upload
from catalog_server.transfers.packs import pack_of
from packs import make_pack, sha256
from rows import new_catalog_id, put_manifest, segments_of
from running import Server, Template, command_work, running
from sockets import connect, everything, status_of
from test_receivers import Push
from transfer_client import FILES, NO_REVISION, Client, error, good


class Scene:
    """A server of its own, as some words need it to be damaged; and who asks."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pusher = Client.of(server, "pusher")
        self.catalog_id = new_catalog_id()

    def begun(self) -> str:
        return str(good(self.pusher.begin(new_catalog_id()))["id"])

    def with_grant(self, **claims: object) -> httpx.Response:
        """List manifests with a pull grant in which some claims are others."""
        put_manifest(self.server, self.catalog_id, secrets.token_hex(4))
        return self._with(self.pusher.grant("pull", self.catalog_id, "latest")["grant"], "grants", claims)

    def with_login(self, **claims: object) -> httpx.Response:
        return self._with(self.server.token("reader"), "login", claims)

    def _with(self, token: str, purpose: str, claims: dict[str, object]) -> httpx.Response:
        said = jwt.decode(token, options={"verify_signature": False})
        key = self.server.keys.signing
        headers = {"kid": key.kid, "typ": said["typ"]}
        changed = jwt.encode(said | claims, getattr(key, purpose), algorithm="HS256", headers=headers)
        return self.server.call("GET", "/manifests", bearer=changed)


def revoked_grant(scene: Scene) -> httpx.Response:
    put_manifest(scene.server, scene.catalog_id, "revoked-grant")
    grant = scene.pusher.grant("pull", scene.catalog_id, "revoked-grant")
    good(scene.pusher.http.delete(f"/grants/{grant['id']}"))
    return scene.server.call("POST", "/grants/renew", bearer=grant["grant"])


def blocked(scene: Scene, **how: bool) -> httpx.Response:
    return scene.pusher.read_urls(put_manifest(scene.server, **how), [])


def other_content(scene: Scene) -> httpx.Response:
    pushed = scene.pusher.push(new_catalog_id())
    return scene.pusher.begin(pushed.manifest["catalog_id"], expected_digest=sha256(b"other"))


def nothing_stored(scene: Scene) -> httpx.Response:
    upload_id = scene.begun()
    return scene.pusher.commit(upload_id, make_pack(upload_id, FILES).index)


def shared(scene: Scene) -> httpx.Response:
    first = put_manifest(scene.server, roles=["STAFF"])
    put_manifest(scene.server, roles=["STAFF"], shares=segments_of(scene.server, first))
    return scene.server.call("PATCH", f"/manifests/{first}", "admin", json={"required_roles": []})


def closed(scene: Scene) -> httpx.Response:
    upload_id = scene.begun()
    good(scene.pusher.http.delete(f"/uploads/{upload_id}"))
    return scene.pusher.store_urls(upload_id, {})


def expired(scene: Scene) -> httpx.Response:
    upload_id = scene.begun()
    with command_work(scene.server.services) as work:
        work.session.get_one(Upload, upload_id).expires_at = work.now
    return scene.pusher.store_urls(upload_id, {})


def locked_out(scene: Scene) -> httpx.Response:
    name = secrets.token_hex(8)
    error(scene.server.login(name, "wrong"), 401, "invalid_credentials")
    return scene.server.login(name, "wrong")


def mistake(scene: Scene) -> httpx.Response:
    """A column says what the server never wrote."""
    manifest_id = put_manifest(scene.server)
    written: list[str] = []
    for audience in ("nothing that can be read", None):
        with command_work(scene.server.services) as work:
            manifest = work.session.get_one(Manifest, manifest_id)
            written.append(manifest.audience)
            manifest.audience_text = audience_row(work.session, audience or written[0])
        if audience:
            reply = scene.server.call("GET", "/manifests", "reader")
    return reply


def denied(scene: Scene) -> httpx.Response:
    catalog_id = new_catalog_id()
    put_manifest(scene.server, catalog_id, roles=["STAFF"])
    return scene.pusher.begin(catalog_id, "2.0")


def replaced(scene: Scene) -> httpx.Response:
    manifest_id = put_manifest(scene.server)
    return scene.server.call("GET", f"/manifests/{manifest_id}/listing?digest={'0' * 64}", "reader")


def name_taken(scene: Scene) -> httpx.Response:
    manifest_id = put_manifest(scene.server, version="1.0")
    return scene.server.call("PATCH", f"/manifests/{manifest_id}", "admin", json={"tags": ["1.0"]})


def immutable(scene: Scene) -> httpx.Response:
    catalog_id = new_catalog_id()
    put_manifest(scene.server, catalog_id, "1.0", tags=["stable"])
    manifest_id = put_manifest(scene.server, catalog_id, "2.0")
    with command_work(scene.server.services) as work:
        work.session.get_one(CatalogId, catalog_id).immutable_tags = True
    return scene.server.call("PATCH", f"/manifests/{manifest_id}", "admin", json={"tags": ["stable"]})


def lost(scene: Scene) -> httpx.Response:
    manifest_id = put_manifest(scene.server)
    with scene.server.services.database.reading() as session:
        manifest = session.get_one(Manifest, manifest_id)
        content = manifest.segmented
    pack_of(scene.server.services, content.storage, content.pack).remove_all()
    return scene.server.call("GET", f"/manifests/{manifest_id}/listing", "reader")


def in_use(scene: Scene) -> httpx.Response:
    catalog_id = new_catalog_id()
    put_manifest(scene.server, catalog_id)
    return scene.server.call("DELETE", f"/catalog_ids/{catalog_id}", "admin")


def full(scene: Scene) -> httpx.Response:
    pushed = scene.pusher.push(new_catalog_id())
    with command_work(scene.server.services) as work:
        work.session.get_one(CatalogId, pushed.manifest["catalog_id"]).quota_bytes = 1
    return scene.pusher.begin(pushed.manifest["catalog_id"], "2.0")


def no_such_bytes(scene: Scene) -> httpx.Response:
    path = f"/manifests/{put_manifest(scene.server)}/listing"
    return scene.server.call("GET", path, "reader", headers={"Range": "bytes=1000-"})


def raw(scene: Scene, sent: bytes) -> httpx.Response:
    """The answer to bytes that are no whole request."""
    with connect(scene.server) as connection:
        connection.sendall(b"GET /api/v1/server HTTP/1.1\r\n" + sent)
        head, _blank, body = everything(connection).partition(b"\r\n\r\n")
    return httpx.Response(status_of(head), headers={"Content-Type": "application/json"}, content=body)


def clock_has_jumped(scene: Scene) -> httpx.Response:
    with command_work(scene.server.services) as work:
        noted = work.now + datetime.timedelta(days=365)
        work.session.execute(Catalog.__table__.update().values(clock_noted_at=noted))
    reply = scene.server.call("POST", "/jobs/gc/run", "admin")
    with command_work(scene.server.services) as work:
        work.session.execute(Catalog.__table__.update().values(clock_noted_at=None))
    return reply


def gc_is_off(scene: Scene) -> httpx.Response:
    with command_work(scene.server.services) as work:
        work.session.execute(Catalog.__table__.update().values(gc_enabled=False))
    reply = scene.server.call("POST", "/jobs/gc/run", "admin")
    with command_work(scene.server.services) as work:
        work.session.execute(Catalog.__table__.update().values(gc_enabled=True))
    return reply


def too_many(scene: Scene) -> httpx.Response:
    with Push(scene.server).stalled():
        return Push(scene.server).put()


def received_twice(scene: Scene) -> httpx.Response:
    push = Push(scene.server)
    with push.stalled():
        return push.put()


def no_room(scene: Scene) -> httpx.Response:
    """An index that does not say how long it is may be as long as the settings allow."""
    upload_id = scene.begun()
    return scene.pusher.http.post(
        f"/uploads/{upload_id}/commit",
        params={"revision": scene.pusher.revisions[upload_id]},
        content=iter([b"x"]),
        headers={"Content-Type": "application/octet-stream"},
    )


PROVOKED: dict[str, Callable[[Scene], httpx.Response]] = {
    "bad_request": lambda scene: scene.server.call("POST", "/grants", "reader", json={}),
    "invalid_index": lambda scene: scene.pusher.commit(scene.begun(), b"no index"),
    "unauthenticated": lambda scene: scene.server.call("GET", "/manifests"),
    "invalid_credentials": lambda scene: scene.server.login(secrets.token_hex(8), "wrong"),
    "token_expired": lambda scene: scene.with_login(exp=1),
    "grant_expired": lambda scene: scene.with_grant(exp=1),
    "grant_revoked": revoked_grant,
    "forbidden": lambda scene: Client.of(scene.server, "reader").begin(new_catalog_id()),
    "grant_scope": lambda scene: scene.with_grant(),
    "catalog_id_denied": denied,
    "replaced": replaced,
    "name_taken": name_taken,
    "tag_immutable": immutable,
    "not_found": lambda scene: scene.server.call("GET", "/nothing"),
    "unknown_manifest": lambda scene: scene.server.call("GET", "/manifests/0", "reader"),
    "unknown_upload": lambda scene: scene.pusher.store_urls("0" * 32, {}),
    "unknown_segment": lambda scene: scene.pusher.read_urls(put_manifest(scene.server), [("0" * 32, "0" * 64)]),
    "method_not_allowed": lambda scene: scene.server.call("DELETE", "/server"),
    "request_timeout": lambda scene: raw(scene, b"Host: a\r\n"),
    "head_too_large": lambda scene: raw(scene, b"X: " + b"a" * (1 << 17)),
    "range_not_satisfiable": no_such_bytes,
    "tainted": lambda scene: blocked(scene, tainted=True),
    "revoked": lambda scene: blocked(scene, revoked=True),
    "version_exists": other_content,
    "missing_segment": nothing_stored,
    "last_administrator": lambda scene: scene.server.call("DELETE", "/users/admin", "admin"),
    "user_exists": lambda scene: scene.server.call("POST", "/users", "admin", json={"username": "reader"}),
    "internal_role": lambda scene: scene.server.call("DELETE", "/roles/READER", "admin"),
    "catalog_id_in_use": in_use,
    "implausible_clock": clock_has_jumped,
    "gc_disabled": gc_is_off,
    "shared_segments": shared,
    "upload_changed": lambda scene: scene.pusher.commit(scene.begun(), b"", NO_REVISION),
    "upload_closed": closed,
    "upload_expired": expired,
    "payload_too_large": lambda scene: scene.server.call("POST", "/grants", content=bytes(2000)),
    "quota_exceeded": full,
    "locked_out": locked_out,
    "too_many_receivers": too_many,
    "internal_error": mistake,
    "being_received": received_twice,
    "unavailable": lost,
    "insufficient_storage": no_room,
}


@pytest.fixture(name="scene", scope="module")
def scene_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    settings = {
        "CATALOG_LOGIN_ATTEMPTS": "1",
        "CATALOG_MAX_JSON_BYTES": "1500",
        "CATALOG_HEAD_SECONDS": "2",
        "CATALOG_RECEIVERS_EACH": "1",
        "CATALOG_MAX_INDEX_BYTES": str(1 << 60),
        "CATALOG_RECEIVE_BYTES": str(1 << 61),
    }
    with running(template, tmp_path_factory.mktemp("words") / "data", settings) as server:
        yield Scene(server)


@pytest.mark.parametrize("word", STATUSES)
def test_every_word_can_be_provoked(scene: Scene, word: str) -> None:
    message = error(PROVOKED[word](scene), STATUSES[word], word)
    assert message.endswith(".")
