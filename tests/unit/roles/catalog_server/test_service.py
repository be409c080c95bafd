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
TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit")
VARIABLES = {
    "catalog_server_user": "daemon",
    "catalog_server_group": "daemon",
    "__catalog_server_command": "/bin/true",
    "catalog_server_data_directory": "/var/lib/catalog-server",
    "catalog_server_storage_directory": "/srv/catalog",
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


def rendered() -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string((TEMPLATES / "catalog-server.service.j2").read_text("utf-8")).render(VARIABLES)


def test_systemd_understands_the_unit(analyze: Program, tmp_path: pathlib.Path) -> None:
    unit = tmp_path / "catalog-server.service"
    unit.write_text(rendered(), encoding="utf-8")
    assert complaints(analyze, unit) == ""


def test_systemd_would_complain(analyze: Program, tmp_path: pathlib.Path) -> None:
    unit = tmp_path / "catalog-server.service"
    unit.write_text(rendered().replace("UMask=", "Umask="), encoding="utf-8")
    assert "Umask" in complaints(analyze, unit)
