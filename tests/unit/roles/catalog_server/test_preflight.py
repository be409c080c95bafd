# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role that deploys the server refuses before it does anything."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

# <collections>/ansible_collections/macfleet/parallels
COLLECTIONS = pathlib.Path(__file__).absolute().parents[7]
# A run of the role on a machine that does much else
SECONDS = 600
SECRET = "s3cr3t that nobody else may read, ever"


def role(directory: pathlib.Path, words: t.Sequence[str], variables: t.Mapping[str, t.Any]) -> tuple[int, str]:
    """Exit status and output, in one line, of the role with these words for ansible-playbook and these variables."""
    values = {
        "catalog_server_user": getpass.getuser(),
        "catalog_server_python": sys.executable,
        "ansible_python_interpreter": sys.executable,
        **{f"catalog_server_{name}_directory": str(directory / name) for name in ("install", "config", "data")},
        **variables,
    }
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["macfleet.parallels.catalog_server"]}
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{**play, "vars": values}]), encoding="utf-8")
    finished = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-c", "local", *words, str(playbook)],
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
        timeout=SECONDS,
        check=False,
    )
    return finished.returncode, " ".join(finished.stdout.split())


def preflight(directory: pathlib.Path, settings: dict[str, t.Any] | None = None, **variables: t.Any) -> tuple[int, str]:
    """Exit status and output of the first tasks of the role with these ``catalog_server_settings``."""
    words = ("--tags", "catalog_server_preflight")
    return role(directory, words, {"catalog_server_settings": settings or {}, **variables})


@pytest.mark.parametrize("name", ["server_secret", "SERVER_SECRET", "catalog_server_secret", "CATALOG_SERVER_SECRET"])
def test_secrets_are_no_settings(tmp_path: pathlib.Path, name: str) -> None:
    status, output = preflight(tmp_path, {"token_seconds": "600", name: SECRET})
    assert status == 2, output
    assert "catalog_server_settings must not hold server_secret" in output
    assert "server_secret_file" in output
    assert SECRET not in output


def test_the_file_of_a_secret_is_a_setting(tmp_path: pathlib.Path) -> None:
    status, output = preflight(tmp_path, {"server_secret_file": "/etc/catalog/secret", "log_level": "debug"})
    assert status == 0, output


def test_variables_that_cannot_be_used_are_refused_together(tmp_path: pathlib.Path) -> None:
    status, output = preflight(
        tmp_path,
        {
            "port": 8471,
            "CATALOG_DATA_DIR": "/srv",
            "metrics_allow": "none\nCATALOG_HOST=0.0.0.0",
            "log_level": ["info"],
        },
        catalog_server_install_directory="opt/catalog",
        catalog_server_backup_directory="/srv/a catalog",
        catalog_server_config_directory=str(tmp_path / "data/"),
        catalog_server_service_name="a/b",
        catalog_server_port=0,
        catalog_server_bind_address="",
        catalog_server_backups_kept=0,
        catalog_server_health_retries=0,
    )
    assert status == 2, output
    bad = "catalog_server_install_directory, catalog_server_backup_directory."
    assert f"absolute paths without spaces, quotes, % and $: {bad}" in output
    assert "These must be different directories" in output
    assert r"must be names, not \"a/b\"." in output
    assert "catalog_server_port must be from 1 to 65535" in output
    assert "catalog_server_bind_address must not be empty" in output
    assert "catalog_server_backups_kept must be 1 or more" in output
    assert "catalog_server_health_retries must be 1 or more" in output
    assert "text and numbers of one line, but not so: log_level, metrics_allow." in output
    assert "must not hold port: set catalog_server_port." in output
    assert "must not hold data_dir: set catalog_server_data_directory." in output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No such file or directory"),
        ("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ensurepip'\" >&2; exit 1\n", "named 'ensurepip'"),
    ],
)
def test_an_interpreter_that_makes_no_environment_is_refused(tmp_path: pathlib.Path, text: str, said: str) -> None:
    python = tmp_path / "python"
    if text:
        python.write_text(text, encoding="ascii")
        python.chmod(0o755)
    status, output = preflight(tmp_path, catalog_server_python=str(python))
    assert status == 2, output
    assert said in output and "python3-venv" in output and "set catalog_server_python" in output


def test_an_interpreter_that_is_too_old_is_refused(tmp_path: pathlib.Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.10.12 CPython /usr/bin/python3.10\n", encoding="ascii")
    python.chmod(0o755)
    status, output = preflight(tmp_path, catalog_server_python=str(python))
    assert status == 2, output
    assert f"needs Python 3.11 or newer, but {python} is 3.10.12: set catalog_server_python." in output


def test_the_server_of_another_user_needs_root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ansible takes the name of the user from there.
    monkeypatch.setenv("LOGNAME", "somebody")
    status, output = preflight(tmp_path, catalog_server_user="another")
    assert status == 2, output
    assert "shall belong to the user another" in output and "set become for this play" in output


def installed(directory: pathlib.Path) -> None:
    """What of an installation says where it is."""
    for name in ("install/bin", "config", "data"):
        (directory / name).mkdir(parents=True)
    (directory / "install/bin/catalog-server").write_text(
        f"CATALOG_SETTINGS_FILE={directory}/config/settings.env\n", encoding="ascii"
    )
    (directory / "config/settings.env").write_text(f"CATALOG_DATA_DIR={directory}/data\n", encoding="ascii")


def test_settings_and_data_are_not_left_behind(tmp_path: pathlib.Path) -> None:
    installed(tmp_path)
    status, output = preflight(tmp_path)
    assert status == 0, output
    elsewhere = str(tmp_path / "elsewhere")
    status, output = preflight(tmp_path, catalog_server_data_directory=elsewhere)
    assert status == 2 and f"The server has its data in {tmp_path}/data, and {elsewhere} is not there" in output
    status, output = preflight(tmp_path, catalog_server_config_directory=elsewhere)
    assert status == 2 and f"settings and secrets in {tmp_path}/config, and there are none in {elsewhere}" in output
    (tmp_path / "data").rename(elsewhere)
    status, output = preflight(tmp_path, catalog_server_data_directory=elsewhere)
    assert status == 0, output


def test_the_data_of_another_user_are_not_taken(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("Only root can give files to another user.")
    installed(tmp_path)
    os.chown(tmp_path / "data", 1, -1)
    status, output = preflight(tmp_path)
    assert status == 2, output
    assert "belong to the user daemon, not to root" in output and "chown --recursive" in output
    assert (tmp_path / "data").stat().st_uid == 1


def test_a_server_that_runs_in_another_way_is_not_left_behind(tmp_path: pathlib.Path) -> None:
    installed(tmp_path)
    with (tmp_path / "data/running.json").open("w", encoding="ascii") as file:
        json.dump({"files": {"/etc/systemd/system/other.service": None}}, file)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        status, output = preflight(tmp_path)
        assert status == 2, output
        assert "runs as /etc/systemd/system/other.service" in output and "catalog_server_service_name" in output
        status, output = preflight(tmp_path, catalog_server_service_name="other")
        assert status == 0, output


def test_the_program_alone_is_removed(tmp_path: pathlib.Path) -> None:
    """Everything below one directory, which has other programs, too."""
    mine = (
        "bin/catalog-server",
        "bin/catalog-server-background",
        "releases/one/launch.py",
        "venvs/one/complete",
        "run",
    )
    others = ("bin/other", "data/catalog.db", "config/settings.env", "config/secrets/server-secret")
    for name in mine + others:
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).touch()
    (tmp_path / "all/current").symlink_to("releases/one")
    # The background program says that nothing runs.
    (tmp_path / "all/bin/catalog-server-background").write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    (tmp_path / "all/bin/catalog-server-background").chmod(0o755)
    variables = {
        "catalog_server_state": "absent",
        "catalog_server_service_manager": "none",
        "catalog_server_install_directory": str(tmp_path / "all"),
        "catalog_server_config_directory": str(tmp_path / "all/config"),
        "catalog_server_data_directory": str(tmp_path / "all/data"),
    }
    before = set((tmp_path / "all").rglob("*"))
    status, output = role(tmp_path, ("--check",), variables)
    assert status == 0 and set((tmp_path / "all").rglob("*")) == before, output
    assert "changed=1" in output
    status, output = role(tmp_path, (), variables)
    assert status == 0, output
    left = {str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*") if not path.is_dir()}
    assert left == set(others)
    for name in others:
        (tmp_path / "all" / name).unlink()
    for directory in ("config/secrets", "config", "data"):
        (tmp_path / "all" / directory).rmdir()
    status, output = role(tmp_path, (), variables)
    assert status == 0 and not (tmp_path / "all").exists(), output
    status, output = role(tmp_path, (), variables)
    assert status == 0 and "changed=0" in output


def test_check_mode_works_before_anything_is_there(tmp_path: pathlib.Path) -> None:
    variables = {
        "catalog_server_service_manager": "none",
        "catalog_server_manage_user": False,
        "catalog_server_database_url": "postgresql://catalog:secret@127.0.0.1/catalog",
    }
    status, output = role(tmp_path, ("--check", "--diff"), variables)
    assert status == 0, output
    assert {path.name for path in tmp_path.iterdir()} == {"ansible", "play.yml"}
