# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import options
from ansible_collections.macfleet.parallels.plugins.plugin_utils import _connection
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording

SECRETS = {"catalog_password": "pa55word", "catalog_api_key": "KEY:pa55word", "catalog_token": "t0k3npa55word"}
DEFAULTS = {name: option.get("default") for name, option in options.connection_spec().items()}
URL = {"MACFLEET_CATALOG_URL": BASE_URL}


def connect(environment: t.Mapping[str, str], **options: t.Any) -> _connection.Connection:
    return _connection.connection({**DEFAULTS, **options}, environment)


def headers(monkeypatch: pytest.MonkeyPatch, connection: _connection.Connection, server: Recording) -> t.Any:
    monkeypatch.setattr(Transport, "send", lambda transport, request: server.send(request))
    server.expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": []})
    assert list(connection.client().manifests()) == []
    server.finished()
    sent = server.requests[-1].headers
    return sent.get("Authorization"), sent.get("X-Api-Key")


def test_credentials_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**URL, "MACFLEET_CATALOG_TOKEN": "other"}
    token = connect(environment, catalog_token="t0k3n")
    assert headers(monkeypatch, token, Recording()) == ("Bearer t0k3n", None)
    key = connect(environment, catalog_api_key="KEY:secret")
    assert headers(monkeypatch, key, Recording()) == (None, "S0VZOnNlY3JldA==")


def test_a_user_name_and_password_are_one_login(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Recording()
    body = {"email": "build", "password": "pa55word"}
    server.expect("POST", "auth/token", body=body, reply={"email": "x", "token": "t0k3n", "expires_at": 5})
    environment = {**URL, "MACFLEET_CATALOG_PASSWORD": "pa55word", "MACFLEET_CATALOG_TOKEN": "other"}
    assert headers(monkeypatch, connect(environment, catalog_username="build"), server) == ("Bearer t0k3n", None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TOKEN": "a", "API_KEY": "k:s", "USERNAME": "u"}, "catalog_token"),
        ({"API_KEY": "k:s", "USERNAME": "u", "PASSWORD": "p"}, "catalog_api_key"),
        ({"USERNAME": "u", "PASSWORD": "p", "TOKEN": ""}, "catalog_username"),
    ],
)
def test_credentials_of_the_environment(environment: dict[str, str], expected: str) -> None:
    given = {**URL, **{f"MACFLEET_CATALOG_{name}": value for name, value in environment.items()}}
    params = connect(given).params
    names = ("catalog_token", "catalog_api_key", "catalog_username")
    assert [name for name in names if params[name]] == [expected]


def test_empty_options_are_not_set() -> None:
    environment = {**URL, "MACFLEET_CATALOG_API_KEY": "k:s"}
    assert connect(environment, catalog_token="", catalog_url="").params["catalog_api_key"] == "k:s"


@pytest.mark.parametrize(
    ("environment", "options", "code", "words"),
    [
        ({}, {"catalog_token": "t"}, "invalid_option", "MACFLEET_CATALOG_URL"),
        (URL, {}, "invalid_option", "no credentials"),
        (URL, {"catalog_token": "t", "catalog_api_key": "k:s"}, "invalid_option", "exclude each other"),
        (URL, {"catalog_username": "u"}, "unauthenticated", "no password for the user 'u'"),
        (URL, {"catalog_token": "t", "timeout": 0}, "invalid_option", "timeout"),
        (URL, {"catalog_token": "t", "ca_path": "/nowhere/ca.pem"}, "invalid_option", "No such file"),
        ({}, {"catalog_token": "t", "catalog_url": "catalog"}, "invalid_url", "not a valid address"),
    ],
)
def test_what_cannot_be(environment: dict[str, str], options: dict[str, t.Any], code: str, words: str) -> None:
    with pytest.raises(CatalogError, match=words) as failure:
        connect(environment, **options)
    assert failure.value.code == code


def block(kind: str, text: str) -> str:
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n"


TWO_CERTIFICATES = block("CERTIFICATE", "Zmlyc3Q=") + block("CERTIFICATE", "c2Vjb25k\nPQ==")


def test_certificates_are_read_on_the_controller(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(f"# Français\n{block('PRIVATE KEY', 'c2VjcmV0')}{TWO_CERTIFICATES}trailer\n", encoding="utf-8")
    for connection in (
        connect(URL, catalog_token="t", ca_path=str(path)),
        connect({**URL, "MACFLEET_CATALOG_CA_PATH": str(path)}, catalog_token="t"),
    ):
        # Every host receives them, and a key in the same file would go with them.
        assert connection.ca_certificates == TWO_CERTIFICATES


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(block("PRIVATE KEY", "c2VjcmV0"), encoding="utf-8")
    with pytest.raises(CatalogError, match="no certificate in PEM form") as failure:
        connect(URL, catalog_token="t", ca_path=str(path))
    assert failure.value.code == "invalid_option"
    assert "c2VjcmV0" not in str(failure.value)


def test_secrets_are_registered_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []
    monkeypatch.setattr(_connection, "register_secret", registered.append)
    for name, value in SECRETS.items():
        options = {name: value, "catalog_username": "u"} if name == "catalog_password" else {name: value}
        assert "pa55word" not in repr(connect(URL, **options))
    assert registered == list(SECRETS.values())
