# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers on PostgreSQL behind nginx, which is configured as the documentation says."""

from __future__ import annotations

import inspect
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
import test_races as races
from ansible_collections.macfleet.parallels.tests.support import certificates, nginx
from catalog_server.models.audit import AuditEntry
from running import MANY_LOGINS, RACES, Server, Template, command, start
from sqlalchemy import select
from test_credentials_end import ENDS, Given, expired, give
from transfer_client import NEXT_FILES, Client, good

pytestmark = pytest.mark.parametrize("template", ["postgresql"], indirect=True, scope="module")


@dataclass
class Replicas:
    """The servers, and the first of them as it is reached through the proxy."""

    servers: tuple[Server, Server]
    front: Server

    def revive(self, number: int) -> None:
        """Start a server again that was killed, where the proxy looks for it."""
        server = self.servers[number]
        server.restart(urlsplit(server.url).port or 0)


@pytest.fixture(name="replicas", scope="module")
def replicas_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Without nginx, what needs it is skipped."""
    directory = tmp_path_factory.mktemp("replicas")
    certificate = certificates.make(directory)
    data_dirs = [directory / "server-1", directory / "server-2"]
    with ExitStack() as stack:
        settings = stack.enter_context(
            template.copied(
                data_dirs[0],
                {"CATALOG_STORAGE_ROOT": str(data_dirs[0] / "storage"), **MANY_LOGINS},
            )
        )
        data_dirs[1].mkdir(mode=0o700)
        # A file of its own on each host, with the same lines
        shutil.copy(data_dirs[0] / "server-secret", data_dirs[1])
        servers = []
        for data_dir in data_dirs:
            servers.append(start(data_dir, settings))
            stack.callback(stop, servers[-1])
        addresses = [urlsplit(server.url).netloc for server in servers]
        try:
            url = stack.enter_context(nginx.running(directory, addresses, certificate))
        except nginx.NoNginx as reason:
            pytest.skip(str(reason))
        front = servers[0].reached_by(url, ssl.create_default_context(cafile=str(certificate.path)))
        yield Replicas((servers[0], servers[1]), front)


def stop(server: Server) -> None:
    if server.process.poll() is None:
        server.stop()
    else:
        server.services.database.close()


def race(test: Callable[..., None], **arguments: object) -> partial[None]:
    """One round of a race, which lacks only its server."""
    return partial(test, _round=0, **arguments)


def audience_moves(before: list[str], after: list[str]) -> partial[None]:
    return race(races.test_a_commit_that_shares_and_an_edit_that_moves_the_audience, before=before, after=after)


def administrators(how: str) -> partial[None]:
    return race(races.test_of_two_administrators_who_remove_each_other_one_stays, how=how)


KINDS = {
    "begins": race(races.test_begins_of_one_user_and_address_are_one_upload),
    "wrong passwords": race(races.test_every_wrong_password_is_counted),
    "downloads": race(races.test_every_download_is_counted_once),
    "pushes": race(races.test_of_pushes_to_one_address_one_wins),
    "versions": race(races.test_versions_pushed_at_once_are_in_an_order_and_latest_follows_it),
    "replacements": race(races.test_of_replacements_of_one_version_one_stays),
    "tags": race(races.test_a_tag_that_many_move_is_at_one_version),
    "wider audience": audience_moves(races.STAFF_ONLY, races.OPEN_TO_ALL),
    "narrower audience": audience_moves(races.OPEN_TO_ALL, races.STAFF_ONLY),
    "end of a base": race(races.test_a_commit_that_shares_and_the_end_of_its_base),
    "administrators who demote": administrators("demote"),
    "administrators who disable": administrators("disable"),
    "administrators who delete": administrators("delete"),
    "users": race(races.test_one_user_and_one_role_of_a_name),
    "collections": race(races.test_a_commit_that_shares_and_a_garbage_collection),
}


def test_every_race_on_a_shared_server_is_run_between_replicas(template: Template) -> None:
    tests = [found for name, found in vars(races).items() if name.startswith("test_")]
    shared = {found for found in tests if "server" in inspect.signature(found).parameters}
    assert shared == {kind.func for kind in KINDS.values()}


@pytest.mark.parametrize("_round", range(RACES))
@pytest.mark.parametrize("kind", KINDS)
def test_races_between_replicas(replicas: Replicas, kind: str, _round: int) -> None:
    KINDS[kind](replicas.front)


def served(server: Server) -> int:
    """How many requests a server has answered so far, but for the probes."""
    return server.log.count('"method"')


def test_both_replicas_are_asked(replicas: Replicas) -> None:
    before = [served(server) for server in replicas.servers]
    for _number in range(10):
        good(replicas.front.call("GET", "/manifests?limit=1", "reader"))
    assert all(served(server) > count for server, count in zip(replicas.servers, before, strict=True))


def at(given: Given, server: Server) -> Given:
    """The same, asked of another replica."""
    address = urlsplit(server.url).netloc
    names = [one.name for one in fields(given) if one.name.endswith("_url")]
    urls = {name: urlsplit(getattr(given, name))._replace(netloc=address).geturl() for name in names}
    return replace(given, server=server, **urls)  # type: ignore[arg-type]


# What takes its time ends everywhere by itself.
AT_ONCE = [(by, end) for by, end in ENDS if end is not expired]


@pytest.mark.parametrize(("by", "end"), AT_ONCE, ids=[f"{by} {end.__name__}" for by, end in AT_ONCE])
def test_what_ends_at_one_replica_has_ended_at_each(
    replicas: Replicas, by: str, end: Callable[[Given], object]
) -> None:
    first, second = replicas.servers
    given = give(first, by)
    answers = at(given, second).answers()
    assert answers == dict.fromkeys(answers, 200)
    end(at(given, second))
    for server in (first, second):
        answers = at(given, server).answers()
        assert answers == {name: 403 if "URL" in name else 401 for name in answers}


def test_a_replica_that_dies_takes_nothing_along(replicas: Replicas) -> None:
    """Every request is answered by the other one: none of these has been begun at the one that is dead."""
    client = Client.of(replicas.front, "pusher")
    catalog_id = f"{races.new_catalog_id()}"
    base = client.push(catalog_id)
    upload_id = good(client.begin(catalog_id, "2.0", bases=[base.id]))["id"]
    pack = races.make_pack(upload_id, NEXT_FILES, base=base.pack)
    urls = good(client.store_urls(upload_id, {name: len(data) for name, data in pack.segments.items()}))["urls"]
    replicas.servers[0].process.kill()
    replicas.servers[0].process.wait()
    try:
        for made in urls:
            good(client.anybody.put(made["url"], content=pack.segments[made["sha256"]]))
        manifest = good(client.commit(upload_id, pack.index))
        names = races.segments_of(replicas.front, manifest["id"])
        for made in good(client.read_urls(manifest["id"], names))["urls"]:
            assert client.anybody.get(made["url"]).status_code == 200
    finally:
        replicas.revive(0)
    assert good(replicas.servers[0].call("GET", f"/manifests/{manifest['id']}", "reader")) == manifest


def lock_out(server: Server, source: str, claimed: str, at_url: str) -> str:
    """Guess from an address of this machine until the name is locked out; the address that the server has noted."""
    name = races.new_catalog_id()
    transport = httpx.HTTPTransport(local_address=source, verify=server.verify)
    with httpx.Client(transport=transport, base_url=at_url, trust_env=False, timeout=30) as client:
        for _attempt in range(server.services.settings.login_attempts):
            body = {"email": name, "password": "a wrong password"}
            reply = client.post("/api/v1/auth/token", json=body, headers={"X-Forwarded-For": claimed})
            assert reply.status_code == 401, reply.text
    with server.services.database.reading() as session:
        newest = select(AuditEntry.details).where(AuditEntry.action == "user.lock_out").order_by(AuditEntry.id.desc())
        return str(session.scalars(newest.limit(1)).one()["address"])


def test_only_the_proxy_says_where_a_client_is(replicas: Replicas) -> None:
    """It comes from 127.0.0.1, which the servers trust; what a client claims is dropped, here and there."""
    front, server = replicas.front, replicas.servers[1]
    assert lock_out(front, "127.0.0.7", "192.0.2.1", front.url) == "127.0.0.7"
    assert lock_out(server, "127.0.0.8", "192.0.2.1", server.url) == "127.0.0.8"


def ready(server: Server) -> int:
    return server.call("GET", "/health/ready").status_code


def test_a_replica_without_the_key_that_signs_is_not_ready(replicas: Replicas) -> None:
    first, second = replicas.servers
    rotated = command(first.data_dir, "key", "rotate", settings=first.settings)
    assert rotated.returncode == 0, rotated.stderr
    races.wait_until(lambda: ready(second) == 503)
    assert "sign with the key" in second.call("GET", "/health/ready").json()["message"]
    assert ready(first) == 200
    shutil.copy(first.data_dir / "server-secret", second.data_dir)
    races.wait_until(lambda: ready(second) == 200)
