# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Manifests, as the metadata server and the controller send them."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import ARCHITECTURES
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader

Json = t.Dict[str, t.Any]


@dataclass(frozen=True)
class MinimumRequirements:
    """What a host must offer; 0 means any."""

    cpu: int = 0
    memory_mb: int = 0
    disk_mb: int = 0

    @classmethod
    def from_json(cls, data: t.Any) -> MinimumRequirements:
        """Read what the server, or the controller, sent; None means no requirements."""
        if data is None:
            return cls()
        reader = JsonReader(data, "set of minimum requirements")
        return cls(
            cpu=reader.number("cpu", 0), memory_mb=reader.number("memory_mb", 0), disk_mb=reader.number("disk_mb", 0)
        )

    def to_json(self) -> Json:
        """Return the same as JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Manifest:
    """The metadata record of one version for one architecture."""

    id: str
    catalog_id: str
    version: str
    architecture: str
    type: str
    name: str
    digest: str
    description: str = ""
    tags: tuple[str, ...] = ()
    required_roles: tuple[str, ...] = ()
    required_claims: tuple[str, ...] = ()
    minimum_requirements: MinimumRequirements = field(default_factory=MinimumRequirements)
    format: str = "segmented"
    chunk_size: int = 0
    chunks: int = 0
    files: int = 0
    logical_bytes: int = 0
    data_bytes: int = 0
    stored_bytes: int = 0
    storage: str | None = None
    tainted: bool = False
    tainted_by: str | None = None
    tainted_at: str | None = None
    untainted_by: str | None = None
    revoked: bool = False
    revoked_by: str | None = None
    revoked_at: str | None = None
    download_count: int = 0
    last_downloaded_at: str | None = None
    last_downloaded_user: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    created_by: str | None = None

    @classmethod
    def from_json(cls, data: t.Any) -> Manifest:
        """Read what the server, or the controller, sent."""
        reader = JsonReader(data, "manifest")
        manifest = cls(
            id=reader.digest("id"),
            catalog_id=reader.text("catalog_id"),
            version=reader.text("version"),
            architecture=reader.text("architecture"),
            type=reader.text("type"),
            name=reader.text("name"),
            digest=reader.digest("digest"),
            description=reader.text("description", ""),
            tags=reader.texts("tags"),
            required_roles=reader.texts("required_roles"),
            required_claims=reader.texts("required_claims"),
            minimum_requirements=MinimumRequirements.from_json(reader.object("minimum_requirements")),
            format=reader.text("format", "segmented"),
            chunk_size=reader.number("chunk_size", 0),
            chunks=reader.number("chunks", 0),
            files=reader.number("files", 0),
            logical_bytes=reader.number("logical_bytes", 0),
            data_bytes=reader.number("data_bytes", 0),
            stored_bytes=reader.number("stored_bytes", 0),
            storage=reader.optional_text("storage"),
            tainted=reader.truth("tainted"),
            tainted_by=reader.optional_text("tainted_by"),
            tainted_at=reader.optional_text("tainted_at"),
            untainted_by=reader.optional_text("untainted_by"),
            revoked=reader.truth("revoked"),
            revoked_by=reader.optional_text("revoked_by"),
            revoked_at=reader.optional_text("revoked_at"),
            download_count=reader.number("download_count", 0),
            last_downloaded_at=reader.optional_text("last_downloaded_at"),
            last_downloaded_user=reader.optional_text("last_downloaded_user"),
            created_at=reader.optional_text("created_at"),
            updated_at=reader.optional_text("updated_at"),
            created_by=reader.optional_text("created_by"),
        )
        _check(manifest, reader)
        return manifest

    def to_json(self) -> Json:
        """Return the same as JSON."""
        data = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


def _check(manifest: Manifest, reader: JsonReader) -> None:
    """Raise BadReply if a field has a value that a host cannot use; the name becomes part of a path."""
    if manifest.architecture not in ARCHITECTURES:
        raise reader.wrong("architecture")
    if manifest.type not in {"pvm", "macvm"}:
        raise reader.wrong("type")
    if not manifest.name or manifest.name in {".", ".."} or "/" in manifest.name or "\0" in manifest.name:
        raise reader.wrong("name")


def manifests_from_json(data: t.Any) -> tuple[Manifest, ...]:
    """Read a list of manifests."""
    if not isinstance(data, (list, tuple)):
        raise BadReply("The server sent something that is not a list of manifests.")
    return tuple(Manifest.from_json(item) for item in data)
