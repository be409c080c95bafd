# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Housekeeping: what is over is closed, and what nobody will ask for any more is forgotten."""

from __future__ import annotations

import datetime
import functools
import typing as t
from pathlib import Path

from sqlalchemy import ColumnElement, Delete, Update, delete, select, update
from sqlalchemy.orm import Session

from catalog_server import access, clock
from catalog_server.catalog import service as catalog
from catalog_server.database import changed_rows
from catalog_server.identity import lockouts
from catalog_server.jobs.runner import Run
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import AudienceText, CatalogId, Manifest
from catalog_server.models.identity import DeniedGrant, GrantUse, LoginFailure, LoginOrigin
from catalog_server.models.storage import Pack
from catalog_server.models.transfers import ABORTED, OPEN, Segment, Upload
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import leases, leftovers, service
from catalog_server.transfers.packs import packs_folder
from catalog_server.unit_of_work import Services, UnitOfWork

# A commit whose answer was lost may be asked for again so long.
UPLOADS_KEPT_DAYS = 30
_AT_ONCE = 2000


def work(run: Run) -> None:
    """Do everything, one small transaction after the other."""
    _correct_times(run)
    _close_expired(run)
    _forget(run)
    _forget_audiences(run)
    _remove_unfinished(run)


def _correct_times(run: Run) -> None:
    """Bring back what was written by a clock that was ahead, and would wait until that time."""
    services = run.services
    now = services.clock()
    url = datetime.timedelta(seconds=LONGEST_URL_SECONDS)
    upload = datetime.timedelta(seconds=services.settings.upload_seconds)
    # A column, the latest time that it can have now, and the one that takes its place.
    for column, latest, corrected in (
        (Segment.condemned_at, now + url, now),
        (Pack.condemned_at, now + url, now),
        (Pack.tidy_after, now + 2 * url, now + url),
        (Upload.expires_at, now + upload + url, now + upload),
    ):
        statement = update(column.class_).where(column > latest).values({column: corrected})
        locks = [catalog.SEGMENTS_LOCK]
        if number := services.database.write(functools.partial(_changed, services, statement), locks):
            run.add("times_corrected", number)
        run.checkpoint()


def _changed(services: Services, statement: Update | Delete, session: Session) -> int:
    clock.require_plausible(session, services.clock())
    return changed_rows(session, statement)


def _close_expired(run: Run) -> None:
    services = run.services
    with services.database.reading() as session:
        expired = select(Upload.id, Upload.catalog_id).where(
            Upload.state == OPEN, Upload.expires_at <= services.clock()
        )
        found = [(row.id, row.catalog_id) for row in session.execute(expired)]
    for upload_id, catalog_id in found:
        expire = functools.partial(_expire, services, upload_id)
        if services.database.write(expire, catalog.locks_of(catalog_id)):
            run.add("uploads_closed")
            leftovers.discard(services, [upload_id])
        run.checkpoint()


def _expire(services: Services, upload_id: str, session: Session) -> bool:
    work_of = UnitOfWork(services, session, services.clock(), access.COMMAND)
    upload = session.get(Upload, upload_id)
    clock.require_plausible(session, work_of.now)
    if upload is None or upload.state != OPEN or upload.expires_at > work_of.now:
        return False
    service.close(work_of, upload, ABORTED)
    work_of.record("upload.expire", service.SUBJECT, upload.id)
    leases.release(work_of)
    return True


def _forget(run: Run) -> None:
    services = run.services
    settings, now = services.settings, services.clock()
    days = datetime.timedelta(days=1)
    kinds: list[tuple[str, t.Any, t.Any]] = [
        ("grant_uses", GrantUse.jti, GrantUse.forget_at < now),
        ("denials", DeniedGrant.jti, DeniedGrant.forget_at < now),
        (
            "login_failures",
            LoginFailure.subject,
            LoginFailure.last_at < now - datetime.timedelta(seconds=settings.lockout_seconds),
        ),
        ("login_origins", LoginOrigin.subject, LoginOrigin.last_at < now - lockouts.REMEMBERED),
        ("uploads", Upload.id, (Upload.state != OPEN) & (Upload.closed_at < now - UPLOADS_KEPT_DAYS * days)),
    ]
    if settings.audit_days:
        kinds.append(("audit", AuditEntry.id, AuditEntry.at < now - settings.audit_days * days))
    for what, column, condition in kinds:
        while number := services.database.write(functools.partial(_delete_some, services, column, condition)):
            run.add(what, number)
            run.checkpoint()


def _delete_some(services: Services, column: t.Any, condition: t.Any, session: Session) -> int:
    clock.require_plausible(session, services.clock())
    some = select(column).where(condition).limit(_AT_ONCE)
    return changed_rows(session, delete(column.class_).where(column.in_(some)))


def _forget_audiences(run: Run) -> None:
    """Those that nothing has any more, or had only in an upload that is forgotten."""
    services = run.services
    while True:
        with services.database.reading() as session:
            found = session.scalars(select(AudienceText.id).where(*_unused_audience()).limit(_AT_ONCE)).all()
        statement = delete(AudienceText).where(AudienceText.id.in_(found), *_unused_audience())
        if not found or not (number := services.database.write(functools.partial(_changed, services, statement))):
            return
        run.add("audiences", number)
        run.checkpoint()


def _unused_audience() -> list[ColumnElement[bool]]:
    users = (
        Manifest.audience_id,
        Segment.audience_id,
        Upload.audience_id,
        CatalogId.push_audience_id,
        CatalogId.tag_audience_id,
    )
    return [AudienceText.id.not_in(select(column).where(column.is_not(None))) for column in users]


def _remove_unfinished(run: Run) -> None:
    """Objects that were being received when a server died, in all packs."""
    services = run.services
    before = leftovers.unfinished_before(services)
    for name in services.storages.marked():
        provider = services.storages.get(name)
        run.add("unfinished_objects", provider.discard_abandoned(packs_folder(provider.prefix), before))
        run.checkpoint()
    run.add("unfinished_bodies", sum(_remove_older(path, before) for path in _files_in(services.settings.spool)))


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []


def _remove_older(path: Path, before: float) -> bool:
    """Remove a file that got no bytes since; a file system that has files without a name has none of these."""
    try:
        is_old = path.stat().st_mtime < before
    except FileNotFoundError:
        return False
    if is_old:
        path.unlink(missing_ok=True)
    return is_old
