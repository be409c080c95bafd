# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sockets that a server listens on: one address, one socket for each worker."""

from __future__ import annotations

import socket
import sys

from catalog_server.errors import Unavailable


def sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """Return ``count`` sockets that are bound to one address; port 0 takes a free one.

    On Linux each is a socket of its own, and the kernel shares the connections out among them. Elsewhere they are one
    and the same, whose connections go to whichever worker is first.

    :raises Unavailable: another process listens there, or the address is not one of this machine
    """
    # Without SO_REUSEPORT, which would let a second server join the first one unnoticed.
    first = _bound(host, port, shared=False)
    if count == 1 or sys.platform != "linux":
        return [first] * count
    with first:
        return [_bound(host, first.getsockname()[1], shared=True) for _number in range(count)]


def url(listening: socket.socket, tls: bool) -> str:
    """Return how a client on this machine reaches the server."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Unavailable(f"Cannot listen on {host} port {port}: {error.strerror or error}") from None
    return listening
