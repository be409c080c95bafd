# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real little HTTP server that holds objects, and can be told to go wrong."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import threading
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl

Fault = t.Callable[["Handler"], bool]


class Handler(http.server.BaseHTTPRequestHandler):
    """GET with one range, and PUT. A fault runs first and says whether the request is dealt with."""

    protocol_version = "HTTP/1.1"
    server: StorageServer

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers.items())))
        self.server.clients.append(self.client_address)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is not None and fault(self):
            return
        if self.command == "PUT":
            self._store()
            return
        data = self.server.objects.get(self.path.partition("?")[0])
        if data is None:
            self.answer(404)
            return
        first, last = self.range()
        self.answer(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

    def _store(self) -> None:
        body = self.body()
        if len(body) < int(self.headers["Content-Length"]):
            # It was cut short: a storage takes an object as a whole.
            self.hang_up()
            return
        self.server.objects[self.path.partition("?")[0]] = body
        self.answer(200)

    def range(self) -> tuple[int, int]:
        match = re.match(r"bytes=(\d+)-(\d+)\Z", self.headers["Range"])
        assert match
        return int(match[1]), int(match[2])

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, body: bytes = b"", headers: t.Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        # The other side may have closed it already.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing."""


class StorageServer(http.server.ThreadingHTTPServer):
    """``faults`` are taken one a request; ``seen`` and ``clients`` say what came, and from which port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault | None] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.clients: list[tuple[str, int]] = []
        self.released = threading.Event()
        self.handlers: list[threading.Thread] = []

    def finish(self) -> None:
        """Wait until every connection that came so far is dealt with."""
        for thread in list(self.handlers):
            thread.join()

    def process_request_thread(self, request: t.Any, client_address: t.Any) -> None:
        """Remember the thread of a connection."""
        self.handlers.append(threading.current_thread())
        super().process_request_thread(request, client_address)

    @property
    def connections(self) -> int:
        return len(set(self.clients))

    def url(self, key: str, query: str = "signature=s3cret", headers: t.Mapping[str, str] | None = None) -> SignedUrl:
        return SignedUrl(f"http://127.0.0.1:{self.server_port}/{key}?{query}", 3600.0, headers or {})


@contextlib.contextmanager
def serving() -> t.Iterator[StorageServer]:
    """A server in a thread of its own."""
    with StorageServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def short_body(kept: int) -> Fault:
    """Announce everything, send ``kept`` bytes, hang up."""

    def fault(handler: Handler) -> bool:
        first, last = handler.range()
        data = handler.server.objects[handler.path.partition("?")[0]]
        handler.send_response(206)
        handler.send_header("Content-Length", str(last - first + 1))
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[first : first + kept])
        handler.wfile.flush()
        handler.hang_up()
        return True

    return fault


def stall(handler: Handler) -> bool:
    """Take the request and say nothing until the test is over."""
    handler.server.released.wait(10)
    handler.hang_up()
    return True


def status(code: int, body: bytes = b"no", **headers: str) -> Fault:
    """Answer with a status, having read a body if there is one."""

    def fault(handler: Handler) -> bool:
        if handler.command == "PUT":
            handler.body()
        handler.answer(code, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def close_afterwards(handler: Handler) -> bool:
    """Serve, and close the connection without having said so."""
    handler.close_connection = True
    return False


def hang_up(handler: Handler) -> bool:
    """Close the connection instead of an answer."""
    handler.hang_up()
    return True
