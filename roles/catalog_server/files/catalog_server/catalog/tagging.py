# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moving tags: who may, what no tag can be, and where ``latest`` belongs. ``tags.py`` says what tags are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.catalog import authority, outbox, queries
from catalog_server.catalog.tags import latest_of, wanted_tags
from catalog_server.errors import NameTaken, TagImmutable
from catalog_server.models.catalog import Manifest, ManifestTag
from catalog_server.unit_of_work import UnitOfWork


def require_tags(
    work: UnitOfWork, catalog_id: str, architecture: str, names: Iterable[str], manifest_id: str | None
) -> None:
    """Check that the caller may put tags on a manifest; None is one that is going to be pushed.

    :raises CatalogIdDenied: the tags of the catalog id are for others to move
    :raises NameTaken: a version has the name of a tag
    :raises TagImmutable: a tag stays at the version that has it
    """
    rows = {name: queries.tag(work.session, catalog_id, architecture, name) for name in sorted(names)}
    moved = {name: row for name, row in rows.items() if row is None or row.manifest_id != manifest_id}
    if not moved:
        return
    authority.require_tag(work, catalog_id)
    of = queries.catalog_id(work.session, catalog_id)
    for name, row in moved.items():
        if queries.has_version(work.session, catalog_id, name):
            raise NameTaken(f"The catalog id {catalog_id!r} has a version {name!r}, so no tag can have that name.")
        if row is not None and of is not None and of.immutable_tags:
            raise TagImmutable(f"The tag {name!r} of the catalog id {catalog_id!r} stays at the version that has it.")


def require_release(work: UnitOfWork, manifest: Manifest, names: Iterable[str]) -> None:
    """Check that the caller may take these tags from a manifest, or let them name other content.

    Otherwise whoever may not move a tag could take it away here and put it there, or replace what it names.

    :raises CatalogIdDenied: the tags of the catalog id are for others to move
    :raises TagImmutable: a tag stays at the version that has it
    """
    # Where "latest" is, nobody asked for.
    taken = sorted(set(names) - {addresses.LATEST})
    if not taken:
        return
    authority.require_tag(work, manifest.catalog_id)
    of = queries.catalog_id(work.session, manifest.catalog_id)
    if of is not None and of.immutable_tags:
        raise TagImmutable(f"The tag {taken[0]!r} of the catalog id {of.name!r} stays at the content that it names.")


def set_tags(work: UnitOfWork, manifest: Manifest, wanted: Iterable[str]) -> None:
    """Let exactly these tags name the manifest; those that named another version leave it.

    :raises CatalogIdDenied, NameTaken, TagImmutable: see ``require_tags`` and ``require_release``
    """
    wanted = set(wanted)
    # Where "latest" is, nobody asked for.
    asked = wanted - {addresses.LATEST}
    require_tags(work, manifest.catalog_id, manifest.architecture, asked, manifest.id)
    here = queries.tags_of(work.session, manifest.id)
    require_release(work, manifest, {row.tag for row in here} - wanted)
    outbox.manifests_changed(work, manifest.id)
    for row in here:
        if row.tag not in wanted:
            work.session.delete(row)
    for name in sorted(wanted):
        _tag(work, manifest.catalog_id, manifest.architecture, name, manifest.id)
    work.session.flush()


def tag_push(work: UnitOfWork, manifest: Manifest, texts: Sequence[str]) -> None:
    """After a push: add the tags that it asks for, and let ``latest`` follow it if it is newer."""
    here = [row.tag for row in queries.tags_of(work.session, manifest.id)]
    set_tags(work, manifest, wanted_tags(texts, here) | set(here))
    follow_latest(work, manifest.catalog_id, manifest.architecture)


def follow_latest(work: UnitOfWork, catalog_id: str, architecture: str) -> None:
    """Put ``latest`` where it belongs among the versions that are there."""
    work.session.flush()
    pushed = queries.pushed_versions(work.session, catalog_id, architecture)
    latest = latest_of(version for version, _id in pushed)
    manifest_id = dict(pushed).get(latest) if latest is not None else None
    if manifest_id is not None:
        _tag(work, catalog_id, architecture, addresses.LATEST, manifest_id)


def _tag(work: UnitOfWork, catalog_id: str, architecture: str, name: str, manifest_id: str) -> None:
    row = queries.tag(work.session, catalog_id, architecture, name)
    if row is None:
        outbox.manifests_changed(work, manifest_id)
        work.session.add(
            ManifestTag(catalog_id=catalog_id, architecture=architecture, tag=name, manifest_id=manifest_id)
        )
    elif row.manifest_id != manifest_id:
        outbox.manifests_changed(work, manifest_id, row.manifest_id)
        row.manifest_id = manifest_id
    work.session.flush()
