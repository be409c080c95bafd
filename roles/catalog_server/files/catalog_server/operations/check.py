# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``catalog-server check`` looks at: one line for each part of an installation. It changes nothing."""

from __future__ import annotations

import datetime
import functools
import os
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from sqlalchemy import exc

from catalog_server import clock, keys, schema, shared_keys
from catalog_server.database import Database, database_file
from catalog_server.operations import storages
from catalog_server.settings import Settings, SettingsError
from catalog_server.storages import marks
from catalog_server.storages.kinds import provider_of
from catalog_server.storages.registry import check_room, place_of_settings
from catalog_server.unit_of_work import utc_now

OK = "ok"
FAILED = "failed"
# Room for one commit with its index, and for what SQLite writes beside the database.
LEAST_FREE_BYTES = 512 << 20
_LOW_PERCENT = 10
# No server of this release is older: a clock before that is not set.
_LEAST_TIME = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


class Problem(Exception):
    """Why a part of the installation cannot be used."""


@dataclass(frozen=True)
class Finding:
    """One line: which part, OK or FAILED, and what is there or why not."""

    part: str
    verdict: str
    text: str


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each part."""
    parts: dict[str, Callable[[Settings], str]] = {
        "data": _data,
        "keys": _keys,
        "tls": _tls,
        "database": _database,
        "clock": _clock,
    }
    yield Finding("settings", OK, "they are valid")
    for part, look in parts.items():
        yield _finding(part, functools.partial(look, settings))
    for one, mine in _storages(settings):
        yield _finding(f"storage {one.place.name}", functools.partial(_storage, settings, one, mine))


def _finding(part: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(part, OK, look())
    except (Problem, SettingsError, CatalogError, OSError) as error:
        return Finding(part, FAILED, str(error))
    except exc.SQLAlchemyError as error:
        return Finding(part, FAILED, sentence(error))


def sentence(error: exc.SQLAlchemyError) -> str:
    """Return what a database says, without the statement and its documentation."""
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()
    return f"the database cannot be used: {reason[0] if reason else type(error).__name__}"


def _data(settings: Settings) -> str:
    directory = settings.data_dir
    _writable(directory)
    _private(directory, 0o022, "must not be writable for others")
    return f"{directory} can be written, {_free(directory)}"


def _keys(settings: Settings) -> str:
    if settings.server_secret is not None:
        return "one, from the settings"
    path = keys.secret_file(settings)
    if not path.exists():
        if settings.server_secret_file is not None:
            raise Problem(f"{path} is not there")
        return f"none yet: the first start makes {path}"
    _private(path, 0o077, "must be readable for the server's user alone")
    found = keys.read_secrets(path)
    return f"{found[0].kid} signs, {len(found) - 1} more are good"


def _tls(settings: Settings) -> str:
    if settings.tls_certificate is None or settings.tls_key is None:
        return "not used"
    _private(settings.tls_key, 0o007, "must not be readable for everybody")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except ssl.SSLError as error:
        raise Problem(f"{settings.tls_certificate} and {settings.tls_key} cannot be used: {error.reason}") from error
    return f"{settings.tls_certificate} and its key can be used"


def _database(settings: Settings) -> str:
    file = database_file(settings.database)
    # Looking must not make one.
    if file is not None and not file.exists():
        return f"none yet: catalog-server migrate makes {file}"
    if file is not None and file.parent.stat().st_mode & 0o077:
        _private(file, 0o077, "must be readable for the server's user alone")
    database = Database(settings.database, 1)
    try:
        state = schema.state_of(database)
        if state.verdict == schema.SAME:
            _require_shared_keys(settings, database)
    finally:
        database.close()
    if state.verdict == schema.TOO_NEW:
        raise Problem(schema.too_new(state))
    where = str(file) if file is not None else "PostgreSQL"
    if state.verdict == schema.OLDER:
        return (
            f"{where} has the schema {state.found or 'of no release'}: catalog-server migrate makes it {state.wanted}"
        )
    return f"{where} has the schema {state.found}"


def _require_shared_keys(settings: Settings, database: Database) -> None:
    """Raise Unavailable if the servers of this catalog sign with a key that this one does not have."""
    ring = _readable_keys(settings)
    if ring.keys:
        with database.reading() as session:
            shared_keys.require(session, ring)


def _storages(settings: Settings) -> list[tuple[storages.Known, marks.Mark | None]]:
    """The storages that the database knows, with the mark of the catalog; without one, that of the settings."""
    try:
        with usable_database(settings) as database:
            if database is not None:
                mine = marks.of_catalog(database)
                found = storages.known(database, settings)
                first = place_of_settings(settings)
                if all(one.place.name != first.name for one in found):
                    found.append(storages.Known(first, is_used=False))
                return [(one, mine) for one in found]
    except (CatalogError, exc.SQLAlchemyError):
        # The line of the database says why.
        pass
    return [(storages.Known(place_of_settings(settings), is_used=False), None)]


def _storage(settings: Settings, one: storages.Known, mine: marks.Mark | None) -> str:
    provider = provider_of(one.place, settings, _readable_keys(settings))
    provider.probe(is_first_use=not one.is_used)
    if not one.is_used or mine is None:
        if mine is None and not _has_database(settings):
            marks.require_none(provider)
        if mine is not None and marks.owner(provider) is not None:
            marks.check(provider, mine)
        return f"{provider.where} can be written, and is not used yet"
    there = marks.check(provider, mine)
    check_room(provider, settings.min_free_bytes)
    free = provider.free_bytes()
    room = f", {free / (1 << 30):.1f} GiB free" if free is not None else ""
    later = "" if marks.is_taken_over(there, mine) else ", and the restored server takes it over when it starts"
    return f"{provider.where} can be written, and has the mark of this catalog{room}{later}"


def _has_database(settings: Settings) -> bool:
    """Return False if there certainly is none; one that does not answer is not lost."""
    database = Database(settings.database, 1)
    try:
        return schema.has_tables(database, settings.database)
    except exc.SQLAlchemyError:
        return True
    finally:
        database.close()


def _readable_keys(settings: Settings) -> keys.KeyRing:
    """The keys, or none: what is wrong with them, their own line says."""
    try:
        return keys.existing_keys(settings)
    except (SettingsError, OSError):
        return keys.KeyRing([])


def _clock(settings: Settings) -> str:
    now = utc_now()
    if now < _LEAST_TIME:
        raise Problem(f"it says {now:%Y-%m-%d %H:%M} UTC, which is over: set the clock")
    try:
        noted_at = _noted_at(settings)
    except (CatalogError, exc.SQLAlchemyError):
        # The line of the database says why.
        noted_at = None
    problem = clock.problem(noted_at, now)
    if problem is not None:
        raise Problem(problem)
    return f"{now:%Y-%m-%d %H:%M:%S} UTC"


def _noted_at(settings: Settings) -> datetime.datetime | None:
    with usable_database(settings) as database:
        if database is None:
            return None
        with database.reading() as session:
            return clock.noted_at(session)


@contextmanager
def usable_database(settings: Settings) -> Iterator[Database | None]:
    """The database, if it is there and this release can work with it; looking makes none."""
    file = database_file(settings.database)
    if file is not None and not file.exists():
        yield None
        return
    database = Database(settings.database, 1)
    try:
        usable = schema.state_of(database).verdict in (schema.SAME, schema.NEWER)
        yield database if usable else None
    finally:
        database.close()


def _writable(directory: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise Problem(f"{directory} cannot be written: {error.strerror}") from error


def _private(path: Path, bits: int, rule: str) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & bits:
        raise Problem(f"{path} {rule}, but has the mode {mode:04o}")


def _free(directory: Path) -> str:
    usage = shutil.disk_usage(directory)
    # What a user who is not root may take.
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    if free < LEAST_FREE_BYTES:
        raise Problem(f"{directory} has {free >> 20} MiB free, and needs {LEAST_FREE_BYTES >> 20} MiB")
    low = ", which is little" if free * 100 < usage.total * _LOW_PERCENT else ""
    return f"{free / (1 << 30):.1f} GiB free{low}"
