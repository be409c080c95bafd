# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is true of database and storage at any time, whoever raced with whom and whoever was killed."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Iterable
from pathlib import Path

from catalog_server.catalog.tags import latest_of
from catalog_server.models.audit import AuditEntry
from catalog_server.models.base import Base
from catalog_server.models.catalog import Manifest, ManifestSegment, ManifestTag, SegmentedContent
from catalog_server.models.identity import ApiKey, User
from catalog_server.models.jobs import Job, OutboxEntry
from catalog_server.models.storage import GROWING, LIVE, Pack
from catalog_server.models.transfers import COMMITTED, OPEN, Segment, Upload
from catalog_server.unit_of_work import utc_now
from running import Server, wait_until
from sqlalchemy import ForeignKeyConstraint, Select, and_, exists, func, select, text, update
from sqlalchemy.orm import Session, selectinload

# What the data directory of a server of the tests may hold.
_OF_DATABASE = r"catalog\.db(-wal|-shm|\.migrate)?"
_IN_DATA = re.compile(rf"({_OF_DATABASE}|server-secret|storage|spool|server\.log|ready)\Z")
_IN_STORAGE = re.compile(
    r"(catalog\.json|packs/[^/]+/([0-9a-f]{64}(\.listing|\.locator)?|manifest\.json|state\.json))\Z"
)


def assert_sound(server: Server, catalog_id: str) -> None:
    """Every segment that a manifest uses is there, is not condemned, and is for the manifest's own audience."""
    with server.services.database.reading() as session:
        uses = session.execute(
            select(Manifest.audience_id, Segment.audience_id, Segment.condemned_at, Segment.pack, Segment.sha256)
            .join(ManifestSegment, ManifestSegment.manifest_id == Manifest.id)
            .join(Segment, (Segment.pack == ManifestSegment.pack) & (Segment.sha256 == ManifestSegment.sha256))
            .where(Manifest.catalog_id == catalog_id)
        ).all()
        contents = session.scalars(
            select(SegmentedContent).join(Manifest).where(Manifest.catalog_id == catalog_id)
        ).all()
    folder = server.data_dir / "storage/packs"
    for audience, of_segment, condemned_at, pack, sha256 in uses:
        assert audience == of_segment
        assert condemned_at is None
        assert (folder / pack / sha256).is_file()
    for content in contents:
        assert (folder / content.pack / content.listing_object).is_file()
        assert (folder / content.pack / content.locator_object).is_file()


def assert_rows_fit(server: Server) -> None:
    """Every reference leads to a row, and what belongs together is there together."""
    with server.services.database.reading() as session:
        for table in Base.metadata.sorted_tables:
            for constraint in table.foreign_key_constraints:
                assert not _dangling(session, constraint), f"{table.name}: {constraint.column_keys}"
        if server.services.database.dialect == "sqlite":
            assert session.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
        without_content = select(Manifest.id).where(~exists().where(SegmentedContent.manifest_id == Manifest.id))
        assert not session.scalars(without_content).all()
        states = session.execute(select(Upload.id, Upload.state, Pack.state).join(Pack, Pack.id == Upload.id)).all()
        for upload_id, of_upload, of_pack in states:
            assert (of_upload == OPEN) == (of_pack == GROWING), upload_id
        committed = session.scalars(select(Upload.id).where(Upload.state == COMMITTED)).all()
        pushed = session.scalars(select(AuditEntry.details).where(AuditEntry.action == "manifest.push")).all()
        assert set(committed) <= {details["upload"] for details in pushed}
        _assert_latest_is_right(session)


def _dangling(session: Session, constraint: ForeignKeyConstraint) -> int:
    child = constraint.parent
    parent = constraint.referred_table.alias()
    pairs = [(element.parent, parent.c[element.column.name]) for element in constraint.elements]
    statement = (
        select(func.count())
        .select_from(child)
        .where(
            *(column.is_not(None) for column, _key in pairs),
            ~exists().where(and_(*(key == column for column, key in pairs))),
        )
    )
    return session.scalar(statement) or 0


def _assert_latest_is_right(session: Session) -> None:
    order = select(Manifest).order_by(Manifest.push_number)
    versions: dict[tuple[str, str], list[str]] = {}
    for manifest in session.scalars(order):
        versions.setdefault((manifest.catalog_id, manifest.architecture), []).append(manifest.version)
    rows = session.execute(
        select(ManifestTag.catalog_id, ManifestTag.architecture, Manifest.version)
        .join(Manifest, Manifest.id == ManifestTag.manifest_id)
        .where(ManifestTag.tag == "latest")
    )
    found = {(catalog_id, architecture): version for catalog_id, architecture, version in rows}
    assert found == {key: latest_of(pushed) for key, pushed in versions.items()}


def assert_objects_are_whole(server: Server) -> None:
    """Every object that a manifest needs is in storage, and is what its name says."""
    folder = server.data_dir / "storage/packs"
    with server.services.database.reading() as session:
        uses = session.execute(select(ManifestSegment.pack, ManifestSegment.sha256, Segment.size).join(Segment)).all()
        contents = session.scalars(select(SegmentedContent)).all()
    needed = {(pack, sha256): size for pack, sha256, size in uses}
    for (pack, sha256), size in needed.items():
        path = folder / pack / sha256
        assert path.is_file() and path.stat().st_size == size, path
        assert _sha256(path) == sha256, path
    for content in contents:
        for name in (content.listing_object, content.locator_object):
            path = folder / content.pack / name
            assert path.is_file() and _sha256(path) == name.partition(".")[0], path
        record = json.loads((folder / content.pack / "manifest.json").read_bytes())
        assert (record["manifest_id"], record["digest"]) == (content.manifest_id, content.digest)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_no_stray_files(server: Server) -> None:
    """The data directory holds what the server keeps there, and no temporary file, half object or unknown pack."""
    assert [path.name for path in server.data_dir.iterdir() if not _IN_DATA.match(path.name)] == []
    assert list((server.data_dir / "spool").iterdir()) == []
    storage = server.data_dir / "storage"
    found = [path.relative_to(storage).as_posix() for path in storage.rglob("*") if not path.is_dir()]
    assert [name for name in found if not _IN_STORAGE.match(name)] == []
    with server.services.database.reading() as session:
        known = set(session.scalars(select(Pack.id)))
    assert {path.name for path in (storage / "packs").glob("*")} <= known


def assert_states_are_written(server: Server) -> None:
    """The server itself writes what the outbox holds; then the state of each pack says what the database says."""
    with server.services.database.writing() as session:
        # As if the lease of a process that was killed had run out.
        session.execute(update(Job).values(leased_until=utc_now()))
    wait_until(lambda: not _outbox(server))
    with server.services.database.reading() as session:
        packs = session.scalars(select(Pack.id).where(Pack.state == LIVE)).all()
        manifests = {
            manifest.segmented.pack: (manifest.id, sorted(manifest.tags), manifest.tainted, manifest.revoked)
            for manifest in session.scalars(select(Manifest).options(selectinload(Manifest.tag_rows)))
        }
    for pack in packs:
        said = json.loads((server.data_dir / "storage/packs" / pack / "state.json").read_bytes())
        state = (said["manifest_id"], said["tags"], said["tainted"], said["revoked"])
        assert state == manifests[pack], pack


def _outbox(server: Server) -> int:
    with server.services.database.reading() as session:
        return session.scalar(select(func.count()).select_from(OutboxEntry)) or 0


def assert_audited(server: Server, wanted: Iterable[tuple[str, str]]) -> None:
    """The audit log has an entry for each of these pairs of request id and action."""
    with server.services.database.reading() as session:
        found: set[t.Any] = {tuple(row) for row in session.execute(select(AuditEntry.request_id, AuditEntry.action))}
    assert set(wanted) <= found


def assert_changes_are_audited(server: Server) -> None:
    """Whatever is there, was marked or has ended has its entry in the audit log, whether its answer arrived or not."""
    with server.services.database.reading() as session:
        entries: dict[str, set[str]] = {}
        for action, subject in session.execute(select(AuditEntry.action, AuditEntry.subject_id)):
            entries.setdefault(action, set()).add(subject)

        def expect(action: str, statement: Select[tuple[str]]) -> None:
            assert set(session.scalars(statement)) <= entries.get(action, set()), action

        expect("manifest.push", select(Manifest.id))
        expect("manifest.taint", select(Manifest.id).where(Manifest.tainted))
        expect("manifest.revoke", select(Manifest.id).where(Manifest.revoked))
        expect("upload.begin", select(Upload.id))
        expect("user.add", select(User.id))
        expect("api_key.add", select(ApiKey.id))
        expect("api_key.revoke", select(ApiKey.id).where(ApiKey.revoked_at.is_not(None)))
