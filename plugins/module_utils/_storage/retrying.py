# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Signed transfers that are tried again: a wrapper of ``signed.SignedTransfer`` for objects by key.

Only what is idempotent is here: reading, and storing an immutable object.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience, attempt
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageDenied,
    StorageThrottled,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import Buffer

Key = t.TypeVar("Key")

# A storage that asks for a longer pause counts as unavailable.
LONGEST_DELAY_SECONDS = 120.0
_AGAIN = "Check the network and the storage, then run the task again; it resumes where it stopped."


class Transfer(t.Protocol):
    """The transfer that is wrapped."""

    def fetch_into(
        self,
        signed: SignedUrl,
        offset: int,
        buffer: bytearray | memoryview,
        cancellation: t.Optional[Cancellation] = None,
    ) -> None:
        """See ``signed.SignedTransfer``."""
        ...  # pylint: disable=unnecessary-ellipsis

    def put(self, signed: SignedUrl, data: Buffer, cancellation: t.Optional[Cancellation] = None) -> None:
        """See ``signed.SignedTransfer``."""
        ...  # pylint: disable=unnecessary-ellipsis


class RetryingTransfer(t.Generic[Key]):
    """Objects by key, each request tried again as long as ``patience`` says.

    ``urls(key, refused)`` gives the URL of an object; ``refused`` is the one that the storage has just refused, or
    None. A URL that is refused is renewed once in each attempt. Errors of ``urls`` pass unchanged. ``cancellation``
    ends the requests; an exception of ``sleep`` ends the pauses.
    """

    def __init__(
        self,
        transfer: Transfer,
        urls: t.Callable[[Key, t.Optional[SignedUrl]], SignedUrl],
        patience: Patience,
        *,
        cancellation: t.Optional[Cancellation] = None,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._transfer = transfer
        self._urls = urls
        self._patience = patience
        self._cancellation = cancellation or Cancellation()
        self._sleep = sleep
        self._clock = clock

    def fetch(self, key: Key, offset: int, length: int) -> memoryview:
        """Return ``length`` bytes of the object ``key`` from ``offset`` on."""
        buffer = bytearray(length)
        self.fetch_into(key, offset, buffer)
        return memoryview(buffer).toreadonly()

    def fetch_into(self, key: Key, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer`` from ``offset`` of the object ``key`` on; a further attempt asks for the rest only.

        After an attempt that received bytes, the patience begins anew.
        """
        view = memoryview(buffer).cast("B")
        received = 0

        def fetch(signed: SignedUrl) -> None:
            nonlocal received
            try:
                self._transfer.fetch_into(signed, offset + received, view[received:], self._cancellation)
            except StorageUnavailable as error:
                received += error.received
                raise

        self._attempts(key, fetch)

    def put(self, key: Key, data: Buffer) -> None:
        """Store ``data`` as the object ``key``."""
        self._attempts(key, lambda signed: self._transfer.put(signed, data, self._cancellation))

    def _attempts(self, key: Key, call: t.Callable[[SignedUrl], None]) -> None:
        try:
            attempt(
                lambda _number: self._renewing(key, call),
                _asked_delay,
                self._patience,
                advanced=_has_advanced,
                sleep=self._sleep,
                clock=self._clock,
            )
        except StorageUnavailable as error:
            error.hint = error.hint or _AGAIN
            raise

    def _renewing(self, key: Key, call: t.Callable[[SignedUrl], None]) -> None:
        signed = self._urls(key, None)
        try:
            call(signed)
        except StorageDenied:
            call(self._urls(key, signed))


def _has_advanced(error: Exception) -> bool:
    return isinstance(error, StorageUnavailable) and error.received > 0


def _asked_delay(error: Exception) -> t.Optional[float]:
    if not isinstance(error, StorageUnavailable):
        return None
    asked = error.delay_seconds if isinstance(error, StorageThrottled) else None
    if asked is not None and asked > LONGEST_DELAY_SECONDS:
        return None
    return asked or 0.0
