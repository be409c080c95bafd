# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be done with manifests, but for moving their bytes."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses, resolution

from catalog_server.access import Audience
from catalog_server.catalog import authority, deltas, outbox, queries, records, tagging
from catalog_server.catalog.tags import wanted_tags
from catalog_server.database import Lock
from catalog_server.errors import Revoked, SharedSegments, UnknownManifest
from catalog_server.models.catalog import CatalogId, Manifest
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "manifest"
_PLAIN = ("description", "release_notes", "labels", "superseded_by")
# What excludes every other change of what keeps segments, and of their audiences.
SEGMENTS_LOCK = Lock("segments")


def catalog_id_lock(catalog_id: str) -> Lock:
    """What excludes every other change of the versions and tags of a catalog id, and of who may read them."""
    return Lock("catalog_id", catalog_id)


def locks(work: UnitOfWork, manifest_id: str) -> tuple[Lock, ...]:
    """Return what a change of a manifest has to hold.

    :raises UnknownManifest: the caller cannot see it
    """
    return (catalog_id_lock(get(work, manifest_id).catalog_id), SEGMENTS_LOCK)


def locks_of(catalog_id: str) -> tuple[Lock, ...]:
    """Return what a change of the versions of a catalog id has to hold.

    :raises InvalidAddress: it is not a valid catalog id
    """
    return (catalog_id_lock(addresses.normalise_catalog_id(catalog_id)), SEGMENTS_LOCK)


def get(work: UnitOfWork, manifest_id: str) -> Manifest:
    """A manifest that the caller may see.

    :raises UnknownManifest: there is none
    """
    found = queries.manifest(work.session, work.caller, manifest_id)
    if found is None:
        raise UnknownManifest.of(manifest_id)
    return found


def shown(work: UnitOfWork, manifest_id: str) -> records.Columns:
    """The columns of a manifest that the caller may see.

    :raises UnknownManifest: there is none
    """
    row = records.one(work.session, work.caller, manifest_id)
    if row is None:
        raise UnknownManifest.of(manifest_id)
    return row


def pullable(work: UnitOfWork, manifest_id: str) -> Manifest:
    """A manifest that the caller may pull now.

    :raises UnknownManifest: there is none
    :raises Blocked: it is tainted or revoked
    """
    found = get(work, manifest_id)
    resolution.check_pullable(found, found.catalog_id)
    return found


def pullable_brief(work: UnitOfWork, manifest_id: str) -> records.Brief:
    """As ``pullable``, but the little of it that every request of a pull asks."""
    found = records.brief(work.session, work.caller, manifest_id)
    if found is None:
        raise UnknownManifest.of(manifest_id)
    resolution.check_pullable(found, found.catalog_id)
    return found


def resolve(work: UnitOfWork, catalog_id: str, version: str | None, architecture: str | None) -> Sequence[Manifest]:
    """What a version, tag or range means, as ``resolve_each`` says; the pullable ones."""
    return resolve_each(work, catalog_id, version, architecture)[0]


def resolve_each(
    work: UnitOfWork, catalog_id: str, version: str | None, architecture: str | None
) -> tuple[Sequence[Manifest], Sequence[Manifest]]:
    """What a version, tag or range means, one manifest for each architecture, or for the one that is asked for.

    First those that may be pulled, of which there is at least one, then those that must not.

    :raises Missing: nothing that the caller may see
    :raises Blocked: it is tainted or revoked
    :raises InvalidAddress: it cannot be the address of anything
    """
    catalog_id = addresses.normalise_catalog_id(catalog_id)
    architecture = addresses.normalise_architecture(architecture) if architecture else None
    found = queries.candidates(work.session, work.caller, catalog_id, architecture)
    if architecture is None:
        return resolution.choose_each(found, version, catalog_id=catalog_id)
    return [resolution.choose(found, version, catalog_id=catalog_id, architecture=architecture)], []


def default_bases(
    candidates: Iterable[Manifest], version: str, roles: Iterable[str] | None, claims: Iterable[str] | None
) -> Sequence[Manifest]:
    """What a push of a version refers to unless it says otherwise: of each architecture the first candidate that may be
    pulled, and has the audience that the version will have.
    """
    candidates = list(candidates)
    before = {found.architecture: Audience.parse(found.audience) for found in candidates if found.version == version}
    chosen: dict[str, Manifest] = {}
    for found in candidates:
        audience = before.get(found.architecture, Audience()).edited(roles, claims)
        if not found.tainted and not found.revoked and found.audience == audience.text():
            chosen.setdefault(found.architecture, found)
    return [chosen[name] for name in sorted(chosen)]


# Editing


def edit(work: UnitOfWork, manifest_id: str, changes: Mapping[str, t.Any]) -> Manifest:
    """Set fields of a manifest: description, tags, required_roles, required_claims, minimum_requirements.

    :raises SharedSegments: it would let people read segments that other manifests use, too
    """
    manifest = get(work, manifest_id)
    authority.require_change(work, manifest.catalog_id)
    before: dict[str, t.Any] = {}
    _set(manifest, _columns(changes), before)
    if "required_roles" in changes or "required_claims" in changes:
        _move_audience(work, manifest, changes, before)
    if "tags" in changes:
        wanted = wanted_tags(changes["tags"], manifest.tags)
        if wanted != set(manifest.tags):
            before["tags"] = list(manifest.tags)
            tagging.set_tags(work, manifest, wanted)
    if before:
        manifest.updated_at = work.now
        outbox.manifests_changed(work, manifest.id)
        work.record("manifest.edit", SUBJECT, manifest.id, before=before, after=dict(changes))
        work.session.flush()
    return get(work, manifest_id)


def _columns(changes: Mapping[str, t.Any]) -> dict[str, t.Any]:
    columns = {name: changes[name] for name in _PLAIN if name in changes}
    columns.update({f"minimum_{name}": value for name, value in changes.get("minimum_requirements", {}).items()})
    return columns


def _set(manifest: Manifest, columns: Mapping[str, t.Any], before: dict[str, t.Any]) -> None:
    for name, value in columns.items():
        if getattr(manifest, name) != value:
            before[name] = getattr(manifest, name)
            setattr(manifest, name, value)


def _move_audience(
    work: UnitOfWork, manifest: Manifest, changes: Mapping[str, t.Any], before: dict[str, t.Any]
) -> None:
    old = Audience.parse(manifest.audience)
    new = old.edited(changes.get("required_roles"), changes.get("required_claims"))
    if new == old:
        return
    if not new.lies_within(old) and queries.uses_shared_segments(work.session, manifest.id):
        raise SharedSegments(
            f"Version {manifest.version!r} of catalog id {manifest.catalog_id!r} shares stored data with other "
            "versions, so it cannot be opened to more people. Push it whole, without bases, as another version with "
            "the roles and claims that you want."
        )
    before["audience"] = manifest.audience
    manifest.audience_text = queries.audience_row(work.session, new.text())
    work.session.flush()
    # What others use as well keeps its audience, and no push with the new one may refer to it.
    queries.move_own_segments(work.session, manifest.id, manifest.audience_id)
    deltas.drop_touching(work, manifest.id)


def next_push_number(work: UnitOfWork, catalog_id: str) -> int:
    """Return the number of a push to a catalog id, whose lock is held; the catalog id is made if it is new."""
    row = queries.catalog_id(work.session, catalog_id)
    if row is None:
        row = CatalogId(name=catalog_id, last_push_number=0, created_at=work.now, created_by=work.caller.username)
        work.session.add(row)
    row.last_push_number += 1
    work.session.flush()
    return row.last_push_number


# Taint, revocation, deletion


def taint(work: UnitOfWork, manifest_id: str, reason: str | None) -> Manifest:
    """Let nobody pull it for now.

    :raises Revoked: nobody may anyway, for good
    """
    manifest = _not_revoked(work, manifest_id)
    authority.require_change(work, manifest.catalog_id)
    if not manifest.tainted:
        manifest.tainted, manifest.tainted_by, manifest.tainted_at = True, work.caller.username, work.now
        manifest.untainted_by = None
        _marked(work, manifest, "manifest.taint", reason)
    return manifest


def untaint(work: UnitOfWork, manifest_id: str, reason: str | None) -> Manifest:
    """Take back a taint."""
    manifest = _not_revoked(work, manifest_id)
    authority.require_change(work, manifest.catalog_id)
    if manifest.tainted:
        manifest.tainted, manifest.tainted_by, manifest.tainted_at = False, None, None
        manifest.untainted_by = work.caller.username
        _marked(work, manifest, "manifest.untaint", reason)
    return manifest


def revoke(work: UnitOfWork, manifest_id: str, reason: str | None) -> Manifest:
    """Let nobody pull it any more."""
    manifest = get(work, manifest_id)
    authority.require_change(work, manifest.catalog_id)
    if not manifest.revoked:
        manifest.revoked, manifest.revoked_by, manifest.revoked_at = True, work.caller.username, work.now
        _marked(work, manifest, "manifest.revoke", reason)
    return manifest


def _not_revoked(work: UnitOfWork, manifest_id: str) -> Manifest:
    manifest = get(work, manifest_id)
    if manifest.revoked:
        raise Revoked(f"Version {manifest.version!r} of catalog id {manifest.catalog_id!r} is revoked for good.")
    return manifest


def _marked(work: UnitOfWork, manifest: Manifest, action: str, reason: str | None) -> None:
    manifest.updated_at = work.now
    outbox.manifests_changed(work, manifest.id)
    work.record(action, SUBJECT, manifest.id, reason=reason, **_address(manifest))


def delete(work: UnitOfWork, manifest_id: str, reason: str | None = None) -> None:
    """Delete the record; see ``transfers/removal.py``, which lets go what it used."""
    manifest = get(work, manifest_id)
    authority.require_change(work, manifest.catalog_id)
    why = {"reason": reason} if reason is not None else {}
    work.record("manifest.delete", SUBJECT, manifest.id, digest=manifest.digest, **_address(manifest), **why)
    work.session.flush()
    queries.delete_manifest(work.session, manifest.id)
    # The database deleted its tags as well, which the session does not know.
    work.session.expunge_all()
    tagging.follow_latest(work, manifest.catalog_id, manifest.architecture)


def _address(manifest: Manifest) -> dict[str, str]:
    return {
        "catalog_id": manifest.catalog_id,
        "version": manifest.version,
        "architecture": manifest.architecture,
    }
