# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of an open upload on the segments of its bases: a replaced base keeps them until the upload ends."""

from __future__ import annotations

import typing as t

import pytest
from catalog_server.models.transfers import LeasedSegment, Upload
from packs import HandMade, content, make_pack
from rows import new_catalog_id, segments_of
from running import Server, command_work
from transfer_client import NEXT_FILES, Client, Pushed, error, good, kept_segments

# Nothing in common with what the base had
OTHER_FILES = {"config.pvs": content(20, 1), "disk/data": content(21)}


class Delta:
    """A base, and an open upload that refers to it, with all that is new already stored."""

    def __init__(self, server: Server, by: str = "pusher", **fields: t.Any) -> None:
        self.server = server
        self.client = Client.of(server, by)
        self.fields = fields
        self.catalog_id = new_catalog_id()
        self.base = self.client.push(self.catalog_id, "1.0", **fields)
        self.upload_id, self.pack = self.begin("2.0")

    def begin(self, version: str) -> tuple[str, HandMade]:
        upload_id = good(self.client.begin(self.catalog_id, version, bases=[self.base.id], **self.fields))["id"]
        pack = make_pack(upload_id, NEXT_FILES, base=self.base.pack)
        assert self.kept_by(pack)
        self.client.store(upload_id, pack)
        return upload_id, pack

    def kept_by(self, pack: HandMade) -> set[str]:
        """Segments of the base that a pack refers to."""
        return {segment.sha256 for segment in pack.locator.segments if segment.pack == self.base.upload_id}

    def replace_base(self, files: dict[str, bytes] | None = None, **fields: t.Any) -> Pushed:
        return self.client.push(self.catalog_id, "1.0", files or OTHER_FILES, force=True, **{**self.fields, **fields})

    def commit(self) -> t.Any:
        return self.client.commit(self.upload_id, self.pack.index)

    @property
    def kept(self) -> set[str]:
        """The segments of the base as it was that are not condemned."""
        return kept_segments(self.server, self.base.upload_id)


def leases(server: Server, upload_id: str) -> int:
    with server.services.database.reading() as session:
        return session.query(LeasedSegment).filter_by(upload_id=upload_id).count()


def expire(server: Server, upload_id: str) -> None:
    with command_work(server.services) as work:
        work.session.get_one(Upload, upload_id).expires_at = work.now


def test_a_base_that_was_replaced_meanwhile_can_still_be_shared(server: Server) -> None:
    delta = Delta(server)
    for seed in (30, 31):
        delta.replace_base({"config.pvs": content(seed)})
        assert delta.kept == delta.base.pack.segments.keys()
    manifest = good(delta.commit())
    assert manifest["digest"] == delta.pack.digest
    # From now on it is the new version that keeps what it uses; nothing keeps the rest.
    assert delta.kept == delta.kept_by(delta.pack) < delta.base.pack.segments.keys()
    assert leases(server, delta.upload_id) == 0
    names = segments_of(server, manifest["id"])
    for made in good(delta.client.read_urls(manifest["id"], names))["urls"]:
        assert delta.client.anybody.get(made["url"]).status_code == 200


def test_an_abort_ends_the_lease(server: Server) -> None:
    delta = Delta(server)
    delta.replace_base()
    assert delta.kept
    assert delta.client.http.delete(f"/uploads/{delta.upload_id}").status_code == 204
    assert delta.kept == set()


def test_the_same_content_by_somebody_else_ends_the_lease(server: Server) -> None:
    delta = Delta(server)
    other = Client.of(server, "staff").push(delta.catalog_id, "2.0", NEXT_FILES)
    delta.replace_base()
    assert good(delta.commit()) == other.manifest
    assert delta.kept == set()


def test_an_upload_that_expired_has_no_lease(server: Server) -> None:
    delta = Delta(server)
    expire(server, delta.upload_id)
    delta.replace_base()
    assert delta.kept == set()


@pytest.mark.parametrize("by", ["the same pusher", "another one"])
def test_a_lease_ends_when_the_upload_expires(server: Server, by: str) -> None:
    """It is noticed when something else is let go, or when its pusher begins anew."""
    delta = Delta(server)
    delta.replace_base()
    expire(server, delta.upload_id)
    if by == "the same pusher":
        good(delta.client.begin(delta.catalog_id, "2.0"))
    else:
        other = Client.of(server, "staff")
        good(other.http.delete(f"/uploads/{good(other.begin(new_catalog_id()))['id']}"))
    assert delta.kept == set()
    assert delta.commit().json()["error"] in ("upload_closed", "upload_expired")


def test_a_begin_without_the_base_ends_its_lease(server: Server) -> None:
    delta = Delta(server)
    delta.replace_base()
    good(delta.client.begin(delta.catalog_id, "2.0", bases=[delta.base.id]))
    assert delta.kept == delta.base.pack.segments.keys()
    good(delta.client.begin(delta.catalog_id, "2.0"))
    assert delta.kept == set()


def test_each_upload_has_its_own_lease(server: Server) -> None:
    delta = Delta(server)
    upload_id, pack = delta.begin("3.0")
    delta.replace_base()
    good(delta.client.http.delete(f"/uploads/{delta.upload_id}"))
    assert delta.kept == delta.base.pack.segments.keys()
    good(delta.client.commit(upload_id, pack.index))
    assert delta.kept == delta.kept_by(pack)


def test_a_lease_outlives_another_version_that_used_the_segments(server: Server) -> None:
    delta = Delta(server)
    other = delta.client.push(delta.catalog_id, "1.1", NEXT_FILES, delta.base)
    delta.replace_base()
    assert delta.kept_by(other.pack) <= delta.kept
    delta.client.push(delta.catalog_id, "1.1", OTHER_FILES, force=True)
    assert delta.kept == delta.base.pack.segments.keys()
    good(delta.commit())


def test_only_what_was_leased_before_the_replacement(server: Server) -> None:
    """Whoever begins afterwards has a lease on what the base is then."""
    delta = Delta(server)
    delta.replace_base()
    late = Client.of(server, "pusher")
    upload_id = good(late.begin(delta.catalog_id, "3.0", bases=[delta.base.id]))["id"]
    pack = make_pack(upload_id, NEXT_FILES, base=delta.base.pack)
    late.store(upload_id, pack)
    error(late.commit(upload_id, pack.index), 404, "unknown_segment")
    good(delta.commit())


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("taint", (404, "unknown_segment")),
        ("revoke", (404, "unknown_segment")),
        ("delete", (404, "unknown_segment")),
        # Nobody pushes beside what he cannot see.
        ("hide", (403, "catalog_id_denied")),
    ],
)
def test_a_base_that_may_not_be_pulled_any_more_is_not_shared(
    server: Server, verb: str, answer: tuple[int, str], replaced: bool
) -> None:
    delta = Delta(server)
    admin = Client.of(server, "admin")
    if replaced:
        delta.replace_base()
    path = f"/manifests/{delta.base.id}"
    if verb == "delete":
        good(admin.http.delete(path))
    elif verb == "hide":
        good(admin.http.patch(path, json={"required_roles": ["STAFF"]}))
    else:
        good(admin.http.post(f"{path}/{verb}"))
    error(delta.commit(), *answer)
    # Nothing was let go that the end of the upload does not let go; what nothing but the deleted base used is.
    assert delta.kept == (set() if verb == "delete" and not replaced else delta.base.pack.segments.keys())
    if verb == "taint":
        good(admin.http.post(f"{path}/untaint"))
        good(delta.commit())


def test_a_base_that_was_replaced_for_other_people_is_not_shared(server: Server) -> None:
    delta = Delta(server, "staff", required_roles=["STAFF"])
    delta.replace_base(required_roles=["USER"])
    error(delta.commit(), 404, "unknown_segment")
