# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running the application until a signal ends it, in one process or in several workers."""

from __future__ import annotations

import ctypes
import functools
import gc
import logging
import signal
import socket
import sys
import tempfile
import typing as t
from collections.abc import Callable
from pathlib import Path

import uvicorn

from catalog_server import listening, telemetry, workers
from catalog_server.app import create_app
from catalog_server.http_limits import Limits, OpenConnections, protocol_with, raise_descriptor_limit
from catalog_server.metrics.requests import share_counts
from catalog_server.settings import Settings, SettingsError

# A slow Mac encodes a segment for half a minute between two requests; connecting anew costs it a TLS handshake.
KEEP_ALIVE_SECONDS = 75

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BYTES = 4 << 20
_ARENAS = 2


class _Reporting(uvicorn.Server):
    """Calls ``on_ready`` once it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: t.Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve(settings: Settings, ready_file: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight are finished. Return the exit status of the process."""
    telemetry.configure(settings.log_level)
    sockets = listening.sockets(settings.host, settings.port, settings.workers)
    announce = functools.partial(_announce, listening.url(sockets[0], settings.tls_certificate is not None), ready_file)
    if settings.workers == 1:
        return _run(settings, sockets[0], announce)
    work = functools.partial(_run, settings.of_one_worker())
    with tempfile.TemporaryDirectory(prefix="catalog-metrics-") as directory:
        share_counts(directory)
        return workers.supervise(work, sockets, announce, settings.shutdown_seconds)


def _run(settings: Settings, listening_socket: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve in this very process.

    :raises SettingsError: the certificate or its key cannot be used
    """
    _return_memory()
    descriptors = raise_descriptor_limit()
    limits = Limits(
        connections=min(settings.max_connections or descriptors, descriptors),
        head_seconds=settings.head_seconds,
        body_seconds=settings.body_seconds,
        answer_seconds=settings.answer_seconds,
    )
    connections = OpenConnections(limits.connections)
    app = create_app(settings, connections)
    logging.getLogger("catalog_server").info("connections", extra={"limit": limits.connections})
    config = uvicorn.Config(
        app,
        http=protocol_with(limits, connections),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as error:
        raise SettingsError(
            f"the certificate {settings.tls_certificate} with the key {settings.tls_key} cannot be used: {error}"
        ) from error
    # All that is there now stays to the end: the collector need not look through it in the midst of requests.
    gc.collect()
    gc.freeze()
    server = _Reporting(config, on_ready)
    # uvicorn shuts down in order and then repeats the signal for whoever handled it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    server.run(sockets=[listening_socket])
    return 0 if server.started else 1


def _announce(url: str, ready_file: Path | None) -> None:
    """Tell the address of the server, now that it answers there."""
    if ready_file:
        # One name: what a killed server leaves of it, the next one replaces.
        temporary = ready_file.with_name(f".{ready_file.name}.new")
        temporary.write_text(url + "\n", encoding="ascii")
        temporary.replace(ready_file)
    print(f"ready {url}", flush=True)


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
