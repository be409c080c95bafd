# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a cache remembers of an entry, as records and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, UnknownRecord

ACTIVE = "active"
TAINTED = "tainted"
REVOKED = "revoked"

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class CachedAddress:
    """One manifest whose content the entry is; ``state`` as last seen: active, tainted or revoked."""

    catalog_url: str
    catalog_id: str
    version: str
    architecture: str
    state: str = ACTIVE

    def __post_init__(self) -> None:
        # It becomes a fact that everybody on the host can read.
        object.__setattr__(self, "catalog_url", redact_url(self.catalog_url))

    def same_manifest(self, other: CachedAddress) -> bool:
        return dataclasses.replace(self, state="") == dataclasses.replace(other, state="")


@dataclasses.dataclass(frozen=True)
class CacheRecord:
    """One entry. Moments are texts in UTC; ``files`` maps paths inside the bundle (NFC) to their stamps.

    ``stored_bytes`` is what the pack takes in the catalog's storage, ``allocated_bytes`` what the unpacked bundle took
    on this disk when it was published.
    """

    digest: str
    bundle_name: str
    type: str
    addresses: t.Tuple[CachedAddress, ...]
    logical_bytes: int
    stored_bytes: int
    first_used_at: str
    last_used_at: str
    use_count: int = 0
    verified_at: t.Optional[str] = None
    allocated_bytes: int = 0
    files: t.Mapping[str, Stamp] = dataclasses.field(default_factory=dict)

    def with_address(self, address: CachedAddress) -> CacheRecord:
        """The record with this address added, or its state brought up to date."""
        others = tuple(known for known in self.addresses if not known.same_manifest(address))
        return dataclasses.replace(self, addresses=(*others, address))

    def encode(self) -> bytes:
        document = {"format": _FORMAT, **dataclasses.asdict(self)}
        return json.dumps(document, sort_keys=True, indent=1).encode()


def decode_record(data: bytes) -> CacheRecord:
    """Read a record; keys that are not known are passed over.

    :raises UnknownRecord: a later version wrote it
    :raises CacheError: it is none
    """
    try:
        document = json.loads(data)
        written = document["format"]
        if isinstance(written, int) and written > _FORMAT:
            raise UnknownRecord(
                f"The record has the format {written}, of which this version of the collection knows {_FORMAT} alone."
            )
        if written != _FORMAT:
            raise ValueError("unknown format")
        return CacheRecord(
            digest=_text(document["digest"]),
            bundle_name=_text(document["bundle_name"]),
            type=_text(document["type"]),
            addresses=tuple(_address(item) for item in document["addresses"]),
            logical_bytes=int(document["logical_bytes"]),
            stored_bytes=int(document["stored_bytes"]),
            first_used_at=_text(document["first_used_at"]),
            last_used_at=_text(document["last_used_at"]),
            use_count=int(document["use_count"]),
            verified_at=None if document["verified_at"] is None else _text(document["verified_at"]),
            allocated_bytes=int(document["allocated_bytes"]),
            files={_text(path): _stamp(item) for path, item in document["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CacheError(f"Reading the record of a cache entry failed: {error!r}.") from error


def _address(item: t.Mapping[str, t.Any]) -> CachedAddress:
    return CachedAddress(
        _text(item["catalog_url"]),
        _text(item["catalog_id"]),
        _text(item["version"]),
        _text(item["architecture"]),
        _text(item["state"]),
    )


def _stamp(item: t.Mapping[str, t.Any]) -> Stamp:
    return Stamp(int(item["inode"]), int(item["size"]), int(item["mtime_ns"]), int(item["ctime_ns"]))


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value
