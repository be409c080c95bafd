# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sockets that a server listens on: one address, one socket for each worker."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from catalog_server.errors import Unavailable


def sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Return ``count`` sockets that listen on one address; port 0 takes a free one.

    On Linux each is a socket of its own, and the kernel shares the connections out among them. Elsewhere they are one
    and the same, whose connections go to whichever worker is first.

    They listen already: two servers may bind one address, and only one may listen. Connections wait until the server
    accepts them.

    :raises Unavailable: another process listens there, or the address is not one of this machine
    """
    with _refusing(host, port):
        if count == 1 or sys.platform != "linux":
            only = _bound(host, port, shared=False)
            with _closing_if_refused(only):
                only.listen()
            return [only] * count
        return _shared(host, port, count)


def _shared(host: str, port: int, count: int) -> list[socket.socket]:
    """Return the sockets of several workers. A second server with such sockets would join the first one unnoticed."""
    with _lock(port), ExitStack() as stack:
        # It cannot be bound while anybody listens. It keeps a free port until the others have it.
        with _bound(host, port, shared=False) as first:
            port = first.getsockname()[1]
            bound = [
                stack.enter_context(_closing_if_refused(_bound(host, port, shared=True))) for _number in range(count)
            ]
        for one in bound:
            one.listen()
    return bound


@contextmanager
def _lock(port: int) -> Iterator[None]:
    """Keep other servers from listening on this port meanwhile. One that comes at the same time is refused."""
    # An abstract name of Linux: it is gone when the socket is closed, also by the death of the process.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        if port != 0:
            lock.bind(f"\0catalog-server listens on port {port}")
        yield


@contextmanager
def _closing_if_refused(one: socket.socket) -> Iterator[socket.socket]:
    try:
        yield one
    except OSError:
        one.close()
        raise


@contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    """:raises Unavailable: the block raises an error of the system"""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"Cannot listen on {host} port {port}: {error.strerror or error}") from None


def url(listening: socket.socket, tls: bool) -> str:
    """Return how a client on this machine reaches the server."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    with _closing_if_refused(listening):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
    return listening
