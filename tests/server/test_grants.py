# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants: minted for one transfer, useless for anything else, renewed, revoked, expired."""

from __future__ import annotations

import time

import httpx
import jwt
import pytest
from catalog_server.catalog import service as catalog
from catalog_server.identity import service as users
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import Manifest
from conftest import StartServer
from rows import new_catalog_id, put_manifest, segments_of
from running import PASSWORD, Server, command_work, wait_until
from sqlalchemy import select

ARCHITECTURES = ("arm64", "x86_64")


def error_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


def mint(server: Server, by: str, verb: str, catalog_id: str, **fields: object) -> httpx.Response:
    return server.call("POST", "/grants", by, json={"verb": verb, "catalog_id": catalog_id, **fields})


def pull_grant(server: Server, manifest_id: str, by: str = "reader") -> str:
    with server.services.database.reading() as session:
        manifest = session.get_one(Manifest, manifest_id)
    reply = mint(server, by, "pull", manifest.catalog_id, version=manifest.version, architecture=manifest.architecture)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["grant"])


# Minting


def test_a_pull_grant_brings_the_manifest(server: Server) -> None:
    catalog_id = new_catalog_id()
    old = put_manifest(server, catalog_id, "1.0")
    new = put_manifest(server, catalog_id, "1.1", tags=["stable"])
    wanted = {"1.0": old, "1.1": new, "stable": new, "latest": new, None: new, "1.*": new, ">=1,<1.1": old}
    for version, manifest_id in wanted.items():
        reply = mint(server, "reader", "pull", catalog_id.upper(), version=version, architecture="aarch64").json()
        assert [found["id"] for found in reply["manifests"]] == [manifest_id]
        assert reply["bases"] == []
        assert 3550 < reply["expires_at"] - time.time() <= 3601
        assert reply["expires_in"] == 3600


def test_without_an_architecture_a_grant_is_for_each(server: Server) -> None:
    catalog_id = new_catalog_id()
    ids = [put_manifest(server, catalog_id, architecture=architecture) for architecture in ARCHITECTURES]
    reply = mint(server, "reader", "pull", catalog_id, version="1.0").json()
    assert [manifest["id"] for manifest in reply["manifests"]] == ids
    for manifest_id in ids:
        renewed = server.call("POST", "/grants/renew", bearer=reply["grant"])
        assert renewed.status_code == 200
        assert set(jwt.decode(renewed.json()["grant"], options={"verify_signature": False})["man"]) == set(ids)


def test_a_blocked_architecture_is_told_and_not_opened(server: Server) -> None:
    catalog_id = new_catalog_id()
    arm = put_manifest(server, catalog_id, "1.0", "arm64", tainted=True)
    intel = put_manifest(server, catalog_id, "1.0", "x86_64")
    reply = mint(server, "reader", "pull", catalog_id, version="1.0").json()
    assert [(found["id"], found["tainted"]) for found in reply["manifests"]] == [(intel, False), (arm, True)]
    assert jwt.decode(reply["grant"], options={"verify_signature": False})["man"].keys() == {intel}
    assert error_of(server.call("GET", f"/manifests/{arm}/listing", bearer=reply["grant"]))[0] in (403, 404)


def test_what_cannot_be_pulled(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", tainted=True)
    put_manifest(server, catalog_id, "2.0", revoked=True)
    put_manifest(server, catalog_id, "3.0", roles=["STAFF"])

    def answer(version: str | None, by: str = "reader") -> tuple[int, str]:
        return error_of(mint(server, by, "pull", catalog_id, version=version))

    assert answer("1.0") == (409, "tainted")
    assert answer("2.0") == (409, "revoked")
    # The tag is at a version that this caller cannot see.
    assert answer(None) == (404, "unknown_manifest")
    assert answer("3.0") == (404, "unknown_manifest")
    assert answer("*") == (404, "unknown_manifest")
    assert answer("4.0") == (404, "unknown_manifest")
    assert answer(">=") == (400, "bad_request")
    assert answer("1.0", "nobody") == (403, "forbidden")
    assert error_of(mint(server, "reader", "pull", catalog_id, version="1.0", architecture="vax")) == (
        400,
        "bad_request",
    )
    # Not even who sees everything pulls what nobody may pull.
    assert answer("1.0", "admin") == (409, "tainted")
    assert mint(server, "staff", "pull", catalog_id).status_code == 200


def test_unknown_and_invisible_are_the_same_answer(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", roles=["STAFF"])
    invisible = mint(server, "reader", "pull", catalog_id, version="1.0").json()["message"]
    unknown = mint(server, "reader", "pull", catalog_id, version="2.0").json()["message"]
    assert unknown.replace("2.0", "1.0") == invisible


def test_a_push_grant_brings_what_is_there_and_the_newest_as_base(server: Server) -> None:
    catalog_id = new_catalog_id()
    old = put_manifest(server, catalog_id, "2.0")
    new = put_manifest(server, catalog_id, "1.0")
    put_manifest(server, catalog_id, "1.5", tainted=True)
    reply = mint(server, "pusher", "push", catalog_id, version="2.0", architecture="arm64").json()
    assert [manifest["id"] for manifest in reply["manifests"]] == [old]
    assert [manifest["id"] for manifest in reply["bases"]] == [new]
    fresh = mint(server, "pusher", "push", catalog_id, version="3.0", bases=["2.0"]).json()
    assert fresh["manifests"] == []
    assert [manifest["id"] for manifest in fresh["bases"]] == [old]
    assert mint(server, "pusher", "push", catalog_id, version="3.0", bases=[]).json()["bases"] == []


def test_the_base_has_the_audience_of_the_push(server: Server) -> None:
    catalog_id = new_catalog_id()
    public = put_manifest(server, catalog_id, "1.0")
    staff = put_manifest(server, catalog_id, "1.1", roles=["STAFF"])
    both = put_manifest(server, catalog_id, "1.2", roles=["STAFF"], claims=["SEE"])

    def bases(**fields: object) -> list[str]:
        reply = mint(server, "admin", "push", catalog_id, **fields).json()
        return [manifest["id"] for manifest in reply["bases"]]

    assert bases(version="2.0") == [public]
    assert bases(version="2.0", required_roles=["staff"]) == [staff]
    assert bases(version="2.0", required_roles=["staff"], required_claims=["see"]) == [both]
    assert bases(version="2.0", required_roles=["OTHER"]) == []
    # What is left out is that of the version that is there.
    assert bases(version="1.1") == [staff]
    assert bases(version="1.1", required_roles=[]) == [public]
    assert bases(version="1.1", required_claims=["SEE"]) == [both]


def test_what_cannot_be_pushed(server: Server) -> None:
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id, "1.0", tainted=True)

    def answer(by: str = "pusher", **fields: object) -> tuple[int, str]:
        return error_of(mint(server, by, "push", catalog_id, **fields))

    assert answer("reader", version="2.0") == (403, "forbidden")
    assert answer(version="2.0", bases=["1.0"]) == (409, "tainted")
    assert answer(version="2.0", bases=["1.1"]) == (404, "unknown_manifest")
    assert answer(version="2.0", bases=["x"] * 9) == (400, "bad_request")
    assert answer(version="2 0") == (400, "bad_request")
    assert answer(version="latest") == (400, "bad_request")
    assert answer() == (400, "bad_request")
    put_manifest(server, catalog_id, "1.1", roles=["STAFF"])
    assert answer(version="2.0") == (403, "catalog_id_denied")


def audited(server: Server, action: str, subject_id: str) -> list[AuditEntry]:
    with server.services.database.reading() as session:
        found = select(AuditEntry).where(AuditEntry.action == action, AuditEntry.subject_id == subject_id)
        return list(session.scalars(found.order_by(AuditEntry.id)))


def test_minting_is_audited_and_changes_nothing(server: Server) -> None:
    manifest_id = put_manifest(server)
    reply = mint(server, "reader", "pull", _catalog_id_of(server, manifest_id), version="1.0")
    jti = reply.json()["id"]
    wait_until(lambda: audited(server, "grant.mint", jti))
    (entry,) = audited(server, "grant.mint", jti)
    assert (entry.actor, entry.credential, entry.subject_kind) == ("reader", "token", "grant")
    assert entry.request_id == reply.headers["x-request-id"]
    assert (entry.details["verb"], entry.details["manifests"]) == ("pull", [manifest_id])
    assert reply.json()["grant"] not in str(entry.details)
    with server.services.database.reading() as session:
        assert session.get_one(Manifest, manifest_id).download_count == 0


def test_urls_that_are_given_out_are_audited_once_for_a_grant(server: Server) -> None:
    manifest_id = put_manifest(server)
    segments = [{"pack": pack, "sha256": sha256} for pack, sha256 in segments_of(server, manifest_id)]

    def read(bearer: str) -> None:
        for page in (segments[:1], segments[1:], segments):
            path = f"/manifests/{manifest_id}/urls"
            assert server.call("POST", path, bearer=bearer, json={"segments": page}).status_code == 200

    catalog_id = _catalog_id_of(server, manifest_id)
    grants = [mint(server, "reader", "pull", catalog_id, version="1.0").json() for _number in range(2)]
    for number, one in enumerate(grants, 1):
        read(one["grant"])
        wait_until(lambda number=number: len(audited(server, "manifest.read_urls", manifest_id)) == number)
    entries = audited(server, "manifest.read_urls", manifest_id)
    assert [entry.details["grant"] for entry in entries] == [one["id"] for one in grants]
    assert {(entry.actor, entry.credential) for entry in entries} == {("reader", "grant")}
    # Without a grant: once for the user.
    read(server.token("admin"))
    wait_until(lambda: len(audited(server, "manifest.read_urls", manifest_id)) == 3)
    last = audited(server, "manifest.read_urls", manifest_id)[-1]
    assert (last.actor, last.credential, last.details) == ("admin", "token", {})


def test_a_push_that_reads_its_base_is_audited_and_not_counted(server: Server) -> None:
    manifest_id = put_manifest(server)
    catalog_id = _catalog_id_of(server, manifest_id)
    made = mint(server, "pusher", "push", catalog_id, version="2.0", bases=["1.0"]).json()
    segments = [{"pack": pack, "sha256": sha256} for pack, sha256 in segments_of(server, manifest_id)]
    for page in (segments[:1], segments):
        path = f"/manifests/{manifest_id}/urls"
        assert server.call("POST", path, bearer=made["grant"], json={"segments": page}).status_code == 200
    wait_until(lambda: len(audited(server, "manifest.read_urls", manifest_id)) > 0)
    (entry,) = audited(server, "manifest.read_urls", manifest_id)
    assert (entry.actor, entry.credential, entry.details) == ("pusher", "grant", {"grant": made["id"]})
    assert server.call("GET", f"/manifests/{manifest_id}", "admin").json()["download_count"] == 0


# A grant opens one thing


def test_a_grant_is_no_login_and_a_login_is_no_grant(server: Server) -> None:
    manifest_id = put_manifest(server)
    grant = pull_grant(server, manifest_id)
    for method, path in (
        ("GET", "/manifests"),
        ("GET", f"/manifests/{manifest_id}"),
        ("GET", "/manifests/resolve?catalog_id=x"),
    ):
        assert error_of(server.call(method, path, bearer=grant)) == (403, "grant_scope")
    minted = server.call("POST", "/grants", bearer=grant, json={"verb": "pull", "catalog_id": "x"})
    assert error_of(minted) == (403, "grant_scope")
    assert error_of(server.call("POST", "/grants/renew", "reader")) == (400, "bad_request")


def test_the_grant_of_a_super_user_is_as_narrow(server: Server) -> None:
    grant = pull_grant(server, put_manifest(server), "admin")
    assert error_of(server.call("GET", "/manifests", bearer=grant)) == (403, "grant_scope")
    other = put_manifest(server)
    reply = server.call("POST", f"/manifests/{other}/urls", bearer=grant, json={"segments": []})
    assert error_of(reply) in {(403, "grant_scope"), (400, "bad_request")}
    assert error_of(server.call("GET", f"/manifests/{other}/listing", bearer=grant)) == (403, "grant_scope")


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_keys_of_the_two_kinds_of_tokens_are_apart(server: Server, verb: str) -> None:
    """A grant's claims signed as a login, and the other way round, are worth nothing."""
    manifest_id = put_manifest(server)
    grant = jwt.decode(pull_grant(server, manifest_id), options={"verify_signature": False})
    login = jwt.decode(server.token("reader"), options={"verify_signature": False})
    key = server.keys.signing

    def signed(claims: dict[str, object], secret: bytes, kid: str | None = key.kid, typ: object = None) -> str:
        headers = {"typ": typ or claims["typ"], **({"kid": kid} if kid else {})}
        return jwt.encode(claims, secret, algorithm="HS256", headers=headers)

    # What the server itself signs like that is good.
    assert server.call("POST", "/grants/renew", bearer=signed(grant, key.grants)).status_code == 200
    assert server.call("GET", "/manifests", bearer=signed(login, key.login)).status_code == 200
    crossed = [
        signed(grant, key.login, typ="login"),
        signed(login, key.grants, typ="grant"),
        signed(grant, key.grants, typ="login"),
        signed(login, key.login, typ="grant"),
        signed(grant, key.grants, typ="JWT"),
        signed(grant | {"verb": verb}, key.login),
        signed(login, key.grants),
        signed(grant | {"typ": "login"}, key.grants),
        signed(login | {"typ": "grant"}, key.login),
        signed(grant | {"verb": "delete"}, key.grants),
        signed({"typ": "grant"}, key.grants),
        # What names no key, another one, or another catalog
        signed(grant, key.grants, kid=None),
        signed(grant, key.grants, kid="0" * 12),
        signed(login | {"iss": "another catalog"}, key.login),
        signed({name: value for name, value in login.items() if name != "iss"}, key.login),
    ]
    for token in crossed:
        assert error_of(server.call("POST", "/grants/renew", bearer=token)) == (401, "unauthenticated")
        assert error_of(server.call("GET", "/manifests", bearer=token)) == (401, "unauthenticated")


# Renewal


def test_a_grant_is_renewed_as_the_same_grant(server: Server) -> None:
    grant = pull_grant(server, put_manifest(server))
    renewed = server.call("POST", "/grants/renew", bearer=grant, json={}).json()
    before, after = (jwt.decode(token, options={"verify_signature": False}) for token in (grant, renewed["grant"]))
    assert after.pop("exp") >= before.pop("exp")
    assert after == before
    assert renewed["id"] == before["jti"]
    assert renewed["expires_in"] == 3600


def test_a_grant_expires(start_server: StartServer) -> None:
    server = start_server(CATALOG_GRANT_SECONDS="1", CATALOG_GRANT_LIMIT_SECONDS="600")
    grant = pull_grant(server, put_manifest(server))
    wait_until(lambda: server.call("GET", "/manifests", bearer=grant).status_code == 401)
    assert error_of(server.call("POST", "/grants/renew", bearer=grant)) == (401, "grant_expired")


def test_renewals_end_with_the_age_of_the_grant(start_server: StartServer) -> None:
    server = start_server(CATALOG_GRANT_SECONDS="2", CATALOG_GRANT_LIMIT_SECONDS="3")
    reply = mint(server, "reader", "pull", _catalog_id_of(server, put_manifest(server))).json()
    end = int(jwt.decode(reply["grant"], options={"verify_signature": False})["iat"]) + 3
    wait_until(lambda: server.call("POST", "/grants/renew", bearer=reply["grant"]).json()["expires_at"] == end)
    assert server.call("POST", "/grants/renew", bearer=reply["grant"]).json().get("expires_in", 0) <= 2


def _catalog_id_of(server: Server, manifest_id: str) -> str:
    with server.services.database.reading() as session:
        return session.get_one(Manifest, manifest_id).catalog_id


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("taint", (409, "tainted")),
        ("revoke", (409, "revoked")),
        ("delete", (404, "unknown_manifest")),
        ("hide", (404, "unknown_manifest")),
        ("demote", (403, "forbidden")),
        ("remove", (401, "grant_revoked")),
    ],
)
def test_a_renewal_looks_at_everything_again(server: Server, what: str, answer: tuple[int, str]) -> None:
    name = f"puller-{what}"
    manifest_id = put_manifest(server)
    with command_work(server.services) as work:
        users.add(work, name, None, "", server.services.passwords.hashed(PASSWORD), [], ["LIST_CATALOG_MANIFEST"])
    grant = pull_grant(server, manifest_id, name)
    with command_work(server.services) as work:
        if what == "taint":
            catalog.taint(work, manifest_id, None)
        elif what == "revoke":
            catalog.revoke(work, manifest_id, None)
        elif what == "delete":
            catalog.delete(work, manifest_id)
        elif what == "hide":
            catalog.edit(work, manifest_id, {"required_roles": ["STAFF"]})
        elif what == "demote":
            users.set_fields(work, name, claims=["READ_ONLY"])
        else:
            users.delete(work, name)
    assert error_of(server.call("POST", "/grants/renew", bearer=grant)) == answer


def test_a_renewed_push_grant_loses_the_bases_that_it_would_not_get(server: Server) -> None:
    catalog_id = new_catalog_id()
    bases = [put_manifest(server, catalog_id, version) for version in ("1.0", "1.1")]
    grant = mint(server, "pusher", "push", catalog_id, version="2.0", bases=["1.0", "1.1"]).json()["grant"]
    server.call("POST", f"/manifests/{bases[0]}/taint", "admin", json={})
    renewed = server.call("POST", "/grants/renew", bearer=grant).json()["grant"]
    assert jwt.decode(renewed, options={"verify_signature": False})["bases"] == [bases[1]]


# Taking it back


def test_a_grant_is_taken_back_by_its_owner(server: Server) -> None:
    manifest_id = put_manifest(server)
    catalog_id = _catalog_id_of(server, manifest_id)
    minted = mint(server, "reader", "pull", catalog_id).json()
    other = mint(server, "reader", "pull", catalog_id).json()
    renewed = server.call("POST", "/grants/renew", bearer=minted["grant"]).json()["grant"]
    for _twice in range(2):
        assert server.call("DELETE", f"/grants/{minted['id']}", "reader").status_code == 204
    for grant in (minted["grant"], renewed):
        assert error_of(server.call("POST", "/grants/renew", bearer=grant)) == (401, "grant_revoked")
    assert server.call("POST", "/grants/renew", bearer=other["grant"]).status_code == 200


def test_nobody_else_takes_a_grant_back_but_a_super_user(server: Server) -> None:
    minted = mint(server, "reader", "pull", _catalog_id_of(server, put_manifest(server))).json()
    assert error_of(server.call("DELETE", f"/grants/{minted['id']}", "staff")) == (404, "not_found")
    assert error_of(server.call("DELETE", f"/grants/{minted['id']}", bearer=minted["grant"])) == (403, "grant_scope")
    assert error_of(server.call("DELETE", f"/grants/{minted['id']}")) == (401, "unauthenticated")
    assert server.call("DELETE", f"/grants/{minted['id']}", "admin").status_code == 204
    assert server.call("POST", "/grants/renew", bearer=minted["grant"]).status_code == 401
    assert error_of(server.call("DELETE", "/grants/rubbish", "admin")) == (404, "not_found")


def test_only_grants_of_this_server_are_taken_back(server: Server) -> None:
    """Whoever has no right at all must not fill a table with ids that they made up."""
    made = server.call(
        "POST", "/grants", "pusher", json={"verb": "push", "catalog_id": new_catalog_id(), "version": "1"}
    )
    jti = made.json()["id"]
    user_id = jti.partition("-")[0]
    wrong = [f"{user_id}-{'0' * 32}", jti[:-1] + ("0" if jti[-1] != "0" else "1"), jti.replace(user_id, "0" * 32)]
    for one in wrong:
        for name in ("pusher", "admin"):
            assert server.call("DELETE", f"/grants/{one}", name).status_code == 404
    assert server.call("DELETE", f"/grants/{jti}", "pusher").status_code == 204
