# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The metadata records as desired state: what differs, and the requests that change it. Runs on the controller."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses, versions
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadRequest, Conflict, Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest

# What a difference is shown of.
_SHOWN = (
    "description",
    "tags",
    "required_roles",
    "required_claims",
    "minimum_requirements",
    "tainted",
    "revoked",
)


@dataclass(frozen=True)
class Address:
    """One version of a catalog id, for one architecture or for all that there are."""

    catalog_id: str
    version: str
    architecture: str | None

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any]) -> Address:
        """Read and normalise the options of an address."""
        architecture = options["architecture"]
        return cls(
            catalog_id=addresses.normalise_catalog_id(options["catalog_id"]),
            version=addresses.normalise_version(options["version"]),
            architecture=addresses.normalise_architecture(architecture) if architecture else None,
        )

    def __str__(self) -> str:
        text = f"version {self.version!r} of catalog id {self.catalog_id!r}"
        return f"{text} for {self.architecture}" if self.architecture else text


@dataclass(frozen=True)
class Wanted:
    """How the records at an address shall be; None leaves a field as it is."""

    address: Address
    absent: bool = False
    description: str | None = None
    tags: tuple[str, ...] | None = None
    required_roles: tuple[str, ...] | None = None
    required_claims: tuple[str, ...] | None = None
    minimum_requirements: t.Mapping[str, int] = field(default_factory=dict)
    tainted: bool | None = None
    revoked: bool | None = None

    @classmethod
    def from_options(cls, options: t.Mapping[str, t.Any]) -> Wanted:
        """Read the options of ``catalog_manifest``."""

        tags = options["tags"]
        return cls(
            address=Address.from_options(options),
            absent=options["state"] == "absent",
            description=options["description"],
            tags=None if tags is None else _sorted(addresses.normalise_tag(tag) for tag in tags),
            required_roles=_rights(options["required_roles"]),
            required_claims=_rights(options["required_claims"]),
            minimum_requirements={
                name: value for name, value in (options["minimum_requirements"] or {}).items() if value is not None
            },
            tainted=options["tainted"],
            revoked=options["revoked"],
        )


def _rights(names: t.Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else _sorted(addresses.normalise_right(name) for name in names)


def _sorted(texts: t.Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))


@dataclass(frozen=True)
class Change:
    """What has to happen to one record: ``edits`` are fields to set, ``marks`` are taint, untaint and revoke."""

    before: Manifest
    after: Manifest | None
    edits: t.Mapping[str, t.Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Return True if anything has to happen."""
        return self.after is None or bool(self.edits) or bool(self.marks)

    def diff(self) -> dict[str, t.Any]:
        """For Ansible's diff mode."""
        header = f"{self.before.catalog_id} {self.before.version} {self.before.architecture}"
        return {
            "before_header": header,
            "after_header": header,
            "before": _shown(self.before),
            "after": {} if self.after is None else _shown(self.after),
        }


def _shown(manifest: Manifest) -> dict[str, t.Any]:
    data = manifest.to_json()
    return {name: data[name] for name in _SHOWN}


def find(client: CatalogClient, address: Address) -> list[Manifest]:
    """The records at an address, tainted and revoked ones included."""
    fields = dataclasses.asdict(address)
    return sorted(
        (
            manifest
            for manifest in client.manifests(fields)
            if manifest.version.lower() == address.version and address.architecture in (None, manifest.architecture)
        ),
        key=lambda manifest: manifest.architecture,
    )


def plan(wanted: Wanted, found: t.Sequence[Manifest]) -> list[Change]:
    """What has to happen to each record at the address; pure.

    :raises Missing: something is to be present that nobody has pushed
    :raises Conflict: what is revoked shall not be any more
    """
    if wanted.absent:
        return [Change(manifest, None) for manifest in found]
    if not found:
        raise Missing(
            f"Could not set fields of {wanted.address}: there is none, or you may not see it.",
            "Push it first with macfleet.parallels.catalog_push, or check the spelling and the rights of the user. "
            "A tag such as 'latest' is not accepted here; catalog_manifest_info finds its version by the option tag.",
            code="unknown_manifest",
        )
    return [_change(wanted, manifest) for manifest in found]


def _change(wanted: Wanted, manifest: Manifest) -> Change:
    _check_marks(wanted, manifest)
    after = manifest
    if wanted.description is not None:
        after = dataclasses.replace(after, description=wanted.description)
    if wanted.tags is not None:
        after = dataclasses.replace(after, tags=_tags(wanted, manifest.tags))
    if wanted.required_roles is not None:
        after = dataclasses.replace(after, required_roles=_kept(wanted.required_roles, manifest.required_roles))
    if wanted.required_claims is not None:
        after = dataclasses.replace(after, required_claims=_kept(wanted.required_claims, manifest.required_claims))
    requirements = dataclasses.replace(manifest.minimum_requirements, **wanted.minimum_requirements)
    after = dataclasses.replace(after, minimum_requirements=requirements)
    before_data, after_data = manifest.to_json(), after.to_json()
    edits = {name: value for name, value in after_data.items() if value != before_data[name]}
    marks = []
    if wanted.tainted is not None and wanted.tainted != manifest.tainted:
        marks.append("taint" if wanted.tainted else "untaint")
        after = dataclasses.replace(after, tainted=wanted.tainted)
    if wanted.revoked and not manifest.revoked:
        marks.append("revoke")
        after = dataclasses.replace(after, revoked=True)
    return Change(manifest, after, edits, tuple(marks))


def _check_marks(wanted: Wanted, manifest: Manifest) -> None:
    """What the server would refuse, check mode has to refuse, too."""
    if not manifest.revoked:
        return
    if wanted.revoked is False or wanted.tainted not in (None, manifest.tainted):
        raise Conflict(
            f"Could not mark {wanted.address} as wanted: it is revoked for good.",
            "Push it again as another version.",
            code="revoked",
        )


def _kept(wanted: tuple[str, ...], there: tuple[str, ...]) -> tuple[str, ...]:
    """``wanted``, unless it is what is there but for order and case, which mean nothing."""
    same = {text.casefold() for text in wanted} == {text.casefold() for text in there}
    return there if same else wanted


def _tags(wanted: Wanted, there: tuple[str, ...]) -> tuple[str, ...]:
    """The server moves ``latest`` by itself: a list without it does not take it away, nor can one put it somewhere."""
    tags = set(wanted.tags or ())
    if addresses.LATEST in there:
        tags.add(addresses.LATEST)
    elif addresses.LATEST in tags:
        raise BadRequest(
            f"Could not set the tag {addresses.LATEST!r} of {wanted.address}: it follows the newest push by itself.",
            "Choose another tag, or push the version again.",
        )
    return _kept(_sorted(tags), there)


@dataclass(frozen=True)
class Applied:
    """A record as it is behind a change, None if it was deleted; then ``freed_bytes`` become free in storage."""

    manifest: Manifest | None
    freed_bytes: int = 0


def apply(client: CatalogClient, change: Change) -> Applied:
    """Carry out one change."""
    if change.after is None:
        return Applied(None, client.delete_manifest(change.before.id))
    manifest = change.before
    if change.edits:
        manifest = client.edit_manifest(manifest.id, change.edits)
    for mark in change.marks:
        if mark == "taint":
            manifest = client.taint(manifest.id)
        elif mark == "untaint":
            manifest = client.untaint(manifest.id)
        else:
            manifest = client.revoke(manifest.id)
    return Applied(manifest)


def ensure(client: CatalogClient, options: t.Mapping[str, t.Any], *, check_mode: bool, diff: bool) -> dict[str, t.Any]:
    """The result of ``catalog_manifest``."""
    wanted = Wanted.from_options(options)
    changes = plan(wanted, find(client, wanted.address))
    done = [Applied(change.after) if check_mode or not change.changed else apply(client, change) for change in changes]
    manifests = [one.manifest.to_json() for one in done if one.manifest is not None]
    result: dict[str, t.Any] = {"changed": any(change.changed for change in changes), "manifests": manifests}
    if any(change.after is None for change in changes) and not check_mode:
        result["freed_bytes"] = sum(one.freed_bytes for one in done)
    if diff:
        result["diff"] = [change.diff() for change in changes if change.changed]
    return result


def query(client: CatalogClient, options: t.Mapping[str, t.Any]) -> list[Manifest]:
    """The records that all filters let pass, ordered by address."""
    filters = {name: options[name] for name in ("type", "tainted", "revoked")}
    if options["catalog_id"]:
        filters["catalog_id"] = addresses.normalise_catalog_id(options["catalog_id"])
    if options["architecture"]:
        filters["architecture"] = addresses.normalise_architecture(options["architecture"])
    if options["tag"]:
        filters["tag"] = addresses.normalise_tag(options["tag"])
    wanted = versions.parse_wanted(options["version"]) if options["version"] else None
    if isinstance(wanted, str):
        filters["version"] = wanted
    found = client.manifests(filters)
    if isinstance(wanted, versions.Range):
        found = (manifest for manifest in found if wanted.admits(manifest.version))
    return sorted(found, key=_by_address)


def hint(options: t.Mapping[str, t.Any], found: t.Sequence[Manifest]) -> str | None:
    """Return what a user should know who finds nothing because the name of a tag is not that of a version."""
    name = options["version"]
    if found or not name or versions.is_range(name):
        return None
    return f"There is no version {name!r}. If it is a tag, set the option tag instead of version."


def _by_address(manifest: Manifest) -> tuple[t.Any, ...]:
    version = versions.parse_version(manifest.version)
    ordered = version or versions.OrderedVersion(())
    return manifest.catalog_id, version is not None, ordered, manifest.version, manifest.architecture
