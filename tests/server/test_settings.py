# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where settings come from, and which goes before which."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from catalog_server.keys import KeyRing, load_keys
from catalog_server.settings import Settings, SettingsError
from catalog_server.settings_sources import load_settings
from running import Template, command

SECRET = "a secret that is long enough, really"


def test_command_line_before_environment_before_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("# a comment\n\nCATALOG_PORT=1\nCATALOG_HOST=file\nCATALOG_STORAGE_NAME=file\n", encoding="utf-8")
    environment = {"CATALOG_PORT": "2", "CATALOG_HOST": "environment", "CATALOG_SETTINGS_FILE": str(file)}
    settings = load_settings(environment, port=3, host=None)
    assert (settings.port, settings.host, settings.storage_name) == (3, "environment", "file")


def test_values_are_taken_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"CATALOG_SERVER_SECRET={SECRET} = ${{HOME}} '\"\n", encoding="utf-8")
    secret = load_settings({}, file).server_secret
    assert secret is not None
    assert secret.get_secret_value() == f"{SECRET} = ${{HOME}} '\""


def test_an_unknown_name_in_the_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("CATALOG_PROT=1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="CATALOG_PROT is not a setting"):
        load_settings({}, file)


def test_empty_variables_and_those_of_others_are_left_alone() -> None:
    assert load_settings({"CATALOGUE": "x", "CATALOG_PORT": ""}) == Settings()


@pytest.mark.parametrize("name", ["CATALOG_TOKEN_SECOND", "CATALOG_URL", "CATALOG_"])
def test_a_variable_that_is_not_a_setting_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a setting"):
        load_settings({name: "600"})


def test_what_kubernetes_sets_for_services_is_ignored_aloud(caplog: pytest.LogCaptureFixture) -> None:
    variables = {
        "CATALOG_PORT": "tcp://10.0.0.1:8470",
        "CATALOG_SERVICE_HOST": "10.0.0.1",
        "CATALOG_SERVICE_PORT": "8470",
        "CATALOG_SERVICE_PORT_HTTP": "8470",
        "CATALOG_PORT_8470_TCP": "tcp://10.0.0.1:8470",
        "CATALOG_PORT_8470_TCP_PROTO": "tcp",
        "CATALOG_PORT_8470_TCP_PORT": "8470",
        "CATALOG_PORT_8470_TCP_ADDR": "10.0.0.1",
        "CATALOG_SERVER_SERVICE_HOST": "10.0.0.1",
    }
    assert load_settings(variables) == Settings()
    assert all(f"{name} is ignored" in caplog.text for name in variables)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CATALOG_PUBLIC_URL", "https://user:password@catalog.example.com"),
        ("CATALOG_PUBLIC_URL", "https://user@catalog.example.com"),
        ("CATALOG_PUBLIC_URL", "http://"),
        ("CATALOG_PUBLIC_URL", "https:///vms"),
        ("CATALOG_PUBLIC_URL", "https://catalog.example.com:port"),
        ("CATALOG_PUBLIC_URL", "ftp://catalog.example.com"),
        ("CATALOG_TRUSTED_PROXIES", "rubbish"),
        ("CATALOG_TRUSTED_PROXIES", "10.0.0.1,proxy.example.com"),
        ("CATALOG_TRUSTED_PROXIES", "10.0.0.1/8"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        load_settings({name: value})
    assert "password@" not in str(refused.value)


@pytest.mark.parametrize("value", ["127.0.0.1", "10.0.0.0/8, 2001:db8::/32", "*"])
def test_proxies_are_addresses_and_networks(value: str) -> None:
    assert load_settings({"CATALOG_TRUSTED_PROXIES": value}).trusted_proxies == value


@pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")
@pytest.mark.parametrize(
    ("name", "mode"), [(".", 0o755), (".", 0o710), ("server-secret", 0o640), ("catalog.db", 0o604)]
)
def test_loose_modes_are_refused(template: Template, tmp_path: Path, name: str, mode: int) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(template.data_dir, data_dir)
    assert command(data_dir, "user", "list").returncode == 0
    (data_dir / name).chmod(mode)
    answer = command(data_dir, "user", "list")
    assert answer.returncode == 2
    assert f"(mode {mode:04o}): run chmod" in answer.stderr


def test_a_secret_from_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n", encoding="utf-8")
    settings = load_settings({"CATALOG_SERVER_SECRET_FILE": str(file)})
    assert load_keys(settings).keys == KeyRing([SECRET]).keys
    with pytest.raises(SettingsError, match="exclude each other"):
        load_settings({"CATALOG_SERVER_SECRET_FILE": str(file), "CATALOG_SERVER_SECRET": SECRET})


def test_secrets_do_not_show(tmp_path: Path) -> None:
    settings = load_settings({"CATALOG_SERVER_SECRET": SECRET})
    assert SECRET not in repr(settings)
    keys = load_keys(settings)
    assert repr(keys) == f"KeyRing({keys.signing.kid})"
    assert repr(keys.signing) == f"Key(kid='{keys.signing.kid}')"
    assert len({keys.signing.login, keys.signing.grants, keys.signing.objects}) == 3


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    assert load_keys(settings).keys == load_keys(settings).keys
    path = settings.data_dir / "server-secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in settings.data_dir.iterdir()] == ["server-secret"]
    path.write_text("cut", encoding="ascii")
    with pytest.raises(SettingsError, match="too short"):
        load_keys(settings)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("prefix", ["/absolute", "a/../b", "a//b", "a/", ".hidden"])
def test_prefixes_that_could_lead_elsewhere(prefix: str) -> None:
    with pytest.raises(SettingsError, match="CATALOG_STORAGE_PREFIX"):
        load_settings({"CATALOG_STORAGE_PREFIX": prefix})
