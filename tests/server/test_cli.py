# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog-server command as an administrator runs it."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from catalog_server.cli import main
from catalog_server.models.audit import AuditEntry
from conftest import StartServer
from running import PASSWORD, Template, command, program, wait_until
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session


@pytest.fixture(name="data_dir")
def data_dir_fixture(template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A prepared data directory of the test's own; the environment names its database."""
    with template.copied(tmp_path / "data", None) as settings:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "data"


def done(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    return answer.stdout


def failed(answer: subprocess.CompletedProcess[str], status: int = 1) -> str:
    assert answer.returncode == status, answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.stderr


@dataclass(frozen=True)
class Answer:
    """What a command ended with, and what it said."""

    status: object
    out: str
    err: str


@pytest.fixture(name="run")
def run_fixture(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The command in this very process, for there are many cases; the first test below starts real ones."""

    def run(*words: str, stdin: str = "", **variables: str) -> Answer:
        for name, value in {"CATALOG_DATA_DIR": str(data_dir), **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        mask = os.umask(0o022)
        try:
            status: object = main(words)
        except SystemExit as end:
            status = end.code
        finally:
            os.umask(mask)
        said = capsys.readouterr()
        return Answer(status, said.out, said.err)

    return run


def good(answer: Answer) -> str:
    assert answer.status == 0, answer
    assert answer.err == ""
    return answer.out


def refused(answer: Answer, status: int) -> str:
    assert answer.status == status, answer
    assert answer.out == ""
    return answer.err


def test_from_nothing_to_a_first_user(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    assert done(program(data_dir, "migrate")) == "schema none -> 0001\n"
    assert done(program(data_dir, "migrate")) == "schema 0001\n"
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in data_dir.iterdir()} == {0}
    added = program(data_dir, "user", "add", "First", "--super-user", "--password-stdin", stdin=PASSWORD + "\n")
    assert done(added) == "user first added\n"
    again = program(data_dir, "user", "add", "first", "--if-missing", "--password-stdin", stdin=PASSWORD)
    assert done(again) == "user first exists\n"
    (user,) = json.loads(done(program(data_dir, "user", "list", "--json")))
    assert (user["username"], user["email"], user["roles"]) == ("first", "first@localhost", ["SUPER_USER"])
    assert PASSWORD not in (data_dir / "catalog.db").read_bytes().decode("latin-1")


def test_the_life_of_a_user(start_server: StartServer, run: Callable[..., Answer]) -> None:
    server = start_server()
    own = partial(run, **{"CATALOG_DATA_DIR": str(server.data_dir), **server.settings})
    words = ("user", "add", "ann", "--email", "Ann@Example.com", "--name", "Ann", "--role", "qa", "--claim", "list")
    good(own(*words, "--password-env", "NEW_PASSWORD", NEW_PASSWORD="a password of hers"))
    token = server.login("ann@example.com", "a password of hers").json()["token"]
    assert server.call("GET", "/manifests", bearer=token).status_code == 403
    assert good(own("user", "set", "ann", "--role", "USER", "--role", "qa")) == "changed\n"
    assert good(own("user", "set", "ann", "--role", "qa", "--role", "user")) == "unchanged\n"
    assert server.call("GET", "/manifests", bearer=token).status_code == 200
    good(own("user", "set", "ann", "--no-claims"))
    assert "ann\tann@example.com\tQA,USER\t\n" in good(own("user", "list"))
    good(own("user", "set-password", "ann", "--password-stdin", stdin="another password"))
    assert server.login("ann", "another password").status_code == 200
    assert good(own("user", "delete", "ann")) == "user ann deleted\n"
    assert server.login("ann", "another password").status_code == 401
    with server.services.database.reading() as session:
        actions = session.scalars(select(AuditEntry.action).where(AuditEntry.actor == "catalog-server")).all()
    assert [action for action in actions if "user." in action][-5:] == [
        "user.add", "user.edit", "user.edit", "user.set_password", "user.delete"
    ]  # fmt: skip


def test_the_life_of_an_api_key(start_server: StartServer, run: Callable[..., Answer]) -> None:
    server = start_server()
    own = partial(run, **{"CATALOG_DATA_DIR": str(server.data_dir), **server.settings})
    key = good(own("user", "key", "reader", "--name", "ci", "--expires-days", "30")).strip()
    assert server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 200
    name, secret = base64.b64decode(key).decode().split(":")
    listed = good(own("user", "keys", "reader", "--json"))
    assert [one["key"] for one in json.loads(listed)] == [name]
    wait_until(lambda: json.loads(good(own("user", "keys", "reader", "--json")))[0]["last_used_at"])
    assert "\tused 2" in good(own("user", "keys", "reader"))
    assert secret not in listed
    assert good(own("user", "revoke-key", name)) == "revoked\n"
    assert good(own("user", "revoke-key", name)) == "revoked before\n"
    assert server.call("GET", "/manifests", headers={"X-Api-Key": key}).status_code == 401


def test_a_user_is_disabled_enabled_and_logged_out(start_server: StartServer, run: Callable[..., Answer]) -> None:
    server = start_server()
    own = partial(run, **{"CATALOG_DATA_DIR": str(server.data_dir), **server.settings})
    token = server.token("reader")
    assert good(own("user", "disable", "reader")) == "changed\n"
    assert good(own("user", "disable", "reader")) == "unchanged\n"
    (reader,) = (one for one in json.loads(good(own("user", "list", "--json"))) if one["username"] == "reader")
    assert (reader["disabled"], reader["password_limited"]) == (True, False)
    assert server.call("GET", "/me", bearer=token).status_code == 401
    assert good(own("user", "enable", "reader")) == "changed\n"
    assert server.call("GET", "/me", bearer=token).status_code == 200
    assert good(own("user", "log-out", "reader")) == "user reader logged out everywhere\n"
    assert server.call("GET", "/me", bearer=token).status_code == 401
    listed = json.loads(good(own("audit", "--subject", "user:reader", "--limit", "3", "--json")))
    assert [entry["action"] for entry in listed] == ["user.log_out", "user.edit", "user.edit"]
    assert {entry["actor"] for entry in listed} == {"catalog-server"}
    lines = good(own("audit", "--subject", "user", "--limit", "2")).splitlines()
    assert [line.split("\t")[2] for line in lines] == ["user.log_out", "user.edit"]
    assert good(own("audit", "--since", "2199-01-01")) == ""


def test_new_names_of_roles_and_claims_are_told(run: Callable[..., Answer]) -> None:
    words = ("--no-password", "--role", "raeder", "--claim", "LIST")
    assert good(run("user", "add", "x", *words)) == "user x added\nnew role RAEDER\n"
    assert good(run("user", "set", "x", "--role", "READER", "--claim", "sees")) == "changed\nnew claim SEES\n"


def test_the_life_of_a_role(run: Callable[..., Answer]) -> None:
    words = ("role", "set", "auditor", "--claim", "READ_AUDIT", "--description", "reads the audit log")
    assert good(run(*words)) == "changed\nnew role AUDITOR\n"
    assert good(run(*words)) == "unchanged\n"
    assert "AUDITOR\tREAD_AUDIT\treads the audit log\n" in good(run("role", "list"))
    saved = json.loads(good(run("role", "set", "auditor", "--no-claims", "--json")))
    assert (saved["changed"], saved["claims"], saved["description"]) == (True, [], "reads the audit log")
    assert {role["name"] for role in json.loads(good(run("role", "list", "--json")))} > {"AUDITOR", "READER"}
    assert good(run("role", "delete", "auditor")) == "role auditor deleted\n"


def test_the_life_of_a_catalog_id(run: Callable[..., Answer]) -> None:
    words = ("catalog-id", "set", "runner", "--push-role", "team", "--immutable-tags", "--keep-days", "30")
    assert good(run(*words, "--quota-bytes", "1000")) == "changed\nnew role TEAM\n"
    assert good(run(*words)) == "unchanged\n"
    assert good(run("catalog-id", "list")) == "runner\tTEAM\t1000\n"
    (row,) = json.loads(good(run("catalog-id", "list", "--json")))
    assert (row["push_roles"], row["immutable_tags"], row["retention"]["keep_days"]) == (["TEAM"], True, 30)
    last = ("--anybody-pushes", "--no-immutable-tags", "--quota-bytes=-1", "--json")
    saved = json.loads(good(run("catalog-id", "set", "runner", *last)))
    assert (saved["push_roles"], saved["immutable_tags"], saved["quota_bytes"]) == ([], False, None)
    assert good(run("catalog-id", "delete", "runner")) == "catalog id runner deleted\n"
    assert good(run("catalog-id", "list")) == ""


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        (("user", "add", "reader", "--no-password"), "", "There is a user 'reader' already."),
        (("user", "add", "reader@localhost", "--no-password"), "", "There is a user 'reader@localhost' already."),
        (("user", "add", "two words", "--no-password"), "", "'two words' is not a valid user name"),
        (("user", "add", "x", "--email", "nowhere", "--no-password"), "", "'nowhere' is not a valid mail address."),
        (("user", "add", "x", "--name", "x" * 5000, "--no-password"), "", "has at most 150 printable characters."),
        (("user", "add", "x", "--password-stdin"), " " * 12, "A password has at least 5 different characters."),
        (("user", "delete", "admin"), "", "This is the last enabled user with the role SUPER_USER"),
        (("user", "disable", "admin"), "", "This is the last enabled user with the role SUPER_USER"),
        (("user", "set", "admin", "--no-roles"), "", "This is the last enabled user with the role SUPER_USER"),
        (("user", "log-out", "x"), "", "There is no user 'x'."),
        (("role", "delete", "x"), "", "There is no role 'x'."),
        (("role", "delete", "READER"), "", "The role 'READER' belongs to the server and cannot be deleted."),
        (("catalog-id", "delete", "x"), "", "There is no catalog id 'x'"),
        (("catalog-id", "set", "x", "--quota-bytes=-2"), "", "The quota is a number of bytes, or -1."),
        (("user", "add", "x", "--password-stdin"), "short", "A password has 12 to 256 characters."),
        (("user", "add", "x", "--password-env", "NO_SUCH"), "", "There is no variable NO_SUCH"),
        (("user", "set-password", "x", "--password-stdin"), PASSWORD, "There is no user 'x'."),
        (("user", "set", "x", "--name", "y"), "", "There is no user 'x'."),
        (("user", "set", "reader", "--email", "admin@localhost"), "", "There is a user 'admin@localhost' already."),
        (("user", "delete", "x"), "", "There is no user 'x'."),
        (("user", "key", "x", "--never-expires"), "", "There is no user 'x'."),
        (("user", "revoke-key", "x"), "", "There is no API key 'x', or it is not yours."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run: Callable[..., Answer], words: tuple[str, ...], stdin: str, sentence: str
) -> None:
    answer = refused(run(*words, stdin=stdin), 1)
    assert answer.startswith("catalog-server: ")
    assert sentence in answer
    assert answer.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "x"),
        ("user", "add", "x", "--password", "secret"),
        ("user", "key", "reader"),
        ("user", "key", "reader", "--expires-days", "0"),
        ("user", "key", "reader", "--expires-days", "nan"),
        ("audit", "--since", "yesterday"),
        ("audit", "--limit", "0"),
        ("gc", "--dry-run", "--after-restore"),
        ("sweep",),
        (),
    ],
)
def test_wrong_words_are_a_wrong_use(run: Callable[..., Answer], words: tuple[str, ...]) -> None:
    assert refused(run(*words), 2).startswith("usage: catalog-server")


def test_a_database_without_the_schema_is_refused(tmp_path: Path) -> None:
    for words in (("serve", "--port", "0"), ("user", "list")):
        assert "run catalog-server migrate" in failed(command(tmp_path / "data", *words))


def test_a_server_of_another_release_is_not_ready(start_server: StartServer) -> None:
    server = start_server()
    with Session(create_engine(server.services.settings.database)) as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        session.connection().exec_driver_sql("UPDATE schema_info SET compatible_from = '9998'")
        session.commit()
    # The answer may be a second old.
    wait_until(lambda: server.call("GET", "/health/ready").status_code == 503)
    assert server.call("GET", "/health/ready").json()["error"] == "unavailable"
    assert server.call("GET", "/health/live").status_code == 200


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"CATALOG_PORT": "many"}, "CATALOG_PORT: "),
        ({"CATALOG_SERVER_SECRET": "too short"}, "CATALOG_SERVER_SECRET: it must have at least 32 characters"),
        ({"CATALOG_SERVER_SECRET_FILE": "/no/such/file"}, "the server's secret in /no/such/file cannot be read"),
        ({"CATALOG_SETTINGS_FILE": "/no/such/file"}, "the settings in /no/such/file cannot be read"),
        ({"CATALOG_DATABASE_URL": "mysql://x"}, "CATALOG_DATABASE_URL: it must be postgresql:// or sqlite:///"),
        (
            {"CATALOG_DATABASE_URL": "sqlite:///:memory:"},
            "CATALOG_DATABASE_URL: it must be postgresql:// or sqlite:///",
        ),
        ({"CATALOG_DATABASE_URL": "sqlite:///"}, "CATALOG_DATABASE_URL: it must be postgresql:// or sqlite:///"),
        ({"CATALOG_PUBLIC_URL": "catalog.example.com"}, "CATALOG_PUBLIC_URL: it must begin with http"),
        ({"CATALOG_TLS_KEY": "/some/key"}, "tls_certificate and tls_key go together"),
    ],
)
def test_settings_that_cannot_be_used(run: Callable[..., Answer], settings: dict[str, str], sentence: str) -> None:
    answer = refused(run("user", "list", **settings), 2)
    assert sentence in answer
    assert "too short" not in answer
