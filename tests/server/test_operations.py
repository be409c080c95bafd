# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checking, backing up and restoring a whole installation."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ObjectInfo
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
from catalog_server import schema, started_with
from catalog_server.access import Audience
from catalog_server.app import open_services
from catalog_server.catalog.queries import audience_row
from catalog_server.cli import main
from catalog_server.database import Database
from catalog_server.errors import BadRequest, Unavailable
from catalog_server.jobs import gc
from catalog_server.jobs.kinds import kind_called
from catalog_server.jobs.runner import run as run_job
from catalog_server.keys import drop, load_keys, read_secrets, rotate, secret_file
from catalog_server.models.audit import AuditEntry
from catalog_server.models.catalog import Catalog
from catalog_server.models.identity import User
from catalog_server.models.storage import UNSURE, Pack, Storage
from catalog_server.models.transfers import ABORTED, OPEN, Upload
from catalog_server.operations import archive, backup, restore
from catalog_server.operations.storages import lacking
from catalog_server.settings import Settings
from catalog_server.unit_of_work import utc_now
from conftest import StartServer
from killed import killed_command
from pydantic import SecretStr
from rows import put_manifest
from running import Template, command_work, prepare, start
from sqlalchemy import create_engine, select, text, update

BOTH = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True)
# What is about the file of a database.
SQLITE = pytest.mark.parametrize("template", ["sqlite"], indirect=True)


@pytest.fixture(name="settings")
def settings_fixture(template: Template, tmp_path: Path) -> Iterator[Settings]:
    """Those of an installation with the people of the tests."""
    with template.copied(tmp_path / "data", None) as variables:
        fields = {name.removeprefix("CATALOG_").lower(): value for name, value in variables.items()}
        yield Settings(data_dir=tmp_path / "data", **fields)  # type: ignore[arg-type]


@pytest.fixture(name="empty")
def empty_fixture(template: Template, tmp_path: Path) -> Iterator[Settings]:
    """Those of an installation without a database, or with an empty one."""
    target = tmp_path / "restored"
    if template.postgres is None:
        yield Settings(data_dir=target)
        return
    name = template.postgres.create()
    yield Settings(data_dir=target, database_url=template.postgres.url(name))  # type: ignore[arg-type]
    template.postgres.drop(name)


def url_of(settings: Settings) -> dict[str, str]:
    """What names the database of an installation, if it is not the file in its data directory."""
    if settings.database_url is None:
        return {}
    return {"CATALOG_DATABASE_URL": settings.database_url.get_secret_value()}


def catalog_of(settings: Settings) -> Catalog:
    database = Database(settings.database, 1)
    try:
        with database.reading() as session:
            assert session.scalars(select(User.username)).all()
            return session.scalars(select(Catalog)).one()
    finally:
        database.close()


def last_entry(settings: Settings) -> AuditEntry:
    database = Database(settings.database, 1)
    try:
        with database.reading() as session:
            return session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    finally:
        database.close()


def modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o077 for path in (directory, *directory.rglob("*"))}


@BOTH
def test_what_was_saved_comes_back_and_old_credentials_do_not(
    settings: Settings, empty: Settings, tmp_path: Path
) -> None:
    data = b"an object"
    LocalStorage(str(settings.storage)).put("packs/p/object", data, hashlib.sha256(data).hexdigest())
    open_services(settings).database.close()
    made = backup.make(settings, tmp_path / "backups/first")
    assert modes(made) == {0}
    manifest = archive.read(made)
    assert manifest.schema_revision == "0001" and set(manifest.files) >= {"server-secret", "objects.jsonl"}
    listed = [json.loads(line) for line in (made / "objects.jsonl").read_text("utf-8").splitlines()]
    assert listed == [{"storage": "local", "key": "packs/p/object", "bytes": len(data)}]
    before = catalog_of(settings)
    assert before.gc_enabled

    restored = restore.restore(empty, made)
    assert restored.manifest == manifest
    assert [(one.name, one.missing, one.problem) for one in restored.storages] == [("local", 1, None)]
    after = catalog_of(empty)
    entry = last_entry(empty)
    assert (entry.action, entry.subject_id, entry.credential) == ("catalog.restore", before.uuid, "command")
    assert entry.details["os_user"] == pwd.getpwuid(os.getuid()).pw_name
    assert (entry.details["backup"], entry.details["epoch"]) == (manifest.created_at, after.epoch)
    assert abs((entry.at - utc_now()).total_seconds()) < 600
    assert (after.uuid, after.gc_enabled) == (before.uuid, False)
    assert after.epoch > before.epoch
    # It would make good again what was signed with a secret that was dropped.
    assert not (empty.data_dir / "server-secret").exists()
    schema.check(Database(empty.database, 1))
    # A second one would overwrite what has happened since.
    with pytest.raises(BadRequest, match="not empty|already"):
        restore.restore(empty, made)


def test_a_secret_that_was_dropped_stays_worthless_after_a_restore(
    settings: Settings, empty: Settings, tmp_path: Path
) -> None:
    open_services(settings).database.close()
    made = backup.make(settings, tmp_path / "backup")
    file = secret_file(settings)
    leaked = load_keys(settings).signing.kid
    rotate(file, utc_now())
    drop(file, leaked)
    empty.data_dir.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(file, secret_file(empty))
    restore.restore(empty, made)
    ring = load_keys(empty)
    assert ring.find(leaked) is None
    assert ring.signing.kid == load_keys(settings).signing.kid
    # For the day when the file of secrets alone is lost.
    assert read_secrets(made / "server-secret")[0].kid == leaked


@pytest.mark.parametrize("has_secret", [False, True])
def test_a_restored_server_knows_nobody_by_an_old_token(
    start_server: StartServer, empty: Settings, tmp_path: Path, has_secret: bool
) -> None:
    server = start_server()
    put_manifest(server)
    token = server.token("pusher")
    grant = server.call("POST", "/grants", bearer=token, json={"verb": "push", "catalog_id": "x", "version": "1"})
    assert grant.status_code == 200, grant.text
    # While it runs
    backup.make(server.services.settings, tmp_path / "backup")
    empty.data_dir.mkdir(mode=0o700)
    if has_secret:
        # What it signed before is signed right, and is worth nothing all the same.
        shutil.copy(secret_file(server.services.settings), secret_file(empty))
    shutil.copytree(server.services.settings.storage, empty.storage)
    restore.restore(empty, tmp_path / "backup")
    restored = start(empty.data_dir, url_of(empty))
    try:
        assert restored.call("GET", "/manifests", bearer=token).status_code == 401
        assert restored.call("POST", "/grants/renew", bearer=grant.json()["grant"]).status_code == 401
        assert restored.call("GET", "/manifests", "pusher").status_code == 200
    finally:
        restored.stop()


def saved(settings: Settings, parent: Path, *names: str) -> list[Path]:
    """Backups of an installation that were made at these times."""
    made = backup.make(settings, parent / names[0])
    return [made, *(Path(shutil.copytree(made, parent / name)) for name in names[1:])]


def test_backups_below_a_directory_of_which_some_stay(settings: Settings, tmp_path: Path) -> None:
    parent = tmp_path / "backups"
    saved(settings, parent, "20200101T000000Z", "20210101T000000Z")
    for name in (".catalog-backup-killed", "by hand", "20210202T000000Z"):
        (parent / name).mkdir()
    made = backup.into(settings, parent)
    assert backup.remove_older(made, 2) == []
    # What is not a backup is not removed, whatever it is called.
    kept = {"20210101T000000Z", "20210202T000000Z", "by hand", made.name}
    assert {path.name for path in parent.iterdir()} == kept


def test_backups_of_another_catalog_stay(settings: Settings, tmp_path: Path) -> None:
    """As those of a database that is lost stay beside those of an empty one that took its place."""
    parent = tmp_path / "backups"
    before = saved(settings, parent, "20200101T000000Z", "20210101T000000Z")
    lost = Settings(data_dir=tmp_path / "empty")
    prepare(lost.data_dir)
    for _day in range(3):
        made = backup.into(lost, parent)
        assert backup.remove_older(made, 1) == []
        made.rename(made.with_name(f"2022010{_day + 1}T000000Z"))
    assert set(before) < set(parent.iterdir())


def test_a_clock_that_was_ahead_costs_no_backup(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "backups"
    before = saved(settings, parent, "20200101T000000Z", "20990101T000000Z", "20990102T000000Z")
    for _number in range(2):
        status, said = run(settings, capsys, monkeypatch, "backup", "--into", str(parent), "--keep", "1")
        assert status == 1
        assert "no older backup was removed: 20990101T000000Z, 20990102T000000Z in" in said
        (made,) = set(parent.iterdir()) - set(before)
        archive.read(made)
        before.append(made.rename(made.with_name(f"2021010{_number + 1}T000000Z")))
    # As the message says.
    for path in before[1:3]:
        path.rename(tmp_path / path.name)
    status, said = run(settings, capsys, monkeypatch, "backup", "--into", str(parent), "--keep", "1")
    assert (status, len(list(parent.iterdir()))) == (0, 1)


def test_a_backup_does_not_clean_up_what_another_one_is_making(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "backups"
    fill, partial = backup._fill, []

    def filled(of: Settings, directory: Path) -> None:
        fill(of, directory)
        if not partial:
            # In the middle of this one, another one begins and ends.
            partial.append(directory)
            backup.remove_older(backup.into(of, parent), 2)

    monkeypatch.setattr(backup, "_fill", filled)
    monkeypatch.setattr(backup, "_NAME", "%Y%m%dT%H%M%S.%fZ")
    assert backup.remove_older(backup.into(settings, parent), 2) == []
    name = archive.SQLITE_FILE if settings.database_url is None else archive.SQL_FILE
    assert [name in archive.read(made).files for made in parent.iterdir()] == [True, True]


@BOTH
def test_an_upload_that_was_open_is_not_resumed_behind_a_restore(
    settings: Settings, empty: Settings, tmp_path: Path
) -> None:
    services = open_services(settings)
    with command_work(services) as work:
        (user,) = work.session.scalars(select(User).where(User.username == "pusher"))
        pack = Pack(id="a" * 32, storage=settings.storage_name, user_id=user.id, created_at=work.now)
        fields = {"catalog_id": "image", "version": "1.0", "architecture": "arm64", "chunk_size": 1 << 18}
        upload = Upload(id=pack.id, pack=pack, user_id=user.id, fields={}, state=OPEN, created_at=work.now, **fields)
        upload.audience_text = audience_row(work.session, Audience().text())
        upload.expires_at = work.in_seconds(3600)
        work.session.add(upload)
    services.database.close()
    restore.restore(empty, backup.make(settings, tmp_path / "backup"))
    database = Database(empty.database, 1)
    with database.reading() as session:
        upload = session.scalars(select(Upload)).one()
        assert (upload.state, upload.pack.state) == (ABORTED, UNSURE)
        # The garbage collection looks at it, and leaves it alone if it was committed since.
        assert upload.closed_at is not None and upload.pack.tidy_after == upload.closed_at
        assert abs((utc_now() - upload.closed_at).total_seconds()) < 3600
    database.close()


def killed_at(settings: Settings, place: str, *words: str) -> bool:
    """Run a command that is killed when it comes to a function; returns False if it never came there."""
    return killed_command(settings.data_dir, url_of(settings), place, *words)


@pytest.mark.parametrize("place", ["backup.secret_file", "archive.file_of"])
def test_a_backup_that_was_killed_is_none(settings: Settings, tmp_path: Path, place: str) -> None:
    assert killed_at(settings, f"catalog_server.operations.{place}", "backup", "--into", str(tmp_path / "backups"))
    assert [path.name[:16] for path in (tmp_path / "backups").iterdir()] == [".catalog-backup-"]
    made = backup.into(settings, tmp_path / "backups")
    backup.remove_older(made, 1)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [made.name]


@BOTH
@pytest.mark.parametrize("place", ["restore._entry", "archive.sync", "postgresql.load"])
def test_a_restore_that_was_killed_can_be_done_again(
    settings: Settings, empty: Settings, tmp_path: Path, place: str
) -> None:
    made = backup.make(settings, tmp_path / "backup")
    is_file = empty.database_url is None
    if place == ("postgresql.load" if is_file else "archive.sync"):
        return
    assert killed_at(empty, f"catalog_server.operations.{place}", "restore", str(made))
    if is_file:
        assert not (empty.data_dir / "catalog.db").exists()
    restore.restore(empty, made)
    assert not catalog_of(empty).gc_enabled
    assert not list(empty.data_dir.glob("*partial*"))


def test_a_backup_whose_directory_was_taken_for_an_abandoned_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another backup cleans up between the making of the directory and its lock."""
    make = tempfile.mkdtemp

    def make_and_clean_up(**options: object) -> str:
        monkeypatch.setattr(tempfile, "mkdtemp", make)
        made = make(**options)  # type: ignore[call-overload]
        backup._remove_abandoned(Path(made).parent)
        assert not Path(made).exists()
        return str(made)

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_clean_up)
    made = backup.make(settings, tmp_path / "backups/one")
    archive.read(made)
    assert list(made.parent.iterdir()) == [made]


@SQLITE
def test_a_restore_beside_what_sqlite_has_left_is_refused(settings: Settings, tmp_path: Path) -> None:
    """SQLite would replay it into the restored database."""
    made = backup.make(settings, tmp_path / "backup")
    file = tmp_path / "elsewhere/catalog.db"
    file.parent.mkdir()
    for ending in ("-wal", "-journal"):
        left = file.with_name(file.name + ending)
        left.touch()
        other = Settings(data_dir=tmp_path / "restored", database_url=f"sqlite:///{file}")  # type: ignore[arg-type]
        with pytest.raises(BadRequest, match=f"{left} already. Move it away first."):
            restore.restore(other, made)
        left.unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda made: (made / "manifest.json").unlink(), "is not a backup"),
        (lambda made: (made / "manifest.json").write_text("{}"), "not one that this release can read"),
        (lambda made: next(made.glob("catalog.*")).write_bytes(b"cut"), "missing or damaged"),
        (lambda made: (made / "objects.jsonl").unlink(), "missing or damaged"),
    ],
)
def test_damaged_backups_are_refused(
    settings: Settings, empty: Settings, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    made = backup.make(settings, tmp_path / "backup")
    spoil(made)
    with pytest.raises(BadRequest, match=sentence):
        restore.restore(empty, made)
    assert not list(empty.data_dir.glob("*")) or not empty.data_dir.exists()


def test_a_backup_of_a_newer_release_is_refused(settings: Settings, empty: Settings, tmp_path: Path) -> None:
    set_revision(settings, "9999")
    with pytest.raises(BadRequest, match="the schema 9999, which this release does not know"):
        restore.restore(empty, backup.make(settings, tmp_path / "backup"))


def change(settings: Settings, *statements: str) -> None:
    """Change the database as no release of the server does."""
    engine = create_engine(settings.database)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def set_revision(settings: Settings, revision: str, compatible_from: str | None = None) -> None:
    change(
        settings,
        f"UPDATE alembic_version SET version_num = '{revision}'",
        f"UPDATE schema_info SET compatible_from = '{compatible_from or revision}'",
    )


def run(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[object, str]:
    for name, value in {"CATALOG_DATA_DIR": str(settings.data_dir), **url_of(settings)}.items():
        monkeypatch.setenv(name, value)
    mask = os.umask(0o077)
    try:
        status = main(words)
    finally:
        os.umask(mask)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_databases_of_newer_releases_are_one_sentence(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_revision(settings, "9999")
    for words in (("migrate",), ("user", "list"), ("serve", "--port", "0")):
        status, said = run(settings, capsys, monkeypatch, *words)
        assert (status, said.count("\n")) == (1, 1)
        assert "the schema 9999 of a newer release" in said


@SQLITE
def test_files_that_are_no_databases_are_one_sentence(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings.data_dir / "catalog.db"
    file.write_bytes(b"this is not a database, but it is long enough to be one" * 100)
    for words in (("migrate",), ("user", "list"), ("backup", str(settings.data_dir / "b"))):
        status, said = run(settings, capsys, monkeypatch, *words)
        assert (status, said.count("\n")) == (1, 1), said
        assert "file is not a database" in said


def test_a_newer_schema_that_is_compatible_can_be_used(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_revision(settings, "9999", "0001")
    assert run(settings, capsys, monkeypatch, "user", "list")[0] == 0
    assert run(settings, capsys, monkeypatch, "migrate") == (0, "schema 9999\n")


def verdicts(said: str) -> dict[str, str]:
    """The verdict of each part; the last line is about all of them."""
    rows = [re.split(r" {2,}", line, maxsplit=2) for line in said.splitlines()[:-1]]
    return {part: verdict for part, verdict, _text in rows}


PARTS = ("settings", "data", "keys", "tls", "database", "clock", "storage local")


def test_check_has_a_line_for_each_part(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not settings.storage.exists()
    status, said = run(settings, capsys, monkeypatch, "check")
    assert (status, verdicts(said)) == (0, dict.fromkeys(PARTS, "ok"))
    assert said.endswith("\n0 of 7 parts failed; exit status 0\n")
    assert "is not used yet" in said and not settings.storage.exists()
    status, said = run(Settings(data_dir=tmp_path / "nothing"), capsys, monkeypatch, "check")
    assert (status, verdicts(said)["data"]) == (1, "failed")
    assert not (tmp_path / "nothing").exists()


@BOTH
def test_check_looks_at_every_storage(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_storage(settings, "other", "local", tmp_path / "other")
    used(settings)
    add_storage(settings, "future", "cloud", None)
    status, said = run(settings, capsys, monkeypatch, "check")
    wanted = {**dict.fromkeys(PARTS, "ok"), "storage other": "ok", "storage future": "failed"}
    assert (status, verdicts(said)) == (1, wanted)
    assert "is of the kind 'cloud', which this release does not know" in said
    assert said.count("has the mark of this catalog") == 2
    (tmp_path / "other").rename(tmp_path / "away")
    status, said = run(settings, capsys, monkeypatch, "check")
    assert verdicts(said)["storage other"] == "failed" and verdicts(said)["storage local"] == "ok"
    assert f"{tmp_path / 'other'} cannot be written: No such file or directory" in said
    # One that the settings name, and that is not in the database yet.
    monkeypatch.setenv("CATALOG_STORAGE_NAME", "third")
    monkeypatch.setenv("CATALOG_STORAGE_ROOT", str(tmp_path / "third"))
    assert verdicts(run(settings, capsys, monkeypatch, "check")[1])["storage third"] == "ok"


def add_storage(settings: Settings, name: str, kind: str, root: Path | None) -> None:
    services = open_services(settings)
    with command_work(services) as work:
        row = Storage(name=name, kind=kind, created_at=work.now, settings={"root": str(root)} if root else {})
        work.session.add(row)
    services.database.close()


def used(settings: Settings) -> None:
    """Mark all storages, as a start of the server does."""
    services = open_services(settings)
    services.storages.prepare(utc_now())
    services.database.close()


def open_to_all(settings: Settings) -> None:
    settings.data_dir.chmod(0o755)
    (settings.data_dir / "catalog.db").chmod(0o644)


def file_in_place_of_the_storage(settings: Settings) -> None:
    shutil.rmtree(settings.storage, ignore_errors=True)
    settings.storage.write_text("not a directory", encoding="ascii")


def other_mark(settings: Settings) -> None:
    (settings.storage / "catalog.json").write_text('{"catalog": "another"}', encoding="ascii")


def clock_that_jumped(settings: Settings) -> None:
    services = open_services(settings)
    services.database.write(
        lambda session: session.execute(update(Catalog).values(clock_noted_at=utc_now() + datetime.timedelta(hours=1)))
    )
    services.database.close()


@pytest.mark.parametrize(
    ("part", "spoil", "sentence"),
    [
        ("keys", lambda settings: (settings.data_dir / "server-secret").chmod(0o644), "but has the mode 0644"),
        ("keys", lambda settings: (settings.data_dir / "server-secret").write_text("short"), "is too short"),
        ("data", lambda settings: settings.data_dir.chmod(0o777), "but has the mode 0777"),
        ("database", lambda settings: set_revision(settings, "9999"), "of a newer release"),
        ("clock", clock_that_jumped, "If the clock is wrong, set it."),
        ("storage local", file_in_place_of_the_storage, "cannot be written: Not a directory"),
        ("storage local", lambda settings: shutil.rmtree(settings.storage), "cannot be written: No such file"),
        ("storage local", lambda settings: settings.storage.chmod(0o777), "but has the mode 0777"),
        ("storage local", other_mark, "belongs to the catalog another"),
        (
            "storage local",
            lambda settings: (settings.storage / "catalog.json").unlink(),
            "its mark catalog.json is not",
        ),
    ],
)
def test_check_finds(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    spoil: Callable[[Settings], object],
    sentence: str,
) -> None:
    used(settings)
    spoil(settings)
    assert_found(*run(settings, capsys, monkeypatch, "check"), part, sentence)


@SQLITE
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (open_to_all, "but has the mode 0644"),
        (
            lambda settings: (settings.data_dir / "catalog.db").write_bytes(b"no database" * 1000),
            "file is not a database",
        ),
    ],
)
def test_check_finds_in_the_file_of_the_database(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Settings], object],
    sentence: str,
) -> None:
    used(settings)
    spoil(settings)
    assert_found(*run(settings, capsys, monkeypatch, "check"), "database", sentence)


def assert_found(status: object, said: str, part: str, sentence: str) -> None:
    """Check that one part failed, and why."""
    assert status == 1 and said.endswith("parts failed; exit status 1\n")
    found = verdicts(said)
    assert [other for other in found if found[other] == "failed"] == [part]
    assert sentence in next(line for line in said.splitlines() if line.startswith(part))


def test_check_finds_little_room(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used(settings)
    monkeypatch.setenv("CATALOG_MIN_FREE_BYTES", str(1 << 60))
    status, said = run(settings, capsys, monkeypatch, "check")
    assert (status, verdicts(said)["storage local"]) == (1, "failed")
    assert f"less than {1 << 60} is too little" in said


@SQLITE
def test_check_of_a_database_of_an_older_release(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the role finds it before an update: it can go on."""
    (settings.data_dir / "catalog.db").unlink()
    with closing(sqlite3.connect(settings.data_dir / "catalog.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
    (settings.data_dir / "catalog.db").chmod(0o600)
    status, said = run(settings, capsys, monkeypatch, "check")
    assert (status, verdicts(said)["database"]) == (0, "ok")
    assert "has the schema of no release: catalog-server migrate makes it 0001" in said


def test_check_believes_the_clock_whatever_a_wrong_one_has_written(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(settings, "UPDATE audit SET at = '2099-01-01 00:00:00.000000'")
    status, said = run(settings, capsys, monkeypatch, "check")
    assert (status, verdicts(said)["clock"]) == (0, "ok")


@BOTH
def test_no_new_database_takes_the_place_of_one_that_is_lost(
    settings: Settings,
    empty: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used(settings)
    made = backup.make(settings, tmp_path / "backup")
    empty.data_dir.mkdir(mode=0o700)
    shutil.copytree(settings.storage, empty.storage)
    for word in ("migrate", "check"):
        status, said = run(empty, capsys, monkeypatch, word)
        assert status == 1
        assert "There is no database, and the storage 'local'" in said and "run catalog-server restore" in said
    # As the message says: nothing that the commands have made is in the way.
    restore.restore(empty, made)
    assert run(empty, capsys, monkeypatch, "migrate")[0] == 0


def test_a_database_that_does_not_answer_is_not_called_lost(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used(settings)
    url = "postgresql+psycopg://nobody@127.0.0.1:1/catalog"
    settings = Settings(data_dir=settings.data_dir, database_url=SecretStr(url))
    status, said = run(settings, capsys, monkeypatch, "check")
    assert (status, verdicts(said)["database"]) == (1, "failed")
    assert "restore" not in said


@BOTH
def test_a_backup_says_which_storages_there_are(settings: Settings, empty: Settings, tmp_path: Path) -> None:
    add_storage(settings, "other", "local", tmp_path / "other")
    used(settings)
    add_storage(settings, "future", "cloud", None)
    for root, name in ((settings.storage, "1"), (tmp_path / "other", "2"), (tmp_path / "other", "3")):
        LocalStorage(str(root)).put(f"packs/{name}/object", b"x", hashlib.sha256(b"x").hexdigest())
    made = backup.make(settings, tmp_path / "backup")
    saved = {one.name: one for one in archive.read(made).storages}
    uuid = catalog_of(settings).uuid
    assert {name: (one.kind, one.mark, one.objects) for name, one in saved.items()} == {
        "local": ("local", uuid, 1),
        "other": ("local", uuid, 2),
        "future": ("cloud", None, 0),
    }
    assert saved["future"].problem is not None and "which this release does not know" in saved["future"].problem
    # The embedded one has moved with the data directory, the other one is where it was.
    (tmp_path / "other/packs/2/object").write_bytes(b"longer")
    settings.storage.rename(empty.data_dir.parent / "copy")
    moved = empty.model_copy(update={"storage_root": empty.data_dir.parent / "copy"})
    (tmp_path / "other/catalog.json").write_text('{"catalog": "another"}', encoding="ascii")
    with pytest.raises(BadRequest, match="'other' .* belongs to the catalog another, and the backup is one of"):
        restore.restore(moved, made)
    # Nothing was changed, and it can be done again.
    assert not empty.data_dir.exists() or not list(empty.data_dir.iterdir())
    (tmp_path / "other/catalog.json").write_text(json.dumps({"catalog": uuid}), encoding="ascii")
    found = {one.name: (one.missing, one.problem) for one in restore.restore(moved, made).storages}
    assert found == {"local": (0, None), "other": (1, None), "future": (0, saved["future"].problem)}


def test_a_collection_leaves_alone_what_it_cannot_use_or_may_not_delete(settings: Settings, tmp_path: Path) -> None:
    add_storage(settings, "kept", "local", tmp_path / "kept")
    used(settings)
    add_storage(settings, "future", "cloud", None)
    services = open_services(settings)
    with command_work(services) as work:
        work.session.get_one(Storage, "future").marked_at = work.now
    kept = services.storages.get("kept")
    # As the provider of a storage in which objects are locked.
    kept.capabilities = dataclasses.replace(kept.capabilities, deletes=False)  # type: ignore[misc]
    wanted = {
        "future": "The storage 'future' is of the kind 'cloud', which this release does not know.",
        "kept": "The server may not delete objects in the storage 'kept'.",
    }
    assert gc.plan(services).left_alone == wanted
    assert run_job(services, kind_called("gc"), "test") == {"left_alone": wanted}
    assert services.storages.marked() == ["kept", "local"]
    services.database.close()


def test_objects_are_compared_in_the_order_of_their_keys() -> None:
    wanted = [{"key": key, "bytes": 1} for key in ("a", "b", "c", "e")]
    there = [ObjectInfo(key, size) for key, size in (("0", 1), ("a", 1), ("c", 2), ("d", 1), ("e", 1), ("f", 1))]
    assert lacking(iter(wanted), iter(there)) == 2
    assert lacking(iter([]), iter(there)) == 0
    assert lacking(iter(wanted), iter([])) == 4


def test_check_of_settings_that_are_not_there_yet(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the role does before it replaces them."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("CATALOG_TOKEN_SECNDS=600\n"))
    status, said = run(settings, capsys, monkeypatch, "--settings", "-", "check")
    assert status == 2 and "CATALOG_TOKEN_SECNDS" in said


def test_status_compares_what_runs_with_what_should(tmp_path: Path) -> None:
    state, file, other = tmp_path / "state", tmp_path / "settings.env", tmp_path / "unit"
    file.write_text("A=1\n", encoding="utf-8")
    assert started_with.differences(state, [file]) == ["The server does not run."]
    with started_with.published(state, [file]):
        assert started_with.differences(state, [file]) == []
        with pytest.raises(Unavailable, match="runs already"), started_with.published(state, [file]):
            pass
        file.write_text("A=2\n", encoding="utf-8")
        other.touch()
        assert started_with.differences(state, [other]) == [f"{file} has changed.", f"{other} has changed."]
        said = json.loads(state.read_text("utf-8"))
        state.write_text(json.dumps(said | {"release": "/another"}), encoding="utf-8")
        assert "It runs the release /another." in started_with.differences(state, [file])
        state.write_text("", encoding="utf-8")
        assert started_with.differences(state, [file])
    assert started_with.differences(state, [file]) == ["The server does not run."]
