# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections without an HTTP client, and what the server's process holds."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

from running import Server

PROBE = b"GET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(server: Server, timeout: float = 20, receive_bytes: int | None = None, source: str = "") -> socket.socket:
    """A connection to the server, from the address ``source``; ``receive_bytes`` is the size of its receive buffer."""
    host, port = server.url.partition("://")[2].split(":")
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(timeout)
    if source:
        connection.bind((source, 0))
    connection.connect((host, int(port)))
    return connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; a reset is an end, too."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def one_answer(connection: socket.socket) -> bytes:
    """One whole answer that has a Content-Length, on a connection that is kept."""
    answer = b""
    while part := connection.recv(1 << 16):
        answer += part
        head, blank, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if blank and length is not None and len(body) >= int(length.group(1)):
            break
    return answer


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def resident_mib(server: Server, field: str = "VmRSS") -> float:
    """MiB of memory that the process holds now, or with VmHWM, has held at most."""
    text = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    match = re.search(rf"{field}:\s+(\d+) kB", text)
    assert match is not None
    return int(match.group(1)) / 1024


def reset_peak(server: Server) -> None:
    """Let VmHWM begin anew."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", encoding="ascii")


def open_files_below(server: Server, folder: Path) -> list[str]:
    """The files below a folder that the process has open, with a name or without one."""
    found: list[str] = []
    if server.process.poll() is not None:
        return found
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return [path for path in found if path.startswith(f"{folder.resolve()}/")]
