# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords: Argon2id, as many at once as there are cores, and the same effort for a user that does not exist."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from catalog_server.errors import BadRequest, Unavailable

MIN_LENGTH = 12
MAX_LENGTH = 256
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1


class Passwords:
    """Hashes and verifies. Each takes 19 MiB and some tens of milliseconds of one core, hence the limits."""

    def __init__(self, places: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES, type=Type.ID, hash_len=32, salt_len=16
        )
        cores = os.cpu_count() or 1
        self._turns = threading.BoundedSemaphore(cores)
        self._places = threading.BoundedSemaphore(max(places, cores))
        self._nobody = self._hasher.hash("the password of a user that does not exist")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Until a core is free. Those who wait hold threads that others need, so only so many may.

        :raises Unavailable: too many wait already
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable("Too many log in at once; try again.", retry_after=1)
        try:
            with self._turns:
                yield
        finally:
            self._places.release()

    def hashed(self, password: str) -> str:
        """What is stored of a password."""
        with self._turns:
            return self._hasher.hash(password)

    def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is that password, in a turn; without a stored one it takes as long and is not."""
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None


def check_new(password: str) -> str:
    """A password that may be set."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise BadRequest(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.")
    if "\0" in password or "\n" in password:
        raise BadRequest("A password has no line breaks and no zero bytes.")
    return password
