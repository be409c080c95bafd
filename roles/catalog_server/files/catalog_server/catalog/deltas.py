# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deltas of manifests: which of them lead to a manifest, and what ends them.

A delta is handed out as long as its manifest and its base have the audience that both had at the commit: an edit of
either drops it. Its objects are removed once no signed URL can open them any more.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, String, bindparam, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from catalog_server.models.catalog import Manifest, SegmentedContent
from catalog_server.models.storage import Pack
from catalog_server.models.transfers import Delta, PatchObject
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.unit_of_work import UnitOfWork

# How many deltas a host may follow one after another, and how many it is told, those of the newest versions first.
_MOST_STEPS = 64
_MOST_TOLD = 200

ObjectName = tuple[str, str]


@dataclass(frozen=True)
class LeadingDelta:
    """A delta that leads to a manifest, or to the base of another one that does; bytes as in the table."""

    base_digest: str
    digest: str
    pack: str
    sha256: str
    size: int
    patch_bytes: int
    chunk_bytes: int
    storage: str


def _leading() -> Select[*tuple[t.Any, ...]]:
    """The deltas to a manifest, to the manifests that these start from, and so on.

    They go from manifest to manifest, and not from digest to digest: the rows of a delta are those of the pack of its
    manifest, and another manifest of the same content may have another pack.
    """
    base, wanted = aliased(Manifest), aliased(Manifest)
    reached = select(bindparam("manifest_id", type_=String).label("id"), literal(0).label("steps")).cte(
        "reached", recursive=True
    )
    step = (
        select(Delta.base_manifest_id, reached.c.steps + 1)
        .join(reached, reached.c.id == Delta.manifest_id)
        .join(base, base.id == Delta.base_manifest_id)
        .join(SegmentedContent, SegmentedContent.manifest_id == base.id)
        .join(wanted, wanted.id == bindparam("manifest_id"))
        .where(
            reached.c.steps < _MOST_STEPS,
            # A version may have been replaced by another content.
            SegmentedContent.digest == Delta.base_digest,
            # Another version that the same people may pull
            base.catalog_id == wanted.catalog_id,
            base.architecture == wanted.architecture,
            base.audience_id == wanted.audience_id,
            ~base.tainted,
            ~base.revoked,
        )
    )
    reached = reached.union(step)
    return (
        select(
            Delta.base_digest,
            SegmentedContent.digest,
            Delta.pack,
            Delta.sha256,
            Delta.size,
            Delta.patch_bytes,
            Delta.chunk_bytes,
            Pack.storage,
        )
        .join(SegmentedContent, SegmentedContent.manifest_id == Delta.manifest_id)
        .join(Manifest, Manifest.id == Delta.manifest_id)
        .join(Pack, Pack.id == Delta.pack)
        .where(Delta.manifest_id.in_(select(reached.c.id)))
        .order_by(Manifest.push_number.desc(), Delta.pack, Delta.sha256)
        .limit(_MOST_TOLD)
    )


_LEADING = _leading()


def leading_to(session: Session, manifest_id: str) -> list[LeadingDelta]:
    """Return the deltas that lead to a manifest, directly or one after another."""
    rows = session.connection().execute(_LEADING, {"manifest_id": manifest_id})
    return [LeadingDelta(*row) for row in rows]


def patch_objects(session: Session, deltas: Collection[ObjectName]) -> list[ObjectName]:
    """Return the objects of patches of these deltas."""
    named = tuple_(PatchObject.pack, PatchObject.delta).in_(list(deltas))
    return [
        (row.pack, row.sha256) for row in session.execute(select(PatchObject.pack, PatchObject.sha256).where(named))
    ]


def names_in(session: Session, pack: str) -> tuple[set[str], set[str]]:
    """Return the SHA-256 of the deltas in a pack, and of the objects of patches there."""
    deltas = select(literal("delta").label("kind"), Delta.sha256).where(Delta.pack == pack)
    patches = select(literal("patches"), PatchObject.sha256).where(PatchObject.pack == pack)
    names: dict[str, set[str]] = {"delta": set(), "patches": set()}
    for kind, sha256 in session.execute(deltas.union(patches)):
        names[kind].add(sha256)
    return names["delta"], names["patches"]


def drop_of(work: UnitOfWork, manifest_id: str) -> int:
    """Drop the deltas that lead to a manifest, whose content is replaced for the same users; return how many."""
    return _drop(work, Delta.manifest_id == manifest_id)


def drop_touching(work: UnitOfWork, manifest_id: str) -> int:
    """Drop the deltas that lead to a manifest or start from it, whose audience changes; return how many there were."""
    return _drop(work, or_(Delta.manifest_id == manifest_id, Delta.base_manifest_id == manifest_id))


def drop_older(work: UnitOfWork, before: datetime.datetime) -> int:
    """Drop the deltas of versions that were pushed before a time; return how many there were."""
    old = select(Manifest.id).where(Manifest.pushed_at < before)
    return _drop(work, Delta.manifest_id.in_(old))


def _drop(work: UnitOfWork, condition: ColumnElement[bool]) -> int:
    session = work.session
    session.flush()
    # By conditions and not by names, which may be more than a statement has parameters.
    total = session.scalar(select(func.count()).select_from(Delta).where(condition)) or 0
    if total:
        session.execute(
            update(Pack)
            .where(Pack.id.in_(select(Delta.pack).where(condition)))
            .values(tidy_after=work.in_seconds(LONGEST_URL_SECONDS))
            .execution_options(synchronize_session=False)
        )
        session.execute(delete(Delta).where(condition).execution_options(synchronize_session=False))
    return total
