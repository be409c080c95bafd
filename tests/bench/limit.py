# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this machine allows: the bytes of a push or a pull moved by plain loops in as many threads as cores.

Same codec library and level, same server, connections of the same kind, same destination as the modules. No plan, no
order, no resume, no checks of the bundle, no index. Of the collection it uses the decoder of the index alone, outside
the measured time, to know which ranges there are. The token is taken
from the environment variable MACFLEET_CATALOG_TOKEN. Prints JSON.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import http.client
import itertools
import json
import os
import threading
import time
import typing as t
import urllib.request
import zlib
from urllib.parse import urlsplit

SEGMENT_BYTES = 32 << 20
READ_BYTES = 8 << 20
RANGE_BYTES = 8 << 20
DEFLATE, ZSTD = 1, 2

Encode = t.Callable[[memoryview], bytes]
Decode = t.Callable[[memoryview, int], bytes]


def zlib_codec(level: int) -> tuple[int, Encode, Decode]:
    """Deflate by the standard library."""

    def encode(data: memoryview) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8)
        return compressor.compress(data) + compressor.flush()

    return DEFLATE, encode, lambda data, length: zlib.decompress(data, -15, length)


def isal_codec(level: int) -> tuple[int, Encode, Decode]:
    """Deflate by ISA-L."""
    from isal import igzip_lib

    form, inverse = igzip_lib.COMP_DEFLATE, igzip_lib.DECOMP_DEFLATE
    return (
        DEFLATE,
        # The levels that give the same bytes from run to run, as the modules use them.
        lambda data: igzip_lib.compress(data, 0 if level < 2 else 3, form),
        lambda data, length: igzip_lib.decompress(data, inverse, 15, length),
    )


def zstandard_codec(level: int) -> tuple[int, Encode, Decode]:
    """zstd; its objects belong to one thread each."""
    import zstandard

    local = threading.local()

    def encode(data: memoryview) -> bytes:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=level)
        return local.compressor.compress(data)

    def decode(data: memoryview, length: int) -> bytes:
        if not hasattr(local, "decompressor"):
            local.decompressor = zstandard.ZstdDecompressor()
        return local.decompressor.decompress(data, max_output_size=length)

    return ZSTD, encode, decode


CODECS = {"zlib": zlib_codec, "isal": isal_codec, "zstandard": zstandard_codec}


class Server:
    """JSON over one connection a request; what is measured does not go through it, but for the URLs."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def ask(self, method: str, path: str, body: t.Any = None, token: str | None = None) -> t.Any:
        """One request of the native API; bytes where the answer is no JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token or self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/api/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = response.read()
            return json.loads(answer) if answer and "json" in response.headers.get("Content-Type", "") else answer


class Connections(threading.local):
    """One kept connection for each thread."""

    connection: http.client.HTTPConnection | None = None

    def send(self, method: str, url: str, body: t.Any, headers: t.Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a request to a signed URL."""
        parts = urlsplit(url)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self.connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers))
        response = self.connection.getresponse()
        if response.status not in (200, 201, 204, 206):
            raise OSError(f"{method} answered {response.status}")
        return response


def push(arguments: argparse.Namespace, server: Server) -> dict[str, t.Any]:
    """Read, zero test, SHA-256, encode, PUT in objects of about 32 MiB."""
    used_codec, encode, _decode = CODECS[arguments.provider](arguments.level)
    wanted = {"catalog_id": arguments.catalog_id, "version": arguments.version, "architecture": "arm64"}
    grant = server.ask("POST", "grants", {"verb": "push", **wanted})["grant"]
    shape = {"type": "macvm", "name": "limit.macvm", "chunk_size": arguments.chunk_size, "bases": []}
    upload = server.ask("POST", "uploads", {**wanted, **shape}, grant)["id"]
    connections = Connections()
    size = os.path.getsize(arguments.path)
    offsets = itertools.count(0, READ_BYTES)
    lock = threading.Lock()
    seen: set[bytes] = set()
    totals = {"encoded": 0, "chunks": 0, "raw": 0}

    def put(parts: list[bytes]) -> None:
        data = b"".join(parts)
        name = hashlib.sha256(data).hexdigest()
        body = {"segments": [{"sha256": name, "size": len(data)}]}
        url = server.ask("POST", f"uploads/{upload}/urls", body, grant)["urls"][0]
        headers = {"Content-Type": "application/octet-stream", **url["headers"]}
        connections.send("PUT", url["url"], data, headers).read()

    def work(descriptor: int) -> None:
        buffer = memoryview(bytearray(READ_BYTES))
        zeros = bytearray(arguments.chunk_size)
        parts: list[bytes] = []
        waiting = encoded_bytes = count = raw = 0
        while True:
            with lock:
                offset = next(offsets)
            if offset >= size:
                break
            there = os.preadv(descriptor, [buffer], offset)
            for at in range(0, there, arguments.chunk_size):
                chunk = buffer[at : min(at + arguments.chunk_size, there)]
                if zeros == chunk:
                    continue
                identity = hashlib.sha256(chunk).digest()
                if identity in seen:
                    continue
                seen.add(identity)
                encoded = encode(chunk)
                parts.append(encoded)
                waiting += len(encoded)
                count += 1
                raw += len(chunk)
            if waiting >= SEGMENT_BYTES:
                put(parts)
                encoded_bytes, waiting, parts = encoded_bytes + waiting, 0, []
        if parts:
            put(parts)
        with lock:
            totals["encoded"] += encoded_bytes + waiting
            totals["chunks"] += count
            totals["raw"] += raw

    begun = time.monotonic()
    with open(arguments.path, "rb", buffering=0) as stream:
        run_in_threads(lambda: work(stream.fileno()))
    elapsed = time.monotonic() - begun
    server.ask("DELETE", f"uploads/{upload}", token=grant)
    return {"elapsed": elapsed, "codec": used_codec, **totals}


def pull(arguments: argparse.Namespace, server: Server) -> dict[str, t.Any]:
    """GET ranges, decode, SHA-256, write, fsync."""
    _codec, _encode, decode = CODECS[arguments.provider](arguments.level)
    ranges, size, urls = find_ranges(arguments, server)
    connections = Connections()
    lock = threading.Lock()
    todo = iter(ranges)
    totals = {"encoded": 0, "chunks": 0}

    def work(descriptor: int) -> None:
        while True:
            with lock:
                one = next(todo, None)
            if one is None:
                return
            segment, offset, rows = one
            length = rows[-1][0] + rows[-1][1] - offset
            headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
            buffer = bytearray(length)
            response = connections.send("GET", urls[segment], None, headers)
            view = memoryview(buffer)
            done = 0
            while done < length:
                done += response.readinto(view[done:])
            response.read()
            for at, stored, codec, raw_length, identity, places in rows:
                piece = view[at - offset : at - offset + stored]
                chunk = bytes(piece) if codec == 0 else decode(piece, raw_length)
                if hashlib.sha256(chunk).digest() != identity:
                    raise OSError("a chunk does not have its digest")
                for place in places:
                    os.pwrite(descriptor, chunk, place)
            with lock:
                totals["encoded"] += length
                totals["chunks"] += len(rows)

    begun = time.monotonic()
    with open(arguments.path, "wb", buffering=0) as stream:
        stream.truncate(size)
        run_in_threads(lambda: work(stream.fileno()))
        os.fsync(stream.fileno())
    return {"elapsed": time.monotonic() - begun, **totals}


Row = tuple[int, int, int, int, bytes, list[int]]


def find_ranges(
    arguments: argparse.Namespace, server: Server
) -> tuple[list[tuple[str, int, list[Row]]], int, dict[str, str]]:
    """Ranges of the segments of the largest file of a manifest, its size, and URLs; not measured."""
    from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, index
    from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
    from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator

    wanted = {"catalog_id": arguments.catalog_id, "version": arguments.version, "architecture": "arm64"}
    minted = server.ask("POST", "grants", {"verb": "pull", **wanted})
    manifest = minted["manifests"][0]["id"]
    listing = decode_listing(server.ask("GET", f"manifests/{manifest}/listing", token=minted["grant"]))
    rows = index.chunk_rows(listing)
    locator_file = server.ask("GET", f"manifests/{manifest}/locator", token=minted["grant"])
    locator = decode_locator(locator_file, listing, rows)
    largest = max(listing.files(), key=lambda entry: entry.size)
    places: dict[int, list[int]] = {}
    for number in range(largest.chunk_count):
        row = rows.row_of.get(listing.chunk_id(largest.first_chunk + number))
        if row is not None:
            span = chunks.chunk_span(number, largest.size, largest.data_start, listing.chunk_size)
            places.setdefault(row, []).append(span[0])
    found: list[tuple[str, int, list[Row]]] = []
    for row in sorted(places, key=lambda row: (locator.segment_numbers[row], locator.offsets[row])):
        where = locator.placement(row)
        identity = listing.chunk_id(rows.first[row])
        made = (where.offset, where.length, where.codec, rows.lengths[row], identity, places[row])
        if found and found[-1][0] == where.segment.sha256 and where.offset + where.length - found[-1][1] <= RANGE_BYTES:
            found[-1][2].append(made)
        else:
            found.append((where.segment.sha256, where.offset, [made]))
    urls: dict[str, str] = {}
    for first in range(0, len(locator.segments), 500):
        body = {"segments": [{"pack": one.pack, "sha256": one.sha256} for one in locator.segments[first : first + 500]]}
        answer = server.ask("POST", f"manifests/{manifest}/urls", body, minted["grant"])
        urls.update({one["sha256"]: one["url"] for one in answer["urls"]})
    return found, largest.size, urls


def run_in_threads(work: t.Callable[[], None]) -> None:
    """Run ``work`` once in each of as many threads as cores."""
    cores = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        for done in [pool.submit(work) for unused in range(cores)]:
            done.result()


def main() -> None:
    """Measure one push or one pull."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["push", "pull"])
    parser.add_argument("path", help="the image to push, or the file to write")
    parser.add_argument("--url", required=True)
    parser.add_argument("--catalog-id", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--provider", choices=sorted(CODECS), required=True)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--chunk-size", type=int, default=1 << 20)
    arguments = parser.parse_args()
    server = Server(arguments.url, os.environ["MACFLEET_CATALOG_TOKEN"])
    print(json.dumps((push if arguments.verb == "push" else pull)(arguments, server)))


if __name__ == "__main__":
    main()
