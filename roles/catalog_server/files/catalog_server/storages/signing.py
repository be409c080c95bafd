# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed URLs of the embedded object store. Pure: the clock is handed in.

A signature binds method, storage, key, expiry, what the URL was made for and, for a PUT, the size. Whoever holds the
URL may do that one thing until then, and nothing else. It does not bind the host name, as a proxy may change it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from catalog_server.keys import KeyRing

GET = "GET"
PUT = "PUT"


@dataclass(frozen=True)
class Permit:
    """What a signed URL allows: one method on one object until ``expires_at`` (Unix time), as long as its holder does.

    For ``holder`` see ``transfers/holders.py``.
    """

    method: str
    storage: str
    key: str
    expires_at: int
    holder: str
    size: int | None = None


@dataclass(frozen=True)
class ObjectSigner:
    """Makes and checks signatures with secrets that only the server's replicas share; the first one signs."""

    secrets: Sequence[bytes] = field(repr=False)

    def signature(self, permit: Permit) -> str:
        """HMAC-SHA-256 of everything that the permit says."""
        return self._signature(self.secrets[0], permit)

    @staticmethod
    def _signature(secret: bytes, permit: Permit) -> str:
        size = "" if permit.size is None else str(permit.size)
        parts = ("object", permit.method, permit.storage, permit.key, str(permit.expires_at), permit.holder, size)
        return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()

    def admits(self, permit: Permit, signature: str, now: float) -> bool:
        """Returns True if ``signature`` is that of ``permit``, and it has not expired."""
        given = signature.encode(errors="replace")
        matches = [hmac.compare_digest(self._signature(one, permit).encode(), given) for one in self.secrets]
        return any(matches) and now < permit.expires_at


def object_signer(keys: KeyRing) -> ObjectSigner:
    """Returns the signer of this installation, with the keys that it has now."""
    return ObjectSigner([key.objects for key in keys.keys])
