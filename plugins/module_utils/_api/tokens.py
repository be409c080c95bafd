# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Login tokens and grants, as the metadata server sends them."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest, manifests_from_json


@dataclass(frozen=True)
class Token:
    """A login token and when it expires, in seconds since 1970."""

    token: str = field(repr=False)
    expires_at: float

    @classmethod
    def from_json(cls, data: t.Any) -> Token:
        """Read what the server sent."""
        reader = JsonReader(data, "token")
        return cls(token=reader.text("token"), expires_at=reader.timestamp("expires_at"))


@dataclass(frozen=True)
class RenewedGrant:
    """A grant, and the seconds for which it is valid after its receipt."""

    token: str = field(repr=False)
    lifetime_seconds: float

    @classmethod
    def from_json(cls, data: t.Any) -> RenewedGrant:
        """Read what the server sent."""
        reader = JsonReader(data, "grant")
        return cls(token=reader.text("grant"), lifetime_seconds=float(reader.number("expires_in")))


@dataclass(frozen=True)
class MintedGrant:
    """A grant, and the manifests that it is about; ``bases`` are those that a push may refer to."""

    token: str = field(repr=False)
    lifetime_seconds: float
    manifests: tuple[Manifest, ...] = ()
    bases: tuple[Manifest, ...] = ()

    @classmethod
    def from_json(cls, data: t.Any) -> MintedGrant:
        """Read what the server sent."""
        reader = JsonReader(data, "grant")
        return cls(
            token=reader.text("grant"),
            lifetime_seconds=float(reader.number("expires_in")),
            manifests=manifests_from_json(reader.list("manifests")),
            bases=manifests_from_json(reader.list("bases")),
        )
