# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many requests at once, each of them once, over connections that are kept."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
import typing as t
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 60
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CLOSE = re.compile(rb"(?i)\r\nconnection: *close")


@dataclass(frozen=True)
class Answer:
    """An answer and how long it took; the status is 0 if there was none."""

    status: int
    seconds: float
    body: bytes

    def json(self) -> t.Any:
        """The body."""
        return json.loads(self.body)


def request(
    method: str, path: str, token: str | None = None, body: t.Any = None, kind: str = "application/json"
) -> bytes:
    """Encode a request; a body that is no bytes becomes JSON."""
    head = [f"{method} {path} HTTP/1.1", "Host: bench", "Accept: */*"]
    if token is not None:
        head.append(f"Authorization: Bearer {token}")
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head += [f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*head, "", ""]).encode() + data


def burst(
    url: str, requests: t.Sequence[bytes], connections: int, sources: t.Sequence[str] = ("127.0.0.1",)
) -> list[Answer]:
    """Send every request once, over so many connections from these addresses in turn; answers in the same order."""
    return asyncio.run(_burst(url, requests, connections, sources))


async def _burst(url: str, requests: t.Sequence[bytes], connections: int, sources: t.Sequence[str]) -> list[Answer]:
    todo = iter(enumerate(requests))
    found: dict[int, Answer] = {}

    async def work(source: str) -> None:
        connection = Connection(url, source)
        await connection.open()
        for number, data in todo:
            found[number] = await connection.ask(data)
        connection.close()

    await asyncio.gather(*(work(source) for source in itertools.islice(itertools.cycle(sources), connections)))
    return [found[number] for number in range(len(requests))]


class Connection:
    """One connection, opened again when the server has closed it."""

    def __init__(self, url: str, source: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._source = source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect, if it is not connected."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, local_addr=(self._source, 0))

    async def ask(self, data: bytes) -> Answer:
        """Send one request; the time begins with it, and with its connection if there is none."""
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                status, body = await self._exchange(data)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            status, body = 0, repr(error).encode()
        return Answer(status, time.perf_counter() - begun, body)

    async def _exchange(self, data: bytes) -> tuple[int, bytes]:
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length.group(1))) if length else b""
        if _CLOSE.search(head):
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Leave it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def statuses(answers: t.Iterable[Answer]) -> dict[int, int]:
    """How often there was which status."""
    counts: dict[int, int] = {}
    for answer in answers:
        counts[answer.status] = counts.get(answer.status, 0) + 1
    return counts
