# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed URLs of the embedded object store. Pure: the clock is handed in.

A signature binds method, key, expiry and, for a PUT, the size; whoever holds the URL may do that one
thing until then, and nothing else. It does not bind the host name, as a proxy may change it.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from catalog_server.keys import KeyRing

GET = "GET"
PUT = "PUT"


@dataclass(frozen=True)
class Permit:
    """What a signed URL allows: one method on one object until ``expires_at`` (Unix time)."""

    method: str
    key: str
    expires_at: int
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
        text = "\n".join(("object", permit.method, permit.key, str(permit.expires_at), size))
        return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()

    def admits(self, permit: Permit, signature: str, now: float) -> bool:
        """Return True if ``signature`` is that of ``permit``, and it has not expired."""
        given = signature.encode(errors="replace")
        matches = [hmac.compare_digest(self._signature(one, permit).encode(), given) for one in self.secrets]
        return any(matches) and now < permit.expires_at


def object_signer(keys: KeyRing) -> ObjectSigner:
    """Return the signer of this installation."""
    return ObjectSigner([key.objects for key in keys.keys])


@dataclass(frozen=True)
class SignedLink:
    """A signed URL, when it expires (Unix time), and in how many seconds."""

    url: str = field(repr=False)
    expires_at: int
    expires_in: int


@dataclass(frozen=True)
class Links:
    """Makes the signed URLs of one answer; ``base_url`` is that of the API, as the client sees it."""

    signer: ObjectSigner
    base_url: str
    now: datetime.datetime

    def read(self, key: str, seconds: int) -> SignedLink:
        """A URL that reads an object."""
        return self._link(Permit(GET, key, self._after(seconds)))

    def store(self, key: str, size: int, seconds: int, until: datetime.datetime) -> SignedLink:
        """A URL that stores an object of that size, good no longer than ``until``."""
        return self._link(Permit(PUT, key, min(self._after(seconds), int(until.timestamp())), size))

    def _after(self, seconds: int) -> int:
        return self._now + seconds

    @property
    def _now(self) -> int:
        return int(self.now.timestamp())

    def _link(self, permit: Permit) -> SignedLink:
        query = {"method": permit.method, "expires": str(permit.expires_at)}
        if permit.size is not None:
            query["size"] = str(permit.size)
        query["signature"] = self.signer.signature(permit)
        url = f"{self.base_url}/objects/{quote(permit.key)}?{urlencode(query)}"
        return SignedLink(url, permit.expires_at, max(0, permit.expires_at - self._now))
