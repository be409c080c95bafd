# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A flood of logins with names that nobody has, from one address, by a process that takes a part of a core.

Prints how often there was which answer as JSON, when it is told to end.
"""

from __future__ import annotations

import argparse
import collections
import errno
import itertools
import json
import re
import selectors
import signal
import socket
import sys
import time
import typing as t

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_HEAD_END = b"\r\n\r\n"
_REFUSED = "refused"
_BROKEN = "broken off"


class Flood:
    """Connections that each ask, wait for the answer, and ask again; those that end are opened anew."""

    def __init__(self, port: int, address: str, connections: int, share: float) -> None:
        self._port = port
        self._address = address
        self._connections = connections
        self._share = share
        self._selector = selectors.DefaultSelector()
        self._names = itertools.count()
        # What has come of an answer that is not complete
        self._parts: dict[socket.socket, bytes] = {}
        self.counts: collections.Counter[str] = collections.Counter()

    def run(self) -> None:
        """Go on until the process is told to end."""
        begun_at, begun = time.monotonic(), time.process_time()
        missing = self._connections
        while True:
            for _number in range(missing):
                self._open()
                self._pace(begun_at, begun)
            missing = self._connections - len(self._selector.get_map())
            for key, _events in self._selector.select(0 if missing else 1):
                connection = t.cast(socket.socket, key.fileobj)
                if not (self._send(connection) if key.events & selectors.EVENT_WRITE else self._read(connection)):
                    self._selector.unregister(connection)
                    connection.close()
                    missing += 1
                self._pace(begun_at, begun)

    def _pace(self, begun_at: float, begun: float) -> None:
        """Take no more than the share of a core."""
        ahead = (time.process_time() - begun) / self._share - (time.monotonic() - begun_at)
        if ahead > 0:
            time.sleep(ahead)

    def _open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((self._address, 0))
        failure = connection.connect_ex(("127.0.0.1", self._port))
        if failure in (0, errno.EINPROGRESS):
            self._selector.register(connection, selectors.EVENT_WRITE)
        else:
            self.counts[_REFUSED] += 1
            connection.close()

    def _send(self, connection: socket.socket) -> bool:
        """Return False if the connection is of no more use, as the others below do."""
        body = json.dumps({"username": f"nobody-{next(self._names)}", "password": "wrong and long enough"})
        head = (
            f"POST /api/auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        try:
            connection.send(f"{head}\r\n\r\n{body}".encode())
        except OSError:
            self.counts[_REFUSED] += 1
            return False
        self._selector.modify(connection, selectors.EVENT_READ)
        return True

    def _read(self, connection: socket.socket) -> bool:
        try:
            part = connection.recv(1 << 16)
        except OSError:
            part = b""
        answer = self._parts.pop(connection, b"") + part
        head, _end, body = answer.partition(_HEAD_END)
        length = _LENGTH.search(head)
        if not part:
            self.counts[_BROKEN] += 1
            return False
        if length is None or len(body) < int(length.group(1)):
            self._parts[connection] = answer
            return True
        self.counts[head[9:12].decode("ascii")] += 1
        if b"connection: close" in head.lower():
            return False
        self._selector.modify(connection, selectors.EVENT_WRITE)
        return True


def main() -> None:
    """Flood until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--share", type=float, required=True)
    arguments = parser.parse_args()
    flood = Flood(arguments.port, arguments.address, arguments.connections, arguments.share)

    def end(*_signal: object) -> None:
        print(json.dumps(flood.counts))
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    flood.run()


if __name__ == "__main__":
    main()
