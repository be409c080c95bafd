# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a credential gave out ends with it, at the very next request: logins, grants, renewals, signed URLs."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import jwt
import pytest
from catalog_server.identity import queries
from catalog_server.identity import service as users
from packs import content, sha256
from rows import new_catalog_id, put_manifest, segments_of
from running import PASSWORD, Server, command_work, wait_until
from test_identity_api import OTHER_PASSWORD, add, edit
from transfer_client import address, good

DATA = content(1)


@dataclass
class Given:
    """Everything that one credential of one user gave out."""

    server: Server
    user: str
    catalog_id: str
    manifest_id: str
    key: str
    token: str
    pull: str
    push: str
    read_url: str = ""
    store_url: str = ""

    def answers(self) -> dict[str, int]:
        """The status of one request with each."""
        call = self.server.call
        push = {"verb": "push", "catalog_id": self.catalog_id, "version": "9"}
        begin = {"catalog_id": self.catalog_id, "version": "2.0", "architecture": "arm64", "type": "pvm"}
        begin = {**begin, "name": "Image.pvm", "chunk_size": 262144}
        return {
            "list with the token": call("GET", "/manifests", bearer=self.token).status_code,
            "grant with the token": call("POST", "/grants", bearer=self.token, json=push).status_code,
            "read with the pull grant": call(
                "POST", f"/manifests/{self.manifest_id}/urls", bearer=self.pull, json={"segments": []}
            ).status_code,
            "renew the pull grant": call("POST", "/grants/renew", bearer=self.pull).status_code,
            "begin with the push grant": call("POST", "/uploads", bearer=self.push, json=begin).status_code,
            "renew the push grant": call("POST", "/grants/renew", bearer=self.push).status_code,
            "read by its URL": httpx.get(self.read_url, trust_env=False).status_code,
            "store by its URL": httpx.put(self.store_url, content=DATA, trust_env=False).status_code,
        }

    def ended(self) -> dict[str, int]:
        """The same when the credential has ended: what opens without credentials is forbidden."""
        return {name: 403 if "URL" in name else 401 for name in self.answers()}


def give(server: Server, by: str, lifetime: float = 3600) -> Given:
    """A new user who may push, and what its password or an API key of it gave out."""
    user = add(server, roles=["PUBLISHER"])
    catalog_id = new_catalog_id()
    manifest_id = put_manifest(server, catalog_id)
    token, key = server.token(user), ""
    body = {"name": "ci", "expires_in": max(60, int(lifetime))}
    made = good(server.call("POST", f"/users/{user}/api_keys", user, json=body))
    if by == "api_key":
        key = made["key"]
        token = good(server.call("POST", "/auth/token", json={"api_key": made["secret"]}))["token"]
        if lifetime < 60:
            _shorten(server, key, lifetime)
            token = good(server.call("POST", "/auth/token", json={"api_key": made["secret"]}))["token"]
    grants = [
        good(server.call("POST", "/grants", bearer=token, json={"catalog_id": catalog_id, **more}))["grant"]
        for more in ({"verb": "pull", "version": "1.0"}, {"verb": "push", "version": "2.0", "bases": []})
    ]
    given = Given(server, user, catalog_id, manifest_id, key, token, *grants)
    given.read_url, given.store_url = read_url(server, manifest_id, grants[0]), store_url(server, catalog_id, grants[1])
    assert set(given.answers().values()) == {200}
    return given


def read_url(server: Server, manifest_id: str, bearer: str) -> str:
    """A URL that reads a segment of a manifest, which is there."""
    pack, name = segments_of(server, manifest_id)[0]
    (server.data_dir / "storage/packs" / pack / name).write_bytes(DATA)
    body = {"segments": [{"pack": pack, "sha256": name}]}
    reply = good(server.call("POST", f"/manifests/{manifest_id}/urls", bearer=bearer, json=body))
    return str(reply["urls"][0]["url"])


def store_url(server: Server, catalog_id: str, bearer: str) -> str:
    """A URL that stores DATA in an upload."""
    upload = good(server.call("POST", "/uploads", bearer=bearer, json=address(catalog_id, "2.0")))
    body = {"segments": [{"sha256": sha256(DATA), "size": len(DATA)}]}
    return str(good(server.call("POST", f"/uploads/{upload['id']}/urls", bearer=bearer, json=body))["urls"][0]["url"])


def _shorten(server: Server, key: str, seconds: float) -> None:
    """The API takes a minute at least."""
    with command_work(server.services) as work:
        found = queries.api_key(work.session, key)
        assert found is not None
        found.expires_at = work.in_seconds(seconds)


def revoked(given: Given) -> object:
    return given.server.call("DELETE", f"/api_keys/{given.key}", "admin").raise_for_status()


def expired(_given: Given) -> object:
    return time.sleep(3)


def password_changed(given: Given) -> object:
    return good(edit(given.server, given.user, password=OTHER_PASSWORD))


def own_password_changed(given: Given) -> object:
    return good(edit(given.server, given.user, given.user, password=OTHER_PASSWORD, old_password=PASSWORD))


def disabled(given: Given) -> object:
    return good(edit(given.server, given.user, disabled=True))


def logged_out(given: Given) -> object:
    return given.server.call("POST", f"/users/{given.user}/logout", "admin").raise_for_status()


def logged_out_oneself(given: Given) -> object:
    return given.server.call("POST", f"/users/{given.user}/logout", bearer=given.token).raise_for_status()


def deleted(given: Given) -> object:
    return given.server.call("DELETE", f"/users/{given.user}", "admin").raise_for_status()


def made_again(given: Given) -> object:
    deleted(given)
    return add(given.server, username=given.user, roles=["PUBLISHER"])


ENDS: list[tuple[str, Callable[[Given], object]]] = [
    ("api_key", revoked),
    ("api_key", expired),
    ("api_key", disabled),
    ("api_key", logged_out),
    ("api_key", deleted),
    ("password", password_changed),
    ("password", own_password_changed),
    ("password", disabled),
    ("password", logged_out),
    ("password", logged_out_oneself),
    ("password", deleted),
    ("password", made_again),
]


@pytest.mark.parametrize(("by", "end"), ENDS, ids=[f"{by} {end.__name__}" for by, end in ENDS])
def test_with_its_credential_everything_ends_that_it_gave_out(
    server: Server, by: str, end: Callable[[Given], object]
) -> None:
    given = give(server, by, 3 if end is expired else 3600)
    end(given)
    assert given.answers() == given.ended()


@pytest.mark.parametrize("how", ["one grant", "all grants"])
def test_with_a_grant_its_urls_end(server: Server, how: str) -> None:
    given = give(server, "password")
    for grant in (given.pull, given.push):
        jti = jwt.decode(grant, options={"verify_signature": False})["jti"]
        path = f"/grants/{jti}" if how == "one grant" else "/grants"
        server.call("DELETE", path, given.user).raise_for_status()
    found = given.answers()
    assert (found["read by its URL"], found["store by its URL"], found["list with the token"]) == (403, 403, 200)


def test_a_url_without_a_grant_ends_with_the_login(server: Server) -> None:
    given = give(server, "password")
    url = read_url(server, given.manifest_id, given.token)
    assert httpx.get(url, trust_env=False).status_code == 200
    logged_out(given)
    assert httpx.get(url, trust_env=False).status_code == 403


def test_what_another_credential_gave_out_stays(server: Server) -> None:
    key, password = give(server, "api_key"), give(server, "password")
    good(edit(server, key.user, password=OTHER_PASSWORD))
    assert set(key.answers().values()) == {200}
    other = good(server.call("POST", f"/users/{password.user}/api_keys", "admin", json={"name": "x", "expires_in": 60}))
    server.call("DELETE", f"/api_keys/{other['key']}", "admin").raise_for_status()
    assert set(password.answers().values()) == {200}


def test_what_was_given_out_while_a_log_out_waited_ends_with_it(server: Server) -> None:
    user = add(server, roles=["PUBLISHER"])
    key = good(server.call("POST", f"/users/{user}/api_keys", "admin", json={"name": "ci", "expires_in": None}))
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id)
    wanted = {"verb": "pull", "catalog_id": catalog_id, "version": "1.0"}

    def login() -> str:
        return str(good(server.call("POST", "/auth/token", json={"api_key": key["secret"]}))["token"])

    token = login()
    with command_work(server.services) as work:
        grant = good(server.call("POST", "/grants", bearer=token, json=wanted))["grant"]
        users.end_grants(work, user)
    assert server.call("POST", "/grants/renew", bearer=grant).status_code == 401
    assert server.call("GET", "/me", bearer=token).status_code == 200
    with command_work(server.services) as work:
        token = login()
        users.log_out(work, user)
    assert server.call("GET", "/me", bearer=token).status_code == 401
    assert server.call("GET", "/me", bearer=login()).status_code == 200


def test_no_clock_decides_what_a_log_out_ends(server: Server) -> None:
    given = give(server, "password")
    logged_out(given)
    server.call("DELETE", f"/grants?user={given.user}", "admin").raise_for_status()
    with command_work(server.services) as work:
        # As a replica writes it whose clock is far behind that of the one that gave everything out.
        user = queries.user_called(work.session, given.user)
        assert user is not None
        user.sessions_valid_after = user.grants_valid_after = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    assert 200 not in given.answers().values()


def test_after_logging_out_one_can_log_in(server: Server) -> None:
    given = give(server, "password")
    logged_out(given)
    token = good(server.login(given.user))["token"]
    assert server.call("GET", "/me", bearer=token).status_code == 200


def test_a_user_is_disabled_for_every_credential_and_then_enabled(server: Server) -> None:
    user = add(server)
    new = good(server.call("POST", f"/users/{user}/api_keys", user, json={"name": "x", "expires_in": 60}))
    header = {"X-Api-Key": new["secret"]}
    good(edit(server, user, disabled=True))
    answers = [
        server.login(user),
        server.call("GET", "/me", headers=header),
        server.call("POST", "/auth/token", json={"api_key": new["secret"]}),
    ]
    assert [answer.status_code for answer in answers] == [401] * 3
    good(edit(server, user, disabled=False))
    assert server.call("GET", "/me", headers=header).status_code == 200
    assert server.login(user).status_code == 200


@pytest.mark.parametrize("by", ["admin", "user"])
def test_all_grants_end_and_logins_stay(server: Server, by: str) -> None:
    given = give(server, "password")
    # The use of a grant is written behind its request.
    wait_until(lambda: good(server.call("GET", f"/grants?user={given.user}", "admin"))["pulls"])
    found = good(server.call("GET", f"/grants?user={given.user}", "admin"))
    assert [upload["catalog_id"] for upload in found["uploads"]] == [given.catalog_id]
    assert found["uploads"][0].keys() >= {"id", "version", "architecture", "expires_at"}
    assert found == good(server.call("GET", "/grants", bearer=given.token))
    who = {"by": "admin"} if by == "admin" else {"bearer": given.token}
    path = f"/grants?user={given.user}" if by == "admin" else "/grants"
    server.call("DELETE", path, **who).raise_for_status()
    answers = given.answers()
    assert {name for name, status in answers.items() if status == 200} == {
        "list with the token",
        "grant with the token",
    }
    assert {status for name, status in answers.items() if "token" not in name} == {401, 403}
    # One that is made now is good, in this very second.
    body = {"verb": "pull", "catalog_id": given.catalog_id, "version": "1.0"}
    grant = good(server.call("POST", "/grants", bearer=given.token, json=body))["grant"]
    assert server.call("POST", "/grants/renew", bearer=grant).status_code == 200


def test_a_grant_that_was_used_is_listed_until_it_is_taken_back(server: Server) -> None:
    given = give(server, "password")
    names = [{"pack": pack, "sha256": sha256} for pack, sha256 in segments_of(server, given.manifest_id)]
    url = f"/manifests/{given.manifest_id}/urls"
    good(server.call("POST", url, bearer=given.pull, json={"segments": names}))

    def pulls() -> list[dict[str, str]]:
        return list(good(server.call("GET", f"/grants?user={given.user}", "admin"))["pulls"])

    wait_until(lambda: len(pulls()) == 1)
    (one,) = pulls()
    assert one["manifest_id"] == given.manifest_id
    server.call("DELETE", f"/grants/{one['id']}", "admin").raise_for_status()
    assert pulls() == []
