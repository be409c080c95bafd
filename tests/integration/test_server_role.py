# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role catalog_server in real plays: what goes wrong in them leaves the server as it was.

Each test runs without a service manager, and again on a host with systemd where ``MACFLEET_TEST_SYSTEMD`` names a
directory for what that downloads.
"""

from __future__ import annotations

import http.server
import os
import shutil
import sqlite3
import threading
import typing as t
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration import installation as installations
from ansible_collections.macfleet.parallels.tests.integration.installation import Installation, another_release
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import RunFailed

MIGRATION = "migrations/versions/0002_next.py"
FAILING_MIGRATION = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE half (one INTEGER)")
    op.execute("SELECT nonsense FROM nowhere")
"""
INCOMPATIBLE_MIGRATION = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("UPDATE schema_info SET compatible_from = '0002'")
"""
ANOTHER = {"+__main__.py": "# another release\n"}
# It can do everything but serve.
NOT_SERVING = {"+serve.py": "\n\ndef serve(settings, ready_file=None):\n    raise SystemExit('it is broken')\n"}
SOON = {"catalog_server_health_retries": 3}
CLEANING = "Remove what is not needed any more"
PUTTING = "Keep what is in use, and put what is new into its place"


def test_a_wrong_interpreter_is_refused_and_leaves_nothing(installation: Installation) -> None:
    assert "Set catalog_server_python to an interpreter" in installation.refusal
    assert "No module named 'argparse'" in installation.refusal
    # The run behind it has made another environment, and removed the broken one.
    assert len(list((installation.program / "venvs").iterdir())) == 1
    assert installation.answers()


def test_a_second_run_changes_nothing_and_says_what_comes_next(installation: Installation) -> None:
    before = installation.files
    results = installation.start().wait(installations.SECONDS)
    assert installations.changes(results) == []
    assert installation.answers()
    assert installation.files == before
    assert {path.name for path in (installation.config / "secrets").iterdir()} == {"admin-password", "server-secret"}
    assert (installation.config / "secrets").stat().st_mode & 0o777 == 0o700
    check = installation.start(words=["--check", "--diff"])
    assert installations.changes(check.wait(installations.SECONDS)) == []

    (told,) = [result.result["msg"] for result in results if "Tell what" in result.task]
    assert told[0] == f"The server answers at http://127.0.0.1:{installation.port}."
    assert "secrets/admin-password" in told[1]
    words = told[2].partition("bin/catalog-server ")[2].partition(",")[0].replace("NAME", "plays").split()
    assert installation.command(*words).returncode == 0
    words = told[2].rpartition("bin/catalog-server ")[2].rstrip(".").replace("NAME", "plays").split()
    assert installation.command(*words).returncode == 0
    assert ("Backups are made daily" in told[3]) is (installation.systemd is not None)


def test_a_wrong_setting_is_refused_before_it_is_written(installation: Installation) -> None:
    before, pid = installation.files, installation.pid
    with pytest.raises(RunFailed, match="CATALOG_TOKEN_SECNDS"):
        installation.run(catalog_server_settings={"token_secnds": 600})
    assert installation.files == before
    assert installation.command("check").returncode == 0
    assert installation.run() == []
    assert installation.pid == pid


def test_a_wrong_database_is_refused_before_its_url_is_written(installation: Installation) -> None:
    before, pid = installation.files, installation.pid
    with pytest.raises(RunFailed) as refused:
        installation.run(catalog_server_database_url="postgresql://catalog:s3cret-marker@127.0.0.1:1/catalog")
    assert "What is in use was not changed" in " ".join(str(refused.value).split())
    assert "s3cret-marker" not in str(refused.value)
    assert (installation.files, installation.pid) == (before, pid)

    url = f"sqlite:///{installation.inside(installation.data)}/another.db"
    another = {"catalog_server_database_url": url, **installation.another_storage}
    assert installation.run(**another)
    file = installation.config / "secrets/database-url"
    assert (file.read_text(encoding="utf-8"), file.stat().st_mode & 0o777) == (f"{url}\n", 0o600)
    assert (installation.data / "another.db").exists()
    assert installation.run(**another) == []
    # Back to the first one, whose administrator is there already.
    assert installation.run()
    assert installation.files == before


def test_what_runs_is_compared_with_what_should(installation: Installation) -> None:
    """As if an earlier run had written the settings and failed behind them."""
    pid = installation.pid
    with (installation.config / "settings.env").open("a", encoding="utf-8") as file:
        file.write("CATALOG_TOKEN_SECONDS=602\n")
    assert installation.state().returncode == 3
    changed = installation.run(catalog_server_settings={"token_seconds": 602})
    # The file is what the role writes, so it is not put there again.
    assert changed and PUTTING not in changed
    assert installation.pid != pid
    pid = installation.pid
    # The role reaches it at an address of IPv6, too.
    installation.run(catalog_server_workers=2, catalog_server_bind_address="::1")
    assert installation.pid != pid
    assert "CATALOG_WORKERS=2" in installation.settings.splitlines()
    installation.run()


def test_a_failing_migration_leaves_everything_as_it_was(installation: Installation, tmp_path: Path) -> None:
    before, pid = installation.files, installation.pid
    saved = len(installation.backups)
    release = another_release(tmp_path, {MIGRATION: FAILING_MIGRATION})
    with pytest.raises(RunFailed, match="no such table: nowhere"):
        installation.run(release, catalog_server_settings={"token_seconds": 603})
    assert (installation.files, installation.pid) == (before, pid)
    assert installation.answers()
    assert len(installation.backups) == saved + 1
    with closing(sqlite3.connect(installation.data / "catalog.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    # The next run of the release in use removes the other one, and has nothing else to do.
    assert installation.run() == [CLEANING]
    assert installation.run() == []


def test_an_update_can_be_rolled_back(installation: Installation, tmp_path: Path) -> None:
    old, saved = installation.current, len(installation.backups)
    with pytest.raises(RunFailed, match="There is no release of before"):
        installation.run(catalog_server_state="rollback")
    release = another_release(tmp_path, ANOTHER)
    assert installation.run(release)
    assert installation.run(release) == []
    new = installation.current
    assert (new != old, installation.previous) == (True, old)
    assert len(installation.backups) == saved + 1

    assert installation.run(release, catalog_server_state="rollback")
    assert installation.current == old and installation.answers()
    assert installation.run(release, catalog_server_state="rollback") == []
    assert installation.run(release)
    assert (installation.current, installation.previous) == (new, old)

    with closing(sqlite3.connect(installation.data / "catalog.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_info SET compatible_from = '9999'")
        with pytest.raises(RunFailed) as refused:
            installation.run(release, catalog_server_state="rollback")
        assert "the schema 9999 of a newer release" in " ".join(str(refused.value).split())
        assert "Restore a backup of" in " ".join(str(refused.value).split())
        with pytest.raises(RunFailed, match="newer release"):
            installation.run()
        assert installation.current == new
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.execute("UPDATE schema_info SET compatible_from = '0001'")
    assert installation.run()


def test_a_release_that_does_not_start_makes_way_for_that_of_before(installation: Installation, tmp_path: Path) -> None:
    installation.run()
    before = installation.files
    with pytest.raises(RunFailed) as failed:
        installation.run(another_release(tmp_path, NOT_SERVING), catalog_server_settings={"token_seconds": 604}, **SOON)
    said = " ".join(str(failed.value).split())
    assert "what was in use before runs again" in said and "it is broken" in said
    assert installation.files == before and installation.answers()
    assert installation.state().returncode == 0
    assert installation.run() == [CLEANING]
    assert installation.run() == []


def test_a_rollback_to_a_release_that_does_not_start_is_taken_back(installation: Installation, tmp_path: Path) -> None:
    installation.run(another_release(tmp_path / "new", ANOTHER))
    new, old = installation.current, installation.previous
    directory = installation.outside(old)
    with (directory / "catalog_server/serve.py").open("a", encoding="utf-8") as file:
        file.write(NOT_SERVING["+serve.py"])
    with pytest.raises(RunFailed, match="what was in use before runs again"):
        installation.run(catalog_server_state="rollback", **SOON)
    assert (installation.current, installation.previous) == (new, old) and installation.answers()
    # Its name stands for another content now.
    shutil.rmtree(directory)
    installation.run()


def test_a_release_that_cannot_be_left_any_more_stays(installation: Installation, tmp_path: Path) -> None:
    old = installation.current
    release = another_release(tmp_path, {MIGRATION: INCOMPATIBLE_MIGRATION, **NOT_SERVING})
    with pytest.raises(RunFailed) as failed:
        installation.run(release, **SOON)
    said = " ".join(str(failed.value).split())
    assert "cannot work with the database as it is now" in said and "Restore a backup of" in said
    assert installation.current != old and installation.previous == old
    # What it tells to do
    installation.stop()
    broken = installation.data.rename(installation.data.with_name("broken"))
    installation.data.mkdir(0o700)
    os.chown(installation.data, broken.stat().st_uid, broken.stat().st_gid)
    (broken / "storage").rename(installation.data / "storage")
    restored = installation.command_of_before("restore", installation.inside(installation.backups[-1]))
    assert restored.returncode == 0, restored.stderr
    assert installation.run()
    assert installation.current == old and installation.answers()
    installation.run()


class Somebody(http.server.BaseHTTPRequestHandler):
    """Another server, which is always ready."""

    def do_GET(self) -> None:
        """Answer whatever is asked."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: t.Any) -> None:
        """Say nothing."""


def test_another_server_at_the_address_is_not_taken_for_this_one(installation: Installation) -> None:
    before = installation.files
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Somebody) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(RunFailed, match="what was in use before runs again"):
            installation.run(catalog_server_port=other.server_port)
        other.shutdown()
    assert installation.files == before and installation.answers()
