# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded object store of a real server, by URLs that the server signed and by spoilt ones."""

from __future__ import annotations

import http.client
import socket
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from catalog_server.storages.base import UrlRequest
from catalog_server.storages.signing import GET, PUT, Permit, object_signer
from catalog_server.transfers import holders
from conftest import StartServer
from packs import content, sha256
from rows import holder_of, new_catalog_id
from running import Server, wait_until
from sockets import open_files_below
from transfer_client import Client, error, good, objects

DATA = content(1)
NAME = sha256(DATA)


class Begun:
    """An open upload with a URL that stores DATA."""

    def __init__(self, server: Server, data: bytes = DATA) -> None:
        self.server = server
        self.client = Client.of(server, "pusher")
        self.id = good(self.client.begin(new_catalog_id()))["id"]
        self.url = good(self.client.store_urls(self.id, {sha256(data): len(data)}))["urls"][0]["url"]

    def put(self, data: bytes = DATA) -> httpx.Response:
        return httpx.put(self.url, content=data, trust_env=False)

    def read_url(self) -> str:
        """A URL that reads what was stored."""
        (segment,) = good(self.client.http.get(f"/uploads/{self.id}"))["segments"]
        return str(segment["url"])

    @property
    def objects(self) -> set[str]:
        return objects(self.server, self.id)

    @property
    def being_received(self) -> list[str]:
        """The files of its pack that the server has open; they have temporary names."""
        return open_files_below(self.server, self.server.data_dir / "storage/packs" / self.id)


@pytest.fixture(name="begun")
def begun_fixture(server: Server) -> Begun:
    return Begun(server)


def changed(url: str, **query: str | None) -> str:
    """The URL with other values in its query; None takes one out."""
    parts = urlsplit(url)
    values = {**dict(parse_qsl(parts.query)), **query}
    return parts._replace(
        query=urlencode({name: value for name, value in values.items() if value is not None})
    ).geturl()


def get(url: str, wanted: str | None = None) -> httpx.Response:
    return httpx.get(url, headers={"Range": wanted} if wanted else {}, trust_env=False)


def test_stores_and_reads(begun: Begun) -> None:
    assert begun.put().status_code == 200
    assert begun.objects == {NAME}
    url = begun.read_url()
    everything = get(url)
    assert (everything.status_code, everything.content) == (200, DATA)
    assert everything.headers["accept-ranges"] == "bytes"
    assert "content-encoding" not in everything.headers
    part = get(url, "bytes=100-199")
    assert (part.status_code, part.content) == (206, DATA[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
    assert get(url, "bytes=-7").content == DATA[-7:]
    head = httpx.head(url, trust_env=False)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")
    nothing = get(url, f"bytes={len(DATA)}-")
    assert (nothing.status_code, nothing.headers["content-range"]) == (416, f"bytes */{len(DATA)}")


def test_reads_more_than_a_block(server: Server) -> None:
    data = content(5, 80)
    begun = Begun(server, data)
    assert begun.put(data).status_code == 200
    url = begun.read_url()
    assert get(url).content == data
    assert get(url, "bytes=1-4999999").content == data[1:5000000]


def test_storing_the_same_again_changes_nothing(begun: Begun) -> None:
    assert begun.put().status_code == 200
    assert begun.put().status_code == 200
    assert begun.objects == {NAME}
    assert get(begun.read_url()).content == DATA


def test_other_bytes_do_not_become_the_object(begun: Begun) -> None:
    flipped = bytes([DATA[0] ^ 1]) + DATA[1:]
    message = error(begun.put(flipped), 400, "bad_request")
    assert "SHA-256" in message
    assert begun.objects == set()
    assert begun.put().status_code == 200
    error(begun.put(flipped), 400, "bad_request")
    assert get(begun.read_url()).content == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_another_length_does_not_become_the_object(begun: Begun, data: bytes) -> None:
    error(begun.put(data), 400, "bad_request")
    assert begun.objects == set()


def test_a_length_must_be_said(begun: Begun) -> None:
    chunked = httpx.put(begun.url, content=iter([DATA]), trust_env=False)
    error(chunked, 400, "bad_request")
    assert begun.objects == set()


def test_a_body_that_breaks_off_leaves_nothing(begun: Begun) -> None:
    parts = urlsplit(begun.url)
    with socket.create_connection((parts.hostname, parts.port), 10) as connection:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
        connection.sendall(head.encode() + DATA[:-1])
        wait_until(lambda: begun.objects)
        (incoming,) = begun.objects
        assert incoming.startswith(".")
    wait_until(lambda: not begun.objects)


def test_a_reader_that_leaves_does_no_harm(server: Server) -> None:
    data = content(6, 200)
    begun = Begun(server, data)
    begun.put(data)
    parts = urlsplit(begun.read_url())
    with socket.create_connection((parts.hostname, parts.port), 10) as connection:
        connection.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(20).startswith(b"HTTP/1.1 200")
    assert get(begun.read_url()).content == data


def test_a_url_opens_one_thing_only(server: Server, begun: Begun) -> None:
    begun.put()
    url = begun.read_url()
    other = begun.url.replace(NAME, sha256(b"other"))
    for spoilt in (
        changed(url, expires="99999999999"),
        changed(url, signature="0" * 64),
        changed(url, signature="ä"),
        changed(url, method="PUT"),
        changed(url, **{"for": holder_of(server, holders.UPLOAD, "0" * 32)}),
        url.replace("/objects/local/", "/objects/other/"),
        url.replace(NAME, f"{NAME}.listing"),
        begun.url,
        changed(begun.url, method="GET"),
    ):
        error(get(spoilt), 403, "forbidden")
    for spoilt in (
        changed(url, method="PUT", size=str(len(DATA))),
        changed(begun.url, expires="99999999999"),
        changed(begun.url, size=str(len(DATA) + 1)),
        other,
    ):
        error(httpx.put(spoilt, content=DATA, trust_env=False), 403, "forbidden")
    assert begun.objects == {NAME}


@pytest.mark.parametrize("name", ["expires", "signature", "method", "for"])
def test_a_url_must_be_whole(begun: Begun, name: str) -> None:
    error(get(changed(begun.url, **{name: None})), 400, "bad_request")
    error(httpx.put(changed(begun.url, **{name: None}), content=DATA, trust_env=False), 400, "bad_request")


def test_credentials_do_not_replace_a_signature(server: Server, begun: Begun) -> None:
    begun.put()
    admin = Client.of(server, "admin")
    error(admin.http.get(changed(begun.read_url(), signature="0")), 403, "forbidden")


def test_other_methods_are_not_known(begun: Begun) -> None:
    for method in ("POST", "DELETE", "PATCH"):
        error(httpx.request(method, begun.url, trust_env=False), 405, "method_not_allowed")


def test_an_object_that_is_not_there(server: Server, begun: Begun) -> None:
    signer = object_signer(server.keys)
    expires = int(time.time()) + 60
    for key in (f"packs/{begun.id}/{NAME}", f"packs/{begun.id}", "packs", "../catalog.db", "packs/../../catalog.db"):
        holder = holder_of(server, holders.UPLOAD, begun.id)
        signature = signer.signature(Permit(GET, "local", key, expires, holder))
        query = urlencode({"method": GET, "expires": expires, "for": holder, "signature": signature})
        parts = urlsplit(server.url)
        # An ordinary client would resolve the dots itself.
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0)
        connection.request("GET", f"/api/objects/local/{key}?{query}")
        assert connection.getresponse().status == 404
        connection.close()


def test_no_key_leads_out_of_the_storage(server: Server, begun: Begun) -> None:
    data = b"that nobody else stores"
    name = sha256(data)
    signer = object_signer(server.keys)
    expires = int(time.time()) + 60
    for key in (f"../{name}", f"packs/../../{name}", f"packs/.hidden/{name}", f"/etc/{name}"):
        holder = holder_of(server, holders.UPLOAD, begun.id)
        signature = signer.signature(Permit(PUT, "local", key, expires, holder, len(data)))
        said = {"method": PUT, "expires": expires, "size": len(data), "for": holder, "signature": signature}
        query = urlencode(said)
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0)
        connection.request("PUT", f"/api/objects/local/{key}?{query}", data)
        assert connection.getresponse().status == 400
        connection.close()
    assert not list(server.data_dir.parent.rglob(name))


def test_urls_expire(server: Server, begun: Begun) -> None:
    begun.put()
    settings = server.services.settings
    past = server.services.clock().replace(year=2020)
    request = UrlRequest(
        f"{server.url}/api/v1", past, settings.get_url_seconds, holder_of(server, holders.UPLOAD, begun.id)
    )
    signed = server.services.storages.get("local").presign_get(f"packs/{begun.id}/{NAME}", request)
    error(get(signed.url), 403, "forbidden")


def test_urls_that_store_live_at_most_a_quarter_of_an_hour(server: Server) -> None:
    begun = Begun(server)
    made = good(begun.client.store_urls(begun.id, {NAME: len(DATA)}))["urls"][0]
    assert 0 < made["expires_at"] - time.time() <= 900
    assert made["headers"] == {} and made["expires_in"] == 900


def test_urls_follow_the_public_url(start_server: StartServer) -> None:
    server = start_server(CATALOG_PUBLIC_URL="https://catalog.example.com/images")
    assert Begun(server).url.startswith("https://catalog.example.com/images/api/v1/objects/local/packs/")


def test_signatures_do_not_get_into_the_log(server: Server, begun: Begun) -> None:
    reply = begun.put()
    signature = dict(parse_qsl(urlsplit(begun.url).query))["signature"]
    assert server.line_of(reply)["path"].endswith(NAME)
    assert signature not in server.log
