# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Records of deltas, as the metadata server tells them."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader

_PACK = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True)
class DeltaRecord:
    """A delta between the contents with two digests, and the object that holds it.

    ``size`` is that of the object, ``patch_bytes`` that of all its patches, ``chunk_bytes`` that of the chunks that it
    adds, in segments.
    """

    base_digest: str
    digest: str
    pack: str
    sha256: str
    size: int
    patch_bytes: int
    chunk_bytes: int

    @classmethod
    def from_json(cls, data: t.Any) -> DeltaRecord:
        """Read what the server sent."""
        reader = JsonReader(data, "delta")
        pack = reader.text("pack")
        if not _PACK.match(pack):
            raise reader.wrong("pack")
        return cls(
            base_digest=reader.digest("base_digest"),
            digest=reader.digest("digest"),
            pack=pack,
            sha256=reader.digest("sha256"),
            size=reader.number("size"),
            patch_bytes=reader.number("patch_bytes"),
            chunk_bytes=reader.number("chunk_bytes"),
        )


@dataclass(frozen=True)
class DeltaList:
    """The deltas that lead to a manifest, and the bytes of its listing and locator."""

    deltas: tuple[DeltaRecord, ...]
    index_bytes: int

    @classmethod
    def from_json(cls, data: t.Any) -> DeltaList:
        """Read what the server sent."""
        reader = JsonReader(data, "deltas")
        return cls(tuple(map(DeltaRecord.from_json, reader.list("deltas"))), reader.number("index_bytes"))
