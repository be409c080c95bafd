# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an answer costs that says nothing, on the same uvicorn: the yardstick of the server's rates.

Serves on the port of an inherited socket, whose descriptor is the argument.
"""

from __future__ import annotations

import socket
import sys
import typing as t

import uvicorn

_BODY = b"{}"


async def application(_scope: t.Any, _receive: t.Any, send: t.Any) -> None:
    """Answer everything by an empty object."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


def main() -> None:
    """Serve until SIGTERM."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(application, log_config=None, access_log=False, lifespan="off", ws="none")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
