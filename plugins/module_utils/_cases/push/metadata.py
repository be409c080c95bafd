# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a push asks for, and what it says about a version besides its content. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, fields

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest, MinimumRequirements


@dataclass(frozen=True)
class PushRequest:
    """What the task asks for, and what the controller found out: manifests at the address, and bases.

    What describes the version and is None stays as it is, or becomes empty. ``chunk_size`` and ``delta_budget`` are in
    bytes; without the latter, the budget follows from what is new.
    """

    path: str
    catalog_id: str
    version: str
    architecture: t.Optional[str]
    codec: str
    compression_level: int
    chunk_size: t.Optional[int]
    description: t.Optional[str]
    tags: t.Optional[t.Sequence[str]]
    required_roles: t.Optional[t.Sequence[str]]
    required_claims: t.Optional[t.Sequence[str]]
    minimum_requirements: t.Optional[MinimumRequirements]
    force: bool
    allow_suspended: bool
    deltas: bool = True
    delta_budget: t.Optional[int] = None
    keep_in_cache: bool = False
    catalog_url: str = ""
    manifests: tuple[Manifest, ...] = ()
    bases: tuple[Manifest, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """What describes a version, as the server will have it; lists are sorted."""

    description: str
    tags: tuple[str, ...]
    required_roles: tuple[str, ...]
    required_claims: tuple[str, ...]
    minimum_requirements: MinimumRequirements

    @classmethod
    def of(cls, manifest: Manifest) -> Metadata:
        """Returns what a manifest says."""
        return cls(
            manifest.description,
            tuple(sorted(manifest.tags)),
            tuple(sorted(manifest.required_roles)),
            tuple(sorted(manifest.required_claims)),
            manifest.minimum_requirements,
        )

    @classmethod
    def wanted(cls, request: PushRequest, existing: t.Optional[Manifest]) -> Metadata:
        """Returns what a request makes of what is there. A push adds tags, and takes none away."""
        before = cls.of(existing) if existing is not None else cls("", (), (), (), MinimumRequirements())
        minimum = request.minimum_requirements
        # The server alone moves "latest".
        tags = {addresses.normalise_tag(tag) for tag in request.tags or ()} - {addresses.LATEST}
        return cls(
            before.description if request.description is None else request.description,
            tuple(sorted({*before.tags, *tags})),
            _rights(request.required_roles, before.required_roles),
            _rights(request.required_claims, before.required_claims),
            before.minimum_requirements if minimum is None else minimum,
        )

    @property
    def audience(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who sees the version. The server lets only versions of one audience share segments."""
        return self.required_roles, self.required_claims

    def differences(self, other: Metadata) -> list[str]:
        """Returns the names of the fields that differ."""
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]

    def to_json(self) -> dict[str, t.Any]:
        """Returns the fields as the server writes them in a manifest."""
        return {
            "description": self.description,
            "tags": list(self.tags),
            "required_roles": list(self.required_roles),
            "required_claims": list(self.required_claims),
            "minimum_requirements": self.minimum_requirements.to_json(),
        }


def shown(manifest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the part of a manifest that a diff shows."""
    names = (
        "catalog_id",
        "version",
        "architecture",
        "digest",
        "logical_bytes",
        *(one.name for one in fields(Metadata)),
    )
    part = {name: manifest[name] for name in names if name in manifest}
    if "tags" in part:
        # The server moves it by itself, to this version or not.
        part["tags"] = [tag for tag in part["tags"] if tag != addresses.LATEST]
    return part


def _rights(wanted: t.Optional[t.Sequence[str]], before: tuple[str, ...]) -> tuple[str, ...]:
    return before if wanted is None else tuple(sorted({addresses.normalise_right(name) for name in wanted}))
