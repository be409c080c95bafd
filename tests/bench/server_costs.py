# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What strangers and slow clients make a server hold."""

from __future__ import annotations

import contextlib
import resource
import socket
import typing as t
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import memory_bytes
from ansible_collections.macfleet.parallels.tests.bench.report import AT_LEAST, AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.server_burst import Answer, burst, request, statuses
from ansible_collections.macfleet.parallels.tests.bench.server_memory import Peak, held_bytes, mib
from ansible_collections.macfleet.parallels.tests.bench.server_stand import PASSWORD, USER, ServerStand, login
from ansible_collections.macfleet.parallels.tests.support.hostile_index import CHUNK_SIZE, hostile_index, large_index

REST_MIB = 120
LOGINS_MIB = 200
LOGINS = 64
CONNECTIONS = 256
INDEX_MB = 18
READERS = 1000
READERS_MIB = 300
READER_BYTES = 4096
HEAD_MIB = 300
HEAD_COST_MIB = 2
IDLE = 2000
INDEXES_MIB = 300
_PASSES = 5
_TIMEOUT_SECONDS = 60
_DESCRIPTORS = 8192


def measure_logins(stand: ServerStand) -> None:
    """At rest, and while many log in and many more are connected."""
    reads = [request("GET", path, stand.token) for path in stand.paths]
    burst(stand.url, reads[:10], 1)
    stand.add(Bar("memory at rest", mib(held_bytes(stand.process.pid)), "MiB", AT_MOST, REST_MIB, "10 requests before"))
    kinds = {
        "right": [login(USER, PASSWORD)] * LOGINS,
        "wrong": [login(f"nobody-{number}", PASSWORD) for number in range(LOGINS)],
    }
    for kind, logins in kinds.items():
        stand.say(f"{LOGINS} {kind} logins at once")
        with Peak(stand.process.pid) as peak, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(burst, stand.url, reads * 20, CONNECTIONS)
            answers = burst(stand.url, logins, LOGINS)
            read = statuses(reading.result())
        note = f"logins {statuses(answers)}, {CONNECTIONS} connections that read {read}"
        what = f"memory, {LOGINS} {kind} logins at once"
        after = mib(held_bytes(stand.process.pid))
        stand.add(
            Bar(what, mib(peak.bytes), "MiB", AT_MOST, LOGINS_MIB, note),
            Bar(f"{what}, afterwards", after, "MiB", AT_MOST, LOGINS_MIB),
        )


def measure_slow_readers(stand: ServerStand) -> None:
    """Readers of an index who take a few kilobytes now and then; it is that of the first manifest."""
    stand.say(f"{READERS} slow readers")
    listing = request("GET", f"/api/v1/manifests/{stand.first}/listing", stand.token)
    with Peak(stand.process.pid) as peak, many_descriptors(), contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(stand, READER_BYTES)) for _number in range(READERS)]
        for connection in connections:
            connection.sendall(listing)
        served = sum(connection.recv(READER_BYTES).startswith(b"HTTP/1.1 200") for connection in connections)
        for _pass in range(_PASSES):
            for connection in connections:
                connection.recv(READER_BYTES)
        answer = burst(stand.url, [request("GET", stand.places[0].path, stand.token)], 1)[0]
    note = f"{served} of {READERS} served, GET manifest meanwhile {answer.status} in {answer.seconds:.2f} s"
    what = f"memory, {READERS} slow readers of {INDEX_MB} MB"
    stand.add(Bar(what, mib(peak.bytes), "MiB", AT_MOST, READERS_MIB, note))


def measure_head(stand: ServerStand) -> None:
    """A request whose head does not end."""
    stand.say("a head without end")
    burst(stand.url, [request("GET", stand.places[0].path, stand.token)], 1)
    before = held_bytes(stand.process.pid)
    sent, answer = 0, b""
    with Peak(stand.process.pid) as peak, connect(stand) as connection:
        connection.sendall(b"GET /api/v1/server HTTP/1.1\r\n")
        field = b"X-A: " + b"a" * 60_000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            while sent < HEAD_MIB << 20:
                connection.sendall(field)
                sent += len(field)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    note = f"answered {status} after {mib(sent):.1f} MiB of {HEAD_MIB} were sent"
    stand.add(
        Bar("memory, a head without end", mib(peak.bytes - before), "MiB", AT_MOST, HEAD_COST_MIB, note),
        Bar("a head without end is answered 431", status == 431, "", AT_LEAST, 1.0),
    )


def measure_idle(stand: ServerStand) -> None:
    """Connections that say nothing."""
    stand.say(f"{IDLE} idle connections")
    reads = [request("GET", path, stand.token) for path in stand.paths]
    before = held_bytes(stand.process.pid)
    with many_descriptors(), contextlib.ExitStack() as stack:
        for _number in range(IDLE):
            stack.enter_context(connect(stand))
        answers = burst(stand.url, reads, 4)
        held = held_bytes(stand.process.pid) - before
    good = sum(answer.status == 200 for answer in answers) / len(answers)
    slowest = max(answer.seconds for answer in answers)
    note = f"slowest of {len(answers)} {slowest:.2f} s; {mib(held):.0f} MiB for the connections"
    stand.add(Bar(f"GET manifest, {IDLE} idle connections", good, "succeed", AT_LEAST, 1.0, note))


def measure_indexes(stand: ServerStand) -> None:
    """Commits of an index that is made to fill the memory, twice at once, and of the largest that is allowed."""
    stand.say("hostile indexes")
    index = hostile_index()
    peak, answers = _commits(stand, index, "hostile-a", "hostile-b")
    words = {(answer.status, answer.json().get("error")) for answer in answers}
    note = f"two at once, answered {sorted(words)}: {answers[0].json().get('message', '')}"
    what = f"index of {mib(len(index)):.1f} MiB that needs too much"
    slowest = max(answer.seconds for answer in answers)
    stand.add(
        Bar(f"memory, {what}", peak, "MiB", AT_MOST, INDEXES_MIB, note),
        Bar(f"refused, {what}", words == {(400, "invalid_index")}, "", AT_LEAST, 1.0, f"slowest {slowest:.2f} s"),
    )
    index = large_index()
    peak, answers = _commits(stand, index, "large")
    note = f"answered {answers[0].status} in {answers[0].seconds:.1f} s"
    what = f"memory, index of {mib(len(index)):.1f} MiB that needs {mib(memory_bytes(index)):.0f} MiB"
    stand.add(Bar(what, peak, "MiB", AT_MOST, INDEXES_MIB, note))


def _commits(stand: ServerStand, index: bytes, *catalog_ids: str) -> tuple[float, list[Answer]]:
    """Commit an index to each of these at once; the most memory in MiB, and the answers."""
    commits = [_commit(stand, name, index) for name in catalog_ids]
    with Peak(stand.process.pid) as peak:
        answers = burst(stand.url, commits, len(commits))
    return mib(peak.bytes), answers


def _commit(stand: ServerStand, catalog_id: str, index: bytes) -> bytes:
    body = {"catalog_id": catalog_id, "version": "1", "architecture": "arm64", "type": "pvm", "name": "a.pvm"}
    begin = request("POST", "/api/v1/uploads", stand.admin, {**body, "chunk_size": CHUNK_SIZE})
    upload: dict[str, t.Any] = burst(stand.url, [begin], 1)[0].json()
    path = f"/api/v1/uploads/{upload['id']}/commit?revision={upload['revision']}"
    return request("POST", path, stand.admin, index, "application/octet-stream")


def connect(stand: ServerStand, receive_bytes: int | None = None) -> socket.socket:
    """A connection; ``receive_bytes`` is the size of its receive buffer."""
    parts = urlsplit(stand.url)
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(_TIMEOUT_SECONDS)
    connection.connect((parts.hostname or "", parts.port or 0))
    return connection


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    """Let this process have many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _DESCRIPTORS)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
