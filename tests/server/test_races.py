# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests at once, on both databases: every invariant holds, no answer is 5xx, and none has to be asked again.

``MACFLEET_TEST_RACES`` says how often each kind runs.
"""

from __future__ import annotations

import dataclasses
import datetime
import secrets
import typing as t
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from catalog_server.identity import queries as people
from catalog_server.identity import service as users
from catalog_server.jobs import gc
from catalog_server.jobs.runner import JobKind, new_owner, run
from catalog_server.models.catalog import Manifest, ManifestTag
from catalog_server.models.identity import LoginFailure
from catalog_server.models.transfers import OPEN, Upload
from catalog_server.unit_of_work import Services, utc_now
from clocks import another_time
from invariants import assert_sound
from packs import make_pack
from rows import new_catalog_id, put_manifest, segments_of
from running import PASSWORD, RACES, Server, command_work, wait_until
from sqlalchemy import func, select
from transfer_client import FILES, NEXT_FILES, Client, good, kept_segments

ROUNDS = range(RACES)
THREADS = 12
OPEN_TO_ALL: list[str] = []
STAFF_ONLY = ["STAFF"]

pytestmark = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True, scope="session")


def at_once(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """The answers to requests that begin together; none of them is a failure of the server."""
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = [future.result(60) for future in [pool.submit(call) for call in calls]]
    assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
    return answers


def count(server: Server, statement: t.Any) -> int:
    with server.services.database.reading() as session:
        return int(session.scalar(statement) or 0)


@pytest.mark.parametrize("_round", ROUNDS)
def test_begins_of_one_user_and_address_are_one_upload(server: Server, _round: int) -> None:
    catalog_id, clients = new_catalog_id(), [Client.of(server, "pusher") for _thread in range(THREADS)]
    answers = at_once([lambda client=client: client.begin(catalog_id) for client in clients])
    assert len({good(answer)["id"] for answer in answers}) == 1
    is_open = select(func.count()).where(Upload.catalog_id == catalog_id, Upload.state == OPEN)
    assert count(server, is_open) == 1


@pytest.mark.parametrize("_round", ROUNDS)
def test_every_wrong_password_is_counted(server: Server, _round: int) -> None:
    name = new_catalog_id()
    answers = at_once([lambda: server.login(name, "a wrong password")] * 9)
    assert {answer.status_code for answer in answers} == {401}
    with server.services.database.reading() as session:
        assert 9 in session.scalars(select(LoginFailure.failures)).all()
    assert server.login(name, "a wrong password").status_code == 401
    assert server.login(name, PASSWORD).status_code == 429


@pytest.mark.parametrize("_round", ROUNDS)
def test_every_download_is_counted_once(server: Server, _round: int) -> None:
    reader = Client.of(server, "reader")
    manifest_id, later = put_manifest(server), put_manifest(server)
    grants = granted(server, reader, manifest_id)
    at_once(downloads(server, grants * 3, manifest_id))
    # Each process counts in the order in which it was asked, behind its answers.
    at_once(downloads(server, granted(server, reader, later), later))
    wait_until(lambda: reader.manifest(later)["download_count"] == THREADS)
    assert reader.manifest(manifest_id)["download_count"] == THREADS


def granted(server: Server, client: Client, manifest_id: str) -> list[Client]:
    """The same client, with many grants for a version."""
    catalog_id = client.manifest(manifest_id)["catalog_id"]
    return [client.granted(server, "pull", catalog_id) for _thread in range(THREADS)]


def downloads(server: Server, grants: Sequence[Client], manifest_id: str) -> list[Callable[[], httpx.Response]]:
    """Requests for the URLs of a version, one by each of the grants."""
    names = segments_of(server, manifest_id)
    return [lambda grant=grant: grant.read_urls(manifest_id, names) for grant in grants]


@pytest.mark.parametrize("_round", ROUNDS)
def test_of_pushes_to_one_address_one_wins(server: Server, _round: int) -> None:
    catalog_id = new_catalog_id()
    commits = []
    for name, files in (("pusher", FILES), ("staff", NEXT_FILES), ("admin", {"config.pvs": b"other"})):
        client = Client.of(server, name)
        upload_id = good(client.begin(catalog_id))["id"]
        pack = make_pack(upload_id, files)
        client.store(upload_id, pack)
        commits += [lambda client=client, upload_id=upload_id, pack=pack: client.commit(upload_id, pack.index)] * 4
    answers = at_once(commits)
    assert {answer.status_code for answer in answers} == {200, 409}
    digests = {good(answer)["digest"] for answer in answers if answer.status_code == 200}
    assert len(digests) == 1
    assert count(server, select(func.count()).where(Manifest.catalog_id == catalog_id)) == 1
    assert_sound(server, catalog_id)


@pytest.mark.parametrize("_round", ROUNDS)
def test_versions_pushed_at_once_are_in_an_order_and_latest_follows_it(server: Server, _round: int) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    commits = []
    for number in range(6):
        upload_id = good(admin.begin(catalog_id, f"1.{number}"))["id"]
        pack = make_pack(upload_id, {"config.pvs": str(number).encode()})
        admin.store(upload_id, pack)
        commits.append(lambda upload_id=upload_id, pack=pack: admin.commit(upload_id, pack.index))
    for answer in at_once(commits):
        good(answer)
    with server.services.database.reading() as session:
        numbers = session.scalars(select(Manifest.push_number).where(Manifest.catalog_id == catalog_id)).all()
        latest = session.scalars(select(ManifestTag.manifest_id).where(ManifestTag.catalog_id == catalog_id)).one()
        assert session.get_one(Manifest, latest).version == "1.5"
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert_sound(server, catalog_id)


@pytest.mark.parametrize("_round", ROUNDS)
def test_of_replacements_of_one_version_one_stays(server: Server, _round: int) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    before = admin.push(catalog_id)
    commits, packs = [], {}
    for number, name in enumerate(("pusher", "staff", "admin")):
        client = Client.of(server, name)
        upload_id = good(client.begin(catalog_id, force=True))["id"]
        pack = packs[upload_id] = make_pack(upload_id, {"config.pvs": str(number).encode()})
        client.store(upload_id, pack)
        commits += [lambda client=client, upload_id=upload_id, pack=pack: client.commit(upload_id, pack.index)] * 3
    for answer in at_once(commits):
        # The same commit again, when another one has replaced what it made
        assert answer.status_code == 200 or answer.json()["error"] == "upload_closed", answer.text
    now = admin.manifest(before.id)
    assert now["digest"] in {pack.digest for pack in packs.values()}
    assert count(server, select(func.count()).where(Manifest.catalog_id == catalog_id)) == 1
    assert_sound(server, catalog_id)
    # Nobody keeps what was replaced.
    kept = [kept_segments(server, name) for name in (before.upload_id, *packs)]
    assert sorted(len(names) for names in kept) == [0, 0, 0, 1]


@pytest.mark.parametrize("_round", ROUNDS)
def test_a_tag_that_many_move_is_at_one_version(server: Server, _round: int) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    versions = [put_manifest(server, catalog_id, f"1.{number}") for number in range(4)]
    tags = ["stable", "testing"]
    edits = [
        lambda one=one, names=names: admin.http.patch(f"/manifests/{one}", json={"tags": names})
        for one in versions
        for names in (tags, tags[:1], [])
    ]
    upload_id = good(admin.begin(catalog_id, "2.0", tags=tags))["id"]
    pack = make_pack(upload_id, FILES)
    admin.store(upload_id, pack)
    answers = at_once(
        [*edits, lambda: admin.commit(upload_id, pack.index), lambda: admin.http.delete(f"/manifests/{versions[0]}")]
    )
    assert {answer.status_code for answer in answers} <= {200, 404}
    listed = good(admin.http.get(f"/manifests?catalog_id={catalog_id}"))["manifests"]
    named = [tag for manifest in listed for tag in manifest["tags"]]
    assert len(named) == len(set(named))
    assert [manifest["version"] for manifest in listed if "latest" in manifest["tags"]] == ["2.0"]


@pytest.mark.parametrize("_round", ROUNDS)
@pytest.mark.parametrize(("before", "after"), [(STAFF_ONLY, OPEN_TO_ALL), (OPEN_TO_ALL, STAFF_ONLY)])
def test_a_commit_that_shares_and_an_edit_that_moves_the_audience(
    server: Server, before: list[str], after: list[str], _round: int
) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    base = admin.push(catalog_id, required_roles=before)
    upload_id = good(admin.begin(catalog_id, "2.0", bases=[base.id], required_roles=before))["id"]
    pack = make_pack(upload_id, NEXT_FILES, base=base.pack)
    admin.store(upload_id, pack)
    answers = at_once(
        [
            lambda: admin.commit(upload_id, pack.index),
            lambda: admin.http.patch(f"/manifests/{base.id}", json={"required_roles": after}),
        ]
    )
    assert 200 in {answer.status_code for answer in answers}
    assert_sound(server, catalog_id)


@pytest.mark.parametrize("_round", ROUNDS)
def test_a_commit_that_shares_and_the_end_of_its_base(server: Server, _round: int) -> None:
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    base = admin.push(catalog_id)
    upload_id = good(admin.begin(catalog_id, "2.0", bases=[base.id]))["id"]
    pack = make_pack(upload_id, NEXT_FILES, base=base.pack)
    admin.store(upload_id, pack)
    replacement = good(admin.begin(catalog_id, "1.0", force=True))["id"]
    other = make_pack(replacement, {"config.pvs": b"other"})
    admin.store(replacement, other)
    at_once(
        [
            lambda: admin.commit(upload_id, pack.index),
            lambda: admin.commit(replacement, other.index),
            lambda: admin.http.delete(f"/manifests/{base.id}"),
            lambda: admin.begin(catalog_id, "3.0", bases=[]),
        ]
    )
    assert_sound(server, catalog_id)


@pytest.mark.parametrize("_round", ROUNDS)
@pytest.mark.parametrize("how", ["demote", "disable", "delete"])
def test_of_two_administrators_who_remove_each_other_one_stays(server: Server, how: str, _round: int) -> None:
    names = [f"admin-{secrets.token_hex(6)}" for _number in range(2)]
    tokens = []
    for name in names:
        body = {"username": name, "password": PASSWORD, "roles": ["SUPER_USER"]}
        assert server.call("POST", "/users", "admin", json=body).status_code == 201
        tokens.append(good(server.login(name))["token"])
    # Now the two are the last ones.
    demoted = server.call("PATCH", "/users/admin", bearer=tokens[0], json={"disabled": True})
    assert demoted.status_code == 200
    try:
        answers = at_once([lambda one=one: remove(server, names[one], tokens[1 - one], how) for one in (0, 1)])
        assert sorted(answer.is_success for answer in answers) == [False, True], [one.text for one in answers]
        # The other one lost the right, or the credentials, or was the last.
        assert next(one.status_code for one in answers if not one.is_success) in {401, 403, 409}
    finally:
        with command_work(server.services) as work:
            users.set_fields(work, "admin", disabled=False)
    with command_work(server.services) as work:
        left = [user for user in people.users(work.session) if user.username in names and user.disabled_at is None]
        assert [user.username for user in left if "SUPER_USER" in {role.name for role in user.roles}]
        for user in left:
            users.delete(work, user.username)


def remove(server: Server, name: str, token: str, how: str) -> httpx.Response:
    if how == "delete":
        return server.call("DELETE", f"/users/{name}", bearer=token)
    edit = {"roles": ["USER"]} if how == "demote" else {"disabled": True}
    return server.call("PATCH", f"/users/{name}", bearer=token, json=edit)


@pytest.mark.parametrize("_round", ROUNDS)
def test_administrators_who_step_down_at_once_leave_one(start_server: Callable[..., Server], _round: int) -> None:
    server = start_server()
    names = ["admin", *(f"admin-{number}" for number in range(3))]
    for name in names[1:]:
        body = {"username": name, "password": PASSWORD, "roles": ["SUPER_USER"]}
        assert server.call("POST", "/users", "admin", json=body).status_code == 201
    tokens = {name: server.token(name) for name in names}
    answers = at_once([lambda name=name: remove(server, name, tokens[name], "demote") for name in names])
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 409]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 409} == {"last_administrator"}


@pytest.mark.parametrize("_round", ROUNDS)
def test_one_user_and_one_role_of_a_name(server: Server, _round: int) -> None:
    name, role = f"user-{secrets.token_hex(6)}", f"ROLE_{secrets.token_hex(6).upper()}"
    body = {"username": name, "roles": [role]}
    answers = at_once([lambda: server.call("POST", "/users", "admin", json=body)] * THREADS)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (THREADS - 1)
    puts = at_once(
        [lambda: server.call("PUT", f"/catalog_ids/{name}", "admin", json={"push_roles": [f"{role}_X"]})] * THREADS
    )
    assert sorted(answer.json()["changed"] for answer in puts) == [False] * (THREADS - 1) + [True]


@pytest.mark.parametrize("_round", ROUNDS)
def test_a_commit_that_shares_and_a_garbage_collection(server: Server, _round: int) -> None:
    """The collections think that it is an hour later: what is condemned before them is swept."""
    catalog_id, admin = new_catalog_id(), Client.of(server, "admin")
    base = admin.push(catalog_id)
    kept = admin.push(catalog_id, "1.1", NEXT_FILES, base)
    upload_id = good(admin.begin(catalog_id, "2.0", bases=[base.id, kept.id]))["id"]
    pack = make_pack(upload_id, {**FILES, "more": b"more"}, base=base.pack)
    admin.store(upload_id, pack)
    replacement = good(admin.begin(catalog_id, "1.0", force=True))["id"]
    other = make_pack(replacement, {"config.pvs": b"other"})
    admin.store(replacement, other)
    later = dataclasses.replace(server.services, clock=lambda: utc_now() + datetime.timedelta(hours=1))
    with ThreadPoolExecutor(2) as pool:
        collections = [pool.submit(collect, later, f"race-{number}") for number in range(2)]
        at_once(
            [
                lambda: admin.commit(upload_id, pack.index),
                lambda: admin.commit(replacement, other.index),
                lambda: admin.http.delete(f"/manifests/{kept.id}"),
                lambda: admin.http.delete(f"/manifests/{base.id}"),
            ]
        )
        for one in collections:
            one.result(60)
    collect(later, "race-0")
    assert_sound(server, catalog_id)
    # What has a row has an object, and the reverse.
    for pushed in (base, kept):
        kept_segments(server, pushed.upload_id)


def collect(services: Services, name: str) -> None:
    """Collect garbage as a job of its own: two at once, as if one of them had been too slow for its lease."""
    with another_time(services):
        assert run(services, JobKind(name, "a test", 0, gc.work), new_owner()) is not None, "another one runs"
