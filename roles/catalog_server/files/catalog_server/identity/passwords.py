# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords: Argon2id, and the same effort for a user that does not exist.

A hash takes 19 MiB and some tens of milliseconds of one core: ``pools.logins`` says how many run at once.
"""

from __future__ import annotations

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from catalog_server.errors import BadRequest
from catalog_server.texts import clean_line

MIN_LENGTH = 12
MAX_LENGTH = 256
_MIN_DIFFERENT = 5
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_LANES = 1


class Passwords:
    """Hashes and verifies."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES, type=Type.ID, hash_len=32, salt_len=16
        )
        self._nobody = self._hasher.hash("the password of a user that does not exist")

    def hashed(self, password: str) -> str:
        """What is stored of a password."""
        return self._hasher.hash(password)

    def matches(self, password: str, stored: str | None) -> bool:
        """Return True if it is that password; without a stored one it takes as long, and it is not."""
        try:
            self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    def rehashed(self, password: str, stored: str) -> str | None:
        """Return what is to be stored of a password that matches, None if it is stored in that form already."""
        return self._hasher.hash(password) if self._hasher.check_needs_rehash(stored) else None


def check_new(password: str) -> str:
    """A password that may be set."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise BadRequest(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.")
    if len(set(password)) < _MIN_DIFFERENT:
        raise BadRequest(f"A password has at least {_MIN_DIFFERENT} different characters.")
    try:
        return clean_line(password)
    except ValueError:
        raise BadRequest("A password has no line breaks and no other characters that are not shown.") from None
