# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role that deploys the server refuses before it does anything."""

from __future__ import annotations

import getpass
import json
import os
import pathlib
import subprocess
import sys

import pytest

# <collections>/ansible_collections/macfleet/parallels
COLLECTIONS = pathlib.Path(__file__).absolute().parents[7]
SECRET = "s3cr3t that nobody else may read, ever"


def preflight(directory: pathlib.Path, settings: dict[str, str]) -> tuple[int, str]:
    """Exit status and output of the first tasks of the role with these ``catalog_server_settings``."""
    variables = {
        "catalog_server_settings": settings,
        "catalog_server_user": getpass.getuser(),
        "catalog_server_python": sys.executable,
        "ansible_python_interpreter": sys.executable,
    }
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["macfleet.parallels.catalog_server"]}
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{**play, "vars": variables}]), encoding="utf-8")
    finished = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", "--tags", "catalog_server_preflight", str(playbook)],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(directory / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        },
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return finished.returncode, finished.stdout


@pytest.mark.parametrize("name", ["server_secret", "SERVER_SECRET", "catalog_server_secret", "CATALOG_SERVER_SECRET"])
def test_secrets_are_no_settings(tmp_path: pathlib.Path, name: str) -> None:
    status, output = preflight(tmp_path, {"token_seconds": "600", name: SECRET})
    assert status == 2, output
    assert "catalog_server_settings must not hold server_secret" in " ".join(output.split())
    assert "server_secret_file" in output
    assert SECRET not in output


def test_the_file_of_a_secret_is_a_setting(tmp_path: pathlib.Path) -> None:
    status, output = preflight(tmp_path, {"server_secret_file": "/etc/catalog/secret", "log_level": "debug"})
    assert status == 0, output
