# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a cache remembers of an entry and of a partial image, as records and as JSON. Pure.

Records grow: a reader keeps the keys that it does not know and writes them back, and has a default for each key that
was added later. ``format`` is raised only where an older reader would do harm. These keys are reserved for later
versions: parent, requires, superseded_by, provenance, labels, release_notes, pins, phases.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import Stamp
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import TreeStamps
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, UnknownRecord

ACTIVE = "active"
TAINTED = "tainted"
REVOKED = "revoked"

_FORMAT = 1

Json = t.Mapping[str, t.Any]


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
        """Return True if both are the address of one manifest, in whatever state."""
        return dataclasses.replace(self, state="") == dataclasses.replace(other, state="")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which manifest a partial image is of, and when its pull began (UTC text)."""

    address: CachedAddress
    started_at: str

    def encode(self) -> bytes:
        """Return the origin as JSON."""
        document = {"format": _FORMAT, **dataclasses.asdict(self)}
        return json.dumps(document, sort_keys=True, indent=1).encode()


@dataclasses.dataclass(frozen=True)
class CacheRecord:
    """One entry. Timestamps are texts in UTC.

    ``stored_bytes`` is what the pack takes in the catalog's storage, ``downloaded_bytes`` what was downloaded of it,
    its index or deltas included. ``allocated_bytes`` is what the unpacked bundle took on this disk when it was
    published. ``stamps`` were taken when the content was proved. ``sketch`` tells how much the content has in common
    with another one. ``extra`` holds the keys of later versions.
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
    downloaded_bytes: int = 0
    stamps: TreeStamps = dataclasses.field(default_factory=TreeStamps)
    sketch: str = ""
    extra: Json = dataclasses.field(default_factory=dict)

    def with_address(self, address: CachedAddress) -> CacheRecord:
        """Return the record with this address added, or its state brought up to date."""
        others = tuple(known for known in self.addresses if not known.same_manifest(address))
        return dataclasses.replace(self, addresses=(*others, address))

    def encode(self) -> bytes:
        """Return the record as JSON."""
        known = {name: getattr(self, name) for name in _SIMPLE}
        document = {
            **self.extra,
            **known,
            "format": _FORMAT,
            "addresses": [dataclasses.asdict(address) for address in self.addresses],
            "files": {path: dataclasses.asdict(stamp) for path, stamp in self.stamps.files.items()},
            "links": dict(self.stamps.links),
            "directories": sorted(self.stamps.directories),
        }
        return json.dumps(document, sort_keys=True, indent=1).encode()


_SIMPLE = (
    "digest",
    "bundle_name",
    "type",
    "logical_bytes",
    "stored_bytes",
    "first_used_at",
    "last_used_at",
    "use_count",
    "verified_at",
    "allocated_bytes",
    "downloaded_bytes",
    "sketch",
)
_KNOWN = frozenset({*_SIMPLE, "format", "addresses", "files", "links", "directories"})
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


def decode_record(data: bytes) -> CacheRecord:
    """Read a record.

    :raises UnknownRecord: a later version wrote it, in a format that this one cannot read
    :raises CacheError: it is not a record
    """
    try:
        document = _document(data)
        verified_at = document.get("verified_at")
        return CacheRecord(
            digest=_text(document["digest"]),
            bundle_name=_text(document["bundle_name"]),
            type=_text(document["type"]),
            addresses=tuple(_address(item) for item in document["addresses"]),
            logical_bytes=int(document["logical_bytes"]),
            stored_bytes=int(document["stored_bytes"]),
            first_used_at=_text(document["first_used_at"]),
            last_used_at=_text(document["last_used_at"]),
            use_count=int(document.get("use_count", 0)),
            verified_at=None if verified_at is None else _text(verified_at),
            allocated_bytes=int(document.get("allocated_bytes", 0)),
            downloaded_bytes=int(document.get("downloaded_bytes", 0)),
            stamps=_stamps(document),
            sketch=_text(document.get("sketch", "")),
            extra={name: value for name, value in document.items() if name not in _KNOWN},
        )
    except _UNREADABLE as error:
        raise CacheError(f"Reading the record of a cache entry failed: {error!r}.") from error


def decode_origin(data: bytes) -> Origin:
    """Read the origin of a partial image.

    :raises CacheError: it is not one that this version can read
    """
    try:
        document = _document(data)
        return Origin(_address(document["address"]), _text(document["started_at"]))
    except _UNREADABLE as error:
        raise CacheError(f"Reading the origin of a partial image failed: {error!r}.") from error


def _document(data: bytes) -> t.Dict[str, t.Any]:
    document = json.loads(data)
    written = document["format"]
    if isinstance(written, int) and written > _FORMAT:
        raise UnknownRecord(
            f"The record has the format {written}, of which this version of the collection knows {_FORMAT} alone."
        )
    if written != _FORMAT or not isinstance(document, dict):
        raise ValueError("unknown format")
    return document


def _stamps(document: Json) -> TreeStamps:
    return TreeStamps(
        {_text(path): _stamp(item) for path, item in document.get("files", {}).items()},
        {_text(path): _text(target) for path, target in document.get("links", {}).items()},
        frozenset(_text(path) for path in document.get("directories", ())),
    )


def _address(item: Json) -> CachedAddress:
    return CachedAddress(
        _text(item["catalog_url"]),
        _text(item["catalog_id"]),
        _text(item["version"]),
        _text(item["architecture"]),
        _text(item.get("state", ACTIVE)),
    )


def _stamp(item: Json) -> Stamp:
    return Stamp(int(item["inode"]), int(item["size"]), int(item["mtime_ns"]), int(item["ctime_ns"]))


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value
