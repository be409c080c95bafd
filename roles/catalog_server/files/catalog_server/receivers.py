# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Places for the bodies that are being received: objects and the indexes of commits.

A place is taken before the first byte is read, and given back whatever happens. So there is a bound to what unfinished
requests hold: the number of bodies, in all and for one user, the bytes that they announce, one body for one object,
and the free bytes that a volume keeps. A client that stalls loses its connection, and with it the place: see
``http_limits.py``.

Places are given on the event loop of one process, and the numbers are those of one process. Volumes are looked at by
threads: one that does not answer, such as that of a file server that is away, would stop everybody.
"""

from __future__ import annotations

import collections
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog_server.database import database_file
from catalog_server.errors import BeingReceived, InsufficientStorage, TooManyReceivers, Unavailable
from catalog_server.settings import Settings

# Until one that stalls has lost its connection, the same object may be refused some times.
RETRY_SECONDS = 5


@dataclass(frozen=True)
class Body:
    """What is about to be received: by which user, how many bytes at most, and which object."""

    user: str
    size: int
    key: str | None = None


@dataclass(frozen=True)
class Volume:
    """The volume that a body would be on: its number, its free bytes, and how many of them have to stay free."""

    device: int
    free: int
    least: int


class Receivers:
    """The places of one process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        file = database_file(settings.database)
        self._database_folder = file.parent if file is not None else None
        self._of_user: collections.Counter[str] = collections.Counter()
        self._on_device: collections.Counter[int] = collections.Counter()
        self._keys: set[str] = set()
        self.count = 0
        self.announced = 0

    def volume(self, folder: Path) -> Volume:
        """Look at the volume of a directory. It may take as long as the volume does, so it belongs into a thread.

        :raises Unavailable: the volume is not mounted
        """
        try:
            device = os.stat(folder).st_dev
            least = self._settings.min_free_bytes
            if self._database_folder is not None and os.stat(self._database_folder).st_dev == device:
                least = max(least, self._settings.database_free_bytes)
            return Volume(device, shutil.disk_usage(folder).free, least)
        except OSError as error:
            raise Unavailable("The volume of a storage is not there; the server's log says why.") from error

    @contextmanager
    def place(self, body: Body, volume: Volume) -> Iterator[None]:
        """Hold a place as long as the block lasts.

        :raises BeingReceived: the same object is being received
        :raises TooManyReceivers: the user has as many places as one may have
        :raises Unavailable: there is no place left
        :raises InsufficientStorage: the volume would be too full
        """
        self._check(body)
        self._check_room(body, volume)
        self._take(body, volume.device, 1)
        if body.key is not None:
            self._keys.add(body.key)
        try:
            yield
        finally:
            self._take(body, volume.device, -1)
            if body.key is not None:
                self._keys.remove(body.key)

    def _take(self, body: Body, device: int, sign: int) -> None:
        self.count += sign
        self.announced += sign * body.size
        self._on_device[device] += sign * body.size
        self._of_user[body.user] += sign
        if not self._of_user[body.user]:
            del self._of_user[body.user]

    def _check(self, body: Body) -> None:
        settings = self._settings
        if body.key is not None and body.key in self._keys:
            raise BeingReceived(
                "This object is being received from another connection; try again.", retry_after=RETRY_SECONDS
            )
        if self._of_user[body.user] >= settings.receivers_each:
            raise TooManyReceivers(
                f"{settings.receivers_each} objects and indexes of the same user are being received, and that is the "
                "most for one user; try again when one of them is done.",
                retry_after=RETRY_SECONDS,
            )
        # One alone always has room: the share of a worker may be smaller than what a client has to send.
        is_too_much = self.count > 0 and self.announced + body.size > settings.receive_bytes
        if self.count >= settings.receivers or is_too_much:
            raise Unavailable("Too many objects and indexes are being received; try again.", retry_after=RETRY_SECONDS)

    def _check_room(self, body: Body, volume: Volume) -> None:
        """Check that a body leaves enough room on its volume.

        What the others have announced is counted in full, also what of it has been written: a little too early is
        better than too late.

        :raises InsufficientStorage: it does not
        """
        if volume.free - self._on_device[volume.device] - body.size < volume.least:
            raise InsufficientStorage(
                f"There is no room for {body.size} bytes: of the volume that would take them, {volume.least} bytes "
                "have to stay free."
            )
