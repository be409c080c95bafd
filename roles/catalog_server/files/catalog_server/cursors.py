# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cursors: where the next page of a list begins. Only those that this server gave out are read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from catalog_server.errors import BadRequest
from catalog_server.keys import KeyRing

_SIGNATURE_BYTES = 16


def encode(keys: KeyRing, position: tuple[str, ...]) -> str:
    """Return the cursor behind a row that is named by these texts."""
    data = json.dumps(position).encode()
    return base64.urlsafe_b64encode(_signature(keys.signing.cursors, data) + data).decode("ascii")


def decode(keys: KeyRing, cursor: str, length: int) -> tuple[str, ...]:
    """Return the ``length`` texts that ``encode`` got.

    :raises BadRequest: it is none that this server gave out
    """
    try:
        data = base64.urlsafe_b64decode(cursor.encode("ascii"))
        signature, data = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if any(hmac.compare_digest(_signature(key.cursors, data), signature) for key in keys.keys):
            parts = json.loads(data)
            if isinstance(parts, list) and len(parts) == length and all(isinstance(part, str) for part in parts):
                return tuple(parts)
    except (ValueError, RecursionError):
        pass
    raise BadRequest("The cursor is not valid.")


def _signature(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
