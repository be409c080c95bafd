# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the metadata server knows, as frozen records.

Readers are tolerant: they ignore unknown fields and fill in missing ones, except for those that identify the thing.
What a host uses as part of a path is checked, whoever sent it.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl

Json = t.Dict[str, t.Any]

_HEX_64 = re.compile(r"[0-9a-f]{64}\Z")
# It becomes a part of the name of a clone.
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}\Z")
_ARCHITECTURES = ("arm64", "x86_64")


class _Reader:
    """Takes typed fields out of a JSON object; ``what`` names the object in errors."""

    def __init__(self, data: t.Any, what: str) -> None:
        if not isinstance(data, t.Mapping):
            raise BadReply(f"The server sent a {what} that is not a JSON object.")
        self._data = data
        self._what = what

    def wrong(self, name: str) -> BadReply:
        return BadReply(f"The server sent a {self._what} whose field {name!r} is missing or not valid.")

    def text(self, name: str, default: str | None = None) -> str:
        value = self._data.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name)
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._data.get(name) is None else self.text(name)

    def number(self, name: str, default: int | None = None) -> int:
        value = self._data.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name)
        return value

    def truth(self, name: str) -> bool:
        value = self._data.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.list(name)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(name)
        return tuple(values)

    def list(self, name: str) -> t.Sequence[t.Any]:
        value = self._data.get(name)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            raise self.wrong(name)
        return value

    def moment(self, name: str) -> float:
        """Seconds since 1970, sent as a number or as RFC 3339."""
        value = self._data.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        try:
            # Python 3.9 reads an offset, but no Z.
            found = datetime.datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", self.text(name)))
        except ValueError:
            raise self.wrong(name) from None
        if found.tzinfo is None:
            raise self.wrong(name)
        return found.timestamp()

    def digest(self, name: str) -> str:
        value = self.text(name)
        if not _HEX_64.match(value):
            raise self.wrong(name)
        return value

    def object(self, name: str) -> t.Any:
        return self._data.get(name)


@dataclass(frozen=True)
class MinimumRequirements:
    """What a host must offer; 0 means any."""

    cpu: int = 0
    memory_mb: int = 0
    disk_mb: int = 0

    @classmethod
    def from_json(cls, data: t.Any) -> MinimumRequirements:
        if data is None:
            return cls()
        reader = _Reader(data, "set of minimum requirements")
        return cls(**{name.name: reader.number(name.name, 0) for name in dataclasses.fields(cls)})

    def to_json(self) -> Json:
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
        reader = _Reader(data, "manifest")
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
            tainted=reader.truth("tainted"),
            revoked=reader.truth("revoked"),
            **t.cast("dict[str, t.Any]", {name: reader.number(name, 0) for name in _NUMBERS}),
            **t.cast("dict[str, t.Any]", {name: reader.optional_text(name) for name in _OPTIONAL_TEXTS}),
        )
        if manifest.architecture not in _ARCHITECTURES:
            raise reader.wrong("architecture")
        if manifest.type not in {"pvm", "macvm"}:
            raise reader.wrong("type")
        if not manifest.name or manifest.name in {".", ".."} or "/" in manifest.name or "\0" in manifest.name:
            raise reader.wrong("name")
        return manifest

    def to_json(self) -> Json:
        """The same as JSON."""
        data = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


_NUMBERS = ("chunk_size", "chunks", "files", "logical_bytes", "data_bytes", "stored_bytes", "download_count")
_OPTIONAL_TEXTS = (
    "storage",
    "tainted_by",
    "tainted_at",
    "untainted_by",
    "revoked_by",
    "revoked_at",
    "last_downloaded_at",
    "last_downloaded_user",
    "created_at",
    "updated_at",
    "created_by",
)


def manifests_from_json(data: t.Any) -> tuple[Manifest, ...]:
    """Read a list of manifests."""
    if not isinstance(data, (list, tuple)):
        raise BadReply("The server sent something that is not a list of manifests.")
    return tuple(Manifest.from_json(item) for item in data)


@dataclass(frozen=True)
class ServerInfo:
    """What a server says about itself to anybody."""

    name: str
    version: str
    catalog_uuid: str
    api: int
    features: tuple[str, ...]
    limits: t.Mapping[str, t.Any]

    @classmethod
    def from_json(cls, data: t.Any) -> ServerInfo:
        reader = _Reader(data, "server info")
        limits = reader.object("limits")
        return cls(
            name=reader.text("name", ""),
            version=reader.text("version", ""),
            catalog_uuid=reader.text("catalog_uuid", ""),
            api=reader.number("api"),
            features=reader.texts("features"),
            limits=limits if isinstance(limits, t.Mapping) else {},
        )


@dataclass(frozen=True)
class Token:
    """A login token and when it expires, in seconds since 1970."""

    token: str = field(repr=False)
    expires_at: float

    @classmethod
    def from_json(cls, data: t.Any) -> Token:
        reader = _Reader(data, "token")
        return cls(token=reader.text("token"), expires_at=reader.moment("expires_at"))


@dataclass(frozen=True)
class RenewedGrant:
    """A grant, and how long it is good for from its receipt on."""

    token: str = field(repr=False)
    lifetime_seconds: float

    @classmethod
    def from_json(cls, data: t.Any) -> RenewedGrant:
        reader = _Reader(data, "grant")
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
        reader = _Reader(data, "grant")
        return cls(
            token=reader.text("grant"),
            lifetime_seconds=float(reader.number("expires_in")),
            manifests=manifests_from_json(reader.list("manifests")),
            bases=manifests_from_json(reader.list("bases")),
        )


def signed_url_from_json(data: t.Any) -> SignedUrl:
    """Read a signed URL."""
    reader = _Reader(data, "signed URL")
    headers = reader.object("headers") or {}
    if not isinstance(headers, t.Mapping) or not all(isinstance(value, str) for value in headers.values()):
        raise reader.wrong("headers")
    return SignedUrl(reader.text("url"), float(reader.number("expires_in")), dict(headers))


@dataclass(frozen=True)
class UploadedSegment:
    """A segment that an upload has already; ``url`` reads it."""

    sha256: str
    size: int
    url: str = field(repr=False)

    @classmethod
    def from_json(cls, data: t.Any) -> UploadedSegment:
        reader = _Reader(data, "segment")
        return cls(sha256=reader.digest("sha256"), size=reader.number("size"), url=reader.text("url"))


@dataclass(frozen=True)
class UploadRequest:
    """What a pusher says when it begins."""

    catalog_id: str
    version: str
    architecture: str
    type: str
    name: str
    chunk_size: int
    description: str | None = None
    tags: tuple[str, ...] | None = None
    required_roles: tuple[str, ...] | None = None
    required_claims: tuple[str, ...] | None = None
    minimum_requirements: MinimumRequirements | None = None
    bases: tuple[str, ...] = ()
    storage: str | None = None
    force: bool = False
    expected_digest: str | None = None

    def to_json(self) -> Json:
        """The request's body; what is not set is left out."""
        data = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in data.items()
            if value is not None
        }


@dataclass(frozen=True)
class Upload:
    """An open upload; ``revision`` names what its last begin asked for."""

    id: str
    expires_at: float
    storage: str
    chunk_size: int
    revision: str
    bases: tuple[Manifest, ...]
    segments: tuple[UploadedSegment, ...]

    @classmethod
    def from_json(cls, data: t.Any) -> Upload:
        reader = _Reader(data, "upload")
        upload_id = reader.text("id")
        if not _UPLOAD_ID.match(upload_id):
            raise reader.wrong("id")
        return cls(
            id=upload_id,
            expires_at=reader.moment("expires_at"),
            storage=reader.text("storage", ""),
            chunk_size=reader.number("chunk_size"),
            revision=reader.text("revision"),
            bases=manifests_from_json(reader.list("bases")),
            segments=tuple(UploadedSegment.from_json(segment) for segment in reader.list("segments")),
        )
