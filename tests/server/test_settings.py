# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where settings come from, and which goes before which."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalog_server.keys import KeyRing, load_keys
from catalog_server.settings import Settings, SettingsError, load_settings

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
    with pytest.raises(SettingsError, match="CATALOG_PROT is no setting"):
        load_settings({}, file)


def test_unknown_and_empty_variables_are_left_alone() -> None:
    assert load_settings({"CATALOG_URL": "x", "CATALOG_PORT": ""}) == Settings()


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
