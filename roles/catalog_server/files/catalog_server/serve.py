# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running the application until a signal ends it, in one process or in several workers."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from catalog_server import listening, telemetry, workers
from catalog_server.app import create_app
from catalog_server.connections import OpenConnections, Place, raise_descriptor_limit, share_of_one
from catalog_server.http_limits import LimitedProtocol, Limits, protocol_with
from catalog_server.line_writer import LineWriter
from catalog_server.metrics.requests import share_counts
from catalog_server.settings import Settings, SettingsError
from catalog_server.shares import of_one_worker
from catalog_server.tls import Certificate, TlsListener

# A slow Mac encodes a segment for half a minute between two requests; connecting anew costs it a TLS handshake.
KEEP_ALIVE_SECONDS = 75

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 4 << 20
_ARENAS = 2
# How long the end of a process waits for its threads, when nobody needs them any more.
_LAST_SECONDS = 2.0

_log = logging.getLogger("catalog_server")


class _Reporting(uvicorn.Server):
    """Calls ``on_ready`` once it answers, and counts connections before their TLS handshakes.

    It calls ``beat`` every few seconds as long as its event loop runs.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: type[LimitedProtocol],
        certificate: Certificate | None,
        on_ready: Callable[[], None],
        beat: Callable[[], None] | None,
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._certificate = certificate
        self._on_ready = on_ready
        self._beat = beat
        self._beating: asyncio.Task[None] | None = None
        self._secure: list[TlsListener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets if self._certificate is None else [])
        if not self.started:
            return
        if self._certificate is not None:
            opened, seconds = self._protocol.opened, self._protocol.limits.head_seconds
            for one in sockets or []:
                secure = TlsListener(self._certificate, opened, self._made, seconds)
                secure.start(one, self.config.backlog)
                self._secure.append(secure)
        self._on_ready()
        if self._beat is not None:
            # To the very end: a worker that finishes its requests is not silent.
            self._beating = asyncio.create_task(_repeat(self._beat, workers.BEAT_SECONDS))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for secure in self._secure:
            secure.close()
        await super().shutdown(sockets)
        for secure in self._secure:
            await secure.wait_closed()

    def _made(self, place: Place) -> LimitedProtocol:
        return self._protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, place=place
        )


async def _repeat(call: Callable[[], None], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        call()


def serve(settings: Settings, ready_file: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are finished. Return the exit status of the process."""
    telemetry.configure(settings.log_level)
    try:
        return _serve(settings, ready_file)
    finally:
        # What the log says last is written before the process ends, whoever has started it.
        logging.shutdown()


def _serve(settings: Settings, ready_file: Path | None) -> int:
    sockets = listening.sockets(settings.host, settings.port, settings.workers)
    announce = functools.partial(_announce, listening.url(sockets[0], settings.tls_certificate is not None), ready_file)
    if settings.workers == 1:
        return _run(settings, sockets[0], announce)
    with tempfile.TemporaryDirectory(prefix="catalog-metrics-") as directory:
        work = functools.partial(_work, settings, directory)
        return workers.supervise(work, sockets, announce, settings.shutdown_seconds)


def _work(
    settings: Settings, directory: str, number: int, listening_socket: socket.socket, answers: Callable[[], None]
) -> int:
    """Be one of several workers; ``directory`` is where they count, and ``answers`` tells the supervisor."""
    share_counts(directory, number)
    return _run(of_one_worker(settings, number), listening_socket, answers, answers)


def _run(
    settings: Settings,
    listening_socket: socket.socket,
    on_ready: Callable[[], None],
    beat: Callable[[], None] | None = None,
) -> int:
    """Serve in this very process.

    :raises SettingsError: the certificate or its key cannot be used
    """
    _return_memory()
    certificate = _certificate(settings)
    descriptors = raise_descriptor_limit()
    limits = Limits(
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        answer_seconds=settings.answer_seconds,
    )
    most = min(settings.max_connections or descriptors, descriptors)
    each = settings.max_connections_each or share_of_one(most)
    connections = OpenConnections(most, each, settings.trusted_networks)
    protocol = protocol_with(limits, connections)
    app = create_app(settings, connections)
    _log.info("connections", extra={"limit": most, "limit_each": each})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    config.load()
    # All that is there now stays to the end: the collector need not look through it in the midst of requests.
    gc.collect()
    gc.freeze()
    server = _Reporting(config, protocol, certificate, on_ready, beat)
    # uvicorn shuts down in order and then repeats the signal for whoever handled it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        server.run(sockets=[listening_socket])
    finally:
        _cut_off_threads(0 if server.started else 1)
    return 0 if server.started else 1


def _cut_off_threads(status: int) -> None:
    """End the process at once if threads are left that do not end: a storage may not answer."""
    until = time.monotonic() + _LAST_SECONDS
    left = [one for one in threading.enumerate() if one is not threading.current_thread() and not one.daemon]
    for thread in left:
        thread.join(max(0.0, until - time.monotonic()))
    names = [one.name for one in left if one.is_alive()]
    if names:
        _log.error("the process ends, and these threads do not", extra={"threads": names})
        logging.shutdown()
        os._exit(status)


def _certificate(settings: Settings) -> Certificate | None:
    """:raises SettingsError: the certificate or its key cannot be used"""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise SettingsError(
            f"the certificate {settings.tls_certificate} with the key {settings.tls_key} cannot be used: {error}"
        ) from error


def _announce(url: str, ready_file: Path | None) -> None:
    """Tell the address of the server, now that it answers there."""
    if ready_file:
        # One name: what a killed server leaves of it, the next one replaces.
        temporary = ready_file.with_name(f".{ready_file.name}.new")
        temporary.write_text(url + "\n", encoding="ascii")
        temporary.replace(ready_file)
    # Standard output may be the same pipe as the log, which nobody has to read.
    LineWriter(sys.stdout.fileno(), lambda _count: "").add(f"ready {url}")


def _return_memory() -> None:
    """Let large buffers go back to the system when they are freed.

    Those of password hashes and indexes would stay in the heaps of the threads that used them. The constants are those
    of glibc's malloc.h; another C library has no such call, or ignores them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


def _end(*_signal: object) -> None:
    sys.exit(0)
