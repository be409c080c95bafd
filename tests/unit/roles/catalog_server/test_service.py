# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd unit, as systemd itself reads it."""

from __future__ import annotations

import os
import pathlib
import subprocess

import jinja2
import pytest
from ansible_collections.macfleet.parallels.tests.support.debian import Program, find_program

TEMPLATES = pathlib.Path(__file__).parents[4] / "roles/catalog_server/templates"
TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit", "time-sync", "time-set", "timers")
VARIABLES = {
    "catalog_server_user": "daemon",
    "catalog_server_group": "daemon",
    "__catalog_server_command": "/bin/true",
    "catalog_server_data_directory": "/var/lib/catalog-server",
    "catalog_server_storage_directory": "/srv/catalog",
    "catalog_server_backup_directory": "/var/backups/catalog-server",
    "catalog_server_backup_schedule": "daily",
    "catalog_server_backups_kept": 7,
    "catalog_server_gc_schedule": "daily",
    "catalog_server_backup_on_failure": "",
    "catalog_server_open_files": 65536,
    "catalog_server_memory_max": "2G",
    "__catalog_server_state_file": "/var/lib/catalog-server/running.json",
    "__catalog_server_stop_seconds": 60,
    "__catalog_server_unit": "/etc/systemd/system/catalog-server.service",
}


@pytest.fixture(scope="module")
def analyze(tmp_path_factory: pytest.TempPathFactory) -> Program:
    found = find_program("systemd-analyze", "systemd", tmp_path_factory.mktemp("packages"))
    if found is None:
        pytest.skip("systemd-analyze is not installed and could not be downloaded (Debian package systemd)")
    return found


def complaints(analyze: Program, unit: pathlib.Path) -> str:
    # This machine may have no units of its own.
    for name in TARGETS:
        (unit.parent / f"{name}.target").write_text("[Unit]\nDescription=A target\n", encoding="utf-8")
    done = subprocess.run(
        [analyze.path, "verify", str(unit)],
        env={**os.environ, **analyze.environment, "SYSTEMD_UNIT_PATH": str(unit.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def rendered(name: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string((TEMPLATES / f"{name}.j2").read_text("utf-8")).render(VARIABLES)


def test_systemd_understands_the_units(analyze: Program, tmp_path: pathlib.Path) -> None:
    for name in (
        "catalog-server.service",
        "catalog-server-backup.service",
        "catalog-server-backup.timer",
        "catalog-server-gc.service",
        "catalog-server-gc.timer",
    ):
        (tmp_path / name).write_text(rendered(name), encoding="utf-8")
    for unit in sorted(tmp_path.glob("catalog-server*")):
        assert complaints(analyze, unit) == ""


def test_systemd_would_complain(analyze: Program, tmp_path: pathlib.Path) -> None:
    unit = tmp_path / "catalog-server.service"
    unit.write_text(rendered(unit.name).replace("UMask=", "Umask="), encoding="utf-8")
    assert "Umask" in complaints(analyze, unit)


def test_the_limits_are_those_of_the_variables() -> None:
    unit = rendered("catalog-server.service")
    assert "LimitNOFILE=65536\n" in unit and "MemoryMax=2G\n" in unit


def test_the_services_wait_for_the_volumes_of_their_directories() -> None:
    for name in ("catalog-server", "catalog-server-backup", "catalog-server-gc"):
        assert "RequiresMountsFor=/var/lib/catalog-server /srv/catalog" in rendered(f"{name}.service")
