# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role catalog_server in real plays: what goes wrong in them leaves the server as it was."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import typing as t
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support import server_environment
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, RunFailed, TaskResult

COLLECTIONS = Path(__file__).absolute().parents[4].parent
COLLECTION = "ansible_collections/macfleet/parallels"
SECONDS = 300
# Says that it is another interpreter; what it makes an environment of cannot import anything.
BROKEN = """#!/bin/sh
case "$1$2" in
    -c*print*) echo "3.13.0 CPython {directory}/private/python" ;;
    -mvenv) mkdir -p "$3/bin" && cp "{directory}/empty" "$3/bin/python" ;;
    *) exec {python} "$@" ;;
esac
"""
EMPTY = """#!/bin/sh
[ "$2" = pip ] && exit
echo "ModuleNotFoundError: No module named 'argparse'" >&2
exit 1
"""
FAILING_MIGRATION = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("CREATE TABLE half (one INTEGER)")
    op.execute("SELECT nonsense FROM nowhere")
"""


class Installation:
    """A server that the role deploys into a directory, without a service manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program, self.config, self.data = (directory / name for name in ("program", "config", "data"))
        server_environment.make(self.program, sys.executable)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._ansibles: dict[Path, Ansible] = {}

    def run(self, collections: Path = COLLECTIONS, **variables: t.Any) -> list[str]:
        """Run the role; return the tasks that changed something."""
        if collections not in self._ansibles:
            host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
            environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
            directory = self.directory / f"runs-{len(self._ansibles)}"
            self._ansibles[collections] = Ansible(directory, {"all": {"hosts": {"server": host}}}, environment)
        values = {
            "catalog_server_service_manager": "none",
            "catalog_server_user": getpass.getuser(),
            "catalog_server_manage_user": False,
            "catalog_server_install_directory": str(self.program),
            "catalog_server_config_directory": str(self.config),
            "catalog_server_data_directory": str(self.data),
            "catalog_server_python": sys.executable,
            "catalog_server_port": self.port,
            **variables,
        }
        play = {"hosts": "server", "gather_facts": False, "roles": [{"role": "macfleet.parallels.catalog_server"}]}
        results: list[TaskResult] = self._ansibles[collections].run("server", [play], values, SECONDS)
        return [result.task.rpartition(" : ")[2] for result in results if result.result.get("changed")]

    @property
    def settings(self) -> str:
        return (self.config / "settings.env").read_text(encoding="utf-8")

    @property
    def current(self) -> str:
        return os.readlink(self.program / "current")

    @property
    def pid(self) -> int:
        """The process that runs, by what it says of itself."""
        return int(json.loads((self.data / "running.json").read_text(encoding="utf-8"))["pid"])

    @property
    def backups(self) -> list[Path]:
        return sorted(Path(f"{self.data}-backups").glob("2*"))

    def answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/api/health/ready", timeout=30) as reply:
            return bool(reply.status == 200)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program / "bin/catalog-server", *words], capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Installation]:
    """A server that runs."""
    made = Installation(tmp_path_factory.mktemp("server-role"))
    # Where nothing is yet, a wrong interpreter is refused, and the next run does not suffer from it.
    directory = made.directory / "broken"
    directory.mkdir()
    (directory / "empty").write_text(EMPTY, encoding="utf-8")
    broken = directory / "python"
    broken.write_text(BROKEN.format(directory=directory, python=sys.executable), encoding="utf-8")
    for program in directory.iterdir():
        program.chmod(0o755)
    with pytest.raises(RunFailed) as refused:
        made.run(catalog_server_python=str(broken))
    assert "Set catalog_server_python to an interpreter" in " ".join(str(refused.value).split())
    assert "No module named 'argparse'" in str(refused.value)
    assert not (made.program / "current").exists()
    assert made.run()
    yield made
    made.run(catalog_server_state="absent")


def another_release(directory: Path, migration: str = "", comment: str = "# another release\n") -> Path:
    """Return the collections path of a copy of the collection whose server is another one."""
    target = directory / COLLECTION
    ignore = shutil.ignore_patterns(".git", ".build", "tests", "__pycache__", "output")
    shutil.copytree(COLLECTIONS / COLLECTION, target, ignore=ignore)
    package = target / "roles/catalog_server/files/catalog_server"
    if migration:
        (package / "migrations/versions/0002_next.py").write_text(migration, encoding="utf-8")
    else:
        with (package / "__main__.py").open("a", encoding="utf-8") as file:
            file.write(comment)
    return directory


def test_a_second_run_changes_nothing(installation: Installation) -> None:
    assert installation.run() == []
    assert installation.answers()
    assert {path.name for path in (installation.config / "secrets").iterdir()} == {"admin-password", "server-secret"}
    assert (installation.config / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_wrong_setting_is_refused_before_it_is_written(installation: Installation) -> None:
    before, pid = installation.settings, installation.pid
    with pytest.raises(RunFailed, match="CATALOG_TOKEN_SECNDS"):
        installation.run(catalog_server_settings={"token_secnds": 600})
    assert installation.settings == before
    assert installation.command("check").returncode == 0
    assert installation.run() == []
    assert installation.pid == pid


def test_what_runs_is_compared_with_what_should(installation: Installation) -> None:
    """As if an earlier run had written the settings and failed behind them."""
    pid = installation.pid
    settings = {"token_seconds": 601}
    installation.run(catalog_server_settings=settings)
    assert installation.pid != pid
    pid = installation.pid
    with (installation.config / "settings.env").open("a", encoding="utf-8") as file:
        file.write("CATALOG_TOKEN_SECONDS=602\n")
    assert installation.command("status", "--state-file", str(installation.data / "running.json")).returncode == 3
    installation.run(catalog_server_settings={"token_seconds": 602})
    assert installation.pid != pid
    installation.run()


def test_a_failing_migration_leaves_everything_as_it_was(installation: Installation, tmp_path: Path) -> None:
    before = (installation.settings, installation.current, installation.pid)
    saved = len(installation.backups)
    release = another_release(tmp_path, FAILING_MIGRATION)
    with pytest.raises(RunFailed, match="no such table: nowhere"):
        installation.run(release, catalog_server_settings={"token_seconds": 603})
    assert (installation.settings, installation.current, installation.pid) == before
    assert installation.answers()
    assert len(installation.backups) == saved + 1
    with closing(sqlite3.connect(installation.data / "catalog.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    # The next run of the release in use removes the other one, and has nothing else to do.
    assert installation.run() == ["Remove them"]
    assert installation.run() == []


def test_an_update_can_be_rolled_back(installation: Installation, tmp_path: Path) -> None:
    old, saved = installation.current, len(installation.backups)
    with pytest.raises(RunFailed, match="There is no release of before"):
        installation.run(catalog_server_state="rollback")
    release = another_release(tmp_path)
    assert installation.run(release)
    assert installation.run(release) == []
    new = installation.current
    assert (new != old, os.readlink(installation.program / "previous")) == (True, old)
    assert len(installation.backups) == saved + 1

    assert installation.run(release, catalog_server_state="rollback")
    assert installation.current == old and installation.answers()
    assert installation.run(release, catalog_server_state="rollback") == []
    assert installation.run(release)
    assert (installation.current, os.readlink(installation.program / "previous")) == (new, old)

    with closing(sqlite3.connect(installation.data / "catalog.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_info SET compatible_from = '9999'")
        with pytest.raises(RunFailed) as refused:
            installation.run(release, catalog_server_state="rollback")
        assert "the schema 9999 of a newer release" in " ".join(str(refused.value).split())
        assert installation.current == new
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.execute("UPDATE schema_info SET compatible_from = '0001'")
    assert installation.run()
