# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed URLs of the embedded storage end with what they were made for, at once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest
from catalog_server.models.transfers import Upload
from packs import content, make_pack, sha256
from rows import new_catalog_id, segments_of
from running import Server, command_work, wait_until
from sockets import everything, status_of
from test_objects import Begun
from transfer_client import FILES, NEXT_FILES, Client, Pushed, error, good


class Pulled:
    """A version, and a URL that somebody got to read a segment of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.admin = Client.of(server, "admin")
        self.pusher = Client.of(server, "pusher")
        self.catalog_id = new_catalog_id()
        self.pushed: Pushed = self.pusher.push(self.catalog_id)
        self.segment = next(iter(self.pushed.pack.segments))
        grant = Client.of(server, "reader").granted(server, "pull", self.catalog_id)
        reply = good(grant.read_urls(self.pushed.id, [(self.pushed.upload_id, self.segment)]))
        self.url = str(reply["urls"][0]["url"])
        self.lifetime = int(reply["urls"][0]["expires_in"])

    def get(self) -> httpx.Response:
        return httpx.get(self.url, trust_env=False)


def deleted(pulled: Pulled) -> object:
    return good(pulled.admin.http.delete(f"/manifests/{pulled.pushed.id}"))


def tainted(pulled: Pulled) -> object:
    return good(pulled.admin.http.post(f"/manifests/{pulled.pushed.id}/taint"))


def revoked(pulled: Pulled) -> object:
    return good(pulled.admin.http.post(f"/manifests/{pulled.pushed.id}/revoke"))


def narrowed(pulled: Pulled) -> object:
    return good(pulled.admin.http.patch(f"/manifests/{pulled.pushed.id}", json={"required_roles": ["STAFF"]}))


@pytest.mark.parametrize("end", [deleted, tainted, revoked, narrowed])
def test_a_url_that_reads_ends_with_its_manifest(server: Server, end: Callable[[Pulled], object]) -> None:
    pulled = Pulled(server)
    assert pulled.get().content == pulled.pushed.pack.segments[pulled.segment]
    assert pulled.lifetime <= 900
    end(pulled)
    error(pulled.get(), 403, "forbidden")


def test_a_url_of_replaced_content_is_good_for_running_pulls(server: Server) -> None:
    pulled = Pulled(server)
    pulled.pusher.push(pulled.catalog_id, files=NEXT_FILES, force=True)
    assert pulled.get().content == pulled.pushed.pack.segments[pulled.segment]


def test_a_running_pull_reads_one_content_or_is_told(server: Server) -> None:
    """Between two of its requests the version is replaced: nothing of the new content is taken for the old one."""
    pulled = Pulled(server)
    old, path = pulled.pushed, f"/manifests/{pulled.pushed.id}"
    grant = pulled.pusher.granted(server, "pull", pulled.catalog_id)
    assert grant.http.get(f"{path}/listing").content == old.pack.listing_file
    new = pulled.pusher.push(pulled.catalog_id, files=NEXT_FILES, force=True)
    assert new.id == old.id
    for part in ("listing", "locator"):
        error(grant.http.get(f"{path}/{part}"), 409, "replaced")
        error(pulled.pusher.http.get(f"{path}/{part}", params={"digest": old.pack.digest}), 409, "replaced")
    error(grant.read_urls(old.id, segments_of(server, old.id)), 409, "replaced")
    error(grant.http.post("/grants/renew"), 409, "replaced")
    named = {"digest": new.pack.digest}
    assert pulled.pusher.http.get(f"{path}/listing", params=named).content == new.pack.listing_file


def test_a_taint_that_is_removed_gives_the_url_back(server: Server) -> None:
    pulled = Pulled(server)
    tainted(pulled)
    error(pulled.get(), 403, "forbidden")
    good(pulled.admin.http.post(f"/manifests/{pulled.pushed.id}/untaint"))
    assert pulled.get().status_code == 200


def aborted(begun: Begun) -> object:
    return good(begun.client.http.delete(f"/uploads/{begun.id}"))


def expired(begun: Begun) -> object:
    with command_work(begun.server.services) as work:
        work.session.get_one(Upload, begun.id).expires_at = work.now
    return error(begun.client.store_urls(begun.id, {}), 410, "upload_expired")


def committed(begun: Begun) -> object:
    pack = make_pack(begun.id, FILES)
    begun.client.store(begun.id, pack)
    return good(begun.client.commit(begun.id, pack.index))


@pytest.mark.parametrize("end", [aborted, expired, committed])
def test_a_url_that_stores_ends_with_its_upload(server: Server, end: Callable[[Begun], object]) -> None:
    begun = Begun(server)
    end(begun)
    error(begun.put(), 403, "forbidden")


@pytest.mark.parametrize("end", [aborted, committed])
def test_what_arrives_after_the_end_of_its_upload_is_not_stored(server: Server, end: Callable[[Begun], object]) -> None:
    data = content(9, 20)
    begun = Begun(server, data)
    parts = urlsplit(begun.url)
    with socket.create_connection((parts.hostname, parts.port), 20) as connection:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + data[:-1])
        wait_until(lambda: begun.being_received)
        end(begun)
        connection.sendall(data[-1:])
        assert status_of(everything(connection)) in (403, 404)
    assert sha256(data) not in begun.objects
