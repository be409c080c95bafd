# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Signed transfers that are tried again: a wrapper of ``signed.SignedTransfer`` for objects by key.

Only what is idempotent is here: reading, and storing an immutable object.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageDenied,
    StorageThrottled,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import Buffer, SignedUrl

Key = t.TypeVar("Key")

# A storage that asks for more patience than this is as good as not there.
LONGEST_DELAY_SECONDS = 120.0
_AGAIN = "Check the network and the storage, then run the task again; it goes on where it stopped."


class Transfer(t.Protocol):
    """What is wrapped."""

    def fetch_into(self, signed: SignedUrl, offset: int, buffer: bytearray | memoryview) -> None:
        """See ``signed.SignedTransfer``."""
        ...  # pylint: disable=unnecessary-ellipsis

    def put(self, signed: SignedUrl, data: Buffer) -> None:
        """See ``signed.SignedTransfer``."""
        ...  # pylint: disable=unnecessary-ellipsis


class RetryingTransfer(t.Generic[Key]):
    """Objects by key, each request tried at most once more than ``delays()`` has members.

    ``urls(key, renew)`` gives the URL of an object, with ``renew`` a new one, as the last was refused.
    ``delays()`` gives the seconds to wait before each further attempt, see ``_retry.delays``; a storage
    that names a longer delay gets it, up to ``LONGEST_DELAY_SECONDS``. A URL that is refused is renewed
    once in each attempt. Errors of ``urls`` are not ours to retry and pass.
    """

    def __init__(
        self,
        transfer: Transfer,
        urls: t.Callable[[Key, bool], SignedUrl],
        delays: t.Callable[[], t.Iterable[float]],
        sleep: t.Callable[[float], None],
    ) -> None:
        self._transfer = transfer
        self._urls = urls
        self._delays = delays
        self._sleep = sleep

    def fetch(self, key: Key, offset: int, length: int) -> memoryview:
        """``length`` bytes of the object ``key`` from ``offset`` on."""
        buffer = bytearray(length)
        self.fetch_into(key, offset, buffer)
        return memoryview(buffer).toreadonly()

    def fetch_into(self, key: Key, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``offset`` of the object ``key`` on; a further attempt asks for the rest only."""
        view = memoryview(buffer).cast("B")
        received = 0

        def attempt(signed: SignedUrl) -> None:
            nonlocal received
            try:
                self._transfer.fetch_into(signed, offset + received, view[received:])
            except StorageUnavailable as error:
                received += error.received
                raise

        self._attempts(key, attempt)

    def put(self, key: Key, data: Buffer) -> None:
        """Store ``data`` as the object ``key``."""
        self._attempts(key, lambda signed: self._transfer.put(signed, data))

    def _attempts(self, key: Key, attempt: t.Callable[[SignedUrl], None]) -> None:
        waits = iter(self._delays())
        while True:
            try:
                self._renewing(key, attempt)
                return
            except StorageUnavailable as error:
                wait = next(waits, None)
                asked = error.delay_seconds if isinstance(error, StorageThrottled) else None
                if wait is None or (asked is not None and asked > LONGEST_DELAY_SECONDS):
                    error.hint = error.hint or _AGAIN
                    raise
                self._sleep(max(wait, asked or 0.0))

    def _renewing(self, key: Key, attempt: t.Callable[[SignedUrl], None]) -> None:
        try:
            attempt(self._urls(key, False))
        except StorageDenied:
            attempt(self._urls(key, True))
