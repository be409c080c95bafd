# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One login for many processes."""

from __future__ import annotations

import multiprocessing
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    ApiError,
    Throttled,
    Unauthenticated,
    Unreachable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import Token
from ansible_collections.macfleet.parallels.plugins.plugin_utils._logins import login_once

USER = ("https://catalog.example.com", "anna", "the password of anna")
HOSTS = 12


class Server:
    """Counts the logins in a file, as several processes log in."""

    def __init__(self, directory: Path, answer: Token | ApiError) -> None:
        self._count = directory / "logins"
        self.answer = answer

    def login(self) -> Token:
        with self._count.open("a") as stream:
            stream.write(".")
        time.sleep(0.05)
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer

    @property
    def logins(self) -> int:
        return len(self._count.read_text())


def ask(directory: str, server: Server, results: t.Any) -> None:
    try:
        results.put(("token", login_once(directory, USER, server.login)))
    except ApiError as error:
        results.put((type(error).__name__, str(error)))


@pytest.fixture
def run(tmp_path: Path) -> str:
    directory = tmp_path / "ansible-local-1"
    directory.mkdir(0o700)
    return str(directory)


def of_all_hosts(run: str, server: Server) -> set[tuple[str, str]]:
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    workers = [fork.Process(target=ask, args=(run, server, results)) for _host in range(HOSTS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {results.get() for _host in range(HOSTS)}


def test_many_hosts_log_in_once(run: str, tmp_path: Path) -> None:
    server = Server(tmp_path, Token("t0k3n", time.time() + 900))
    assert of_all_hosts(run, server) == {("token", "t0k3n")}
    assert server.logins == 1


@pytest.mark.parametrize(
    "error",
    [
        Unauthenticated("The password is wrong.", "Check it."),
        Throttled("Too many wrong passwords: try again later."),
        Unreachable("Connection refused.", "Check catalog_url."),
    ],
)
def test_many_hosts_with_a_wrong_password_ask_once(run: str, tmp_path: Path, error: ApiError) -> None:
    server = Server(tmp_path, error)
    assert of_all_hosts(run, server) == {(type(error).__name__, str(error))}
    assert server.logins == 1


def test_what_is_remembered_is_for_the_user_alone_and_holds_no_password(run: str, tmp_path: Path) -> None:
    login_once(run, USER, Server(tmp_path, Token("t0k3n", time.time() + 900)).login)
    (memory,) = Path(run).iterdir()
    assert memory.stat().st_mode & 0o777 == 0o600
    assert "password" not in memory.read_text() + memory.name


def test_other_credentials_are_another_login(run: str, tmp_path: Path) -> None:
    server = Server(tmp_path, Unauthenticated("The password is wrong."))
    with pytest.raises(Unauthenticated):
        login_once(run, USER, server.login)
    server.answer = Token("t0k3n", time.time() + 900)
    assert login_once(run, (*USER[:2], "the right one"), server.login) == "t0k3n"


def test_a_token_is_used_for_the_most_of_its_life(run: str, tmp_path: Path) -> None:
    server = Server(tmp_path, Token("first", 1900.0))
    now = [1000.0]
    assert login_once(run, USER, server.login, lambda: now[0]) == "first"
    server.answer = Token("second", 3000.0)
    now[0] = 1600.0
    assert login_once(run, USER, server.login, lambda: now[0]) == "first"
    now[0] = 1700.0
    assert login_once(run, USER, server.login, lambda: now[0]) == "second"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unreachable("Connection refused."), 30),
        (Throttled("Later."), 30),
        (Throttled("Later.", details={"retry_after": "9"}), 9),
        (Throttled("Later.", details={"retry_after": "3600"}), 60),
    ],
)
def test_a_server_that_comes_back_is_asked_again(run: str, tmp_path: Path, error: ApiError, seconds: int) -> None:
    server = Server(tmp_path, error)
    now = [1000.0]
    for wait in (0, seconds - 1):
        now[0] += wait
        with pytest.raises(type(error)):
            login_once(run, USER, server.login, lambda: now[0])
    server.answer = Token("t0k3n", 9000.0)
    now[0] += 2
    assert login_once(run, USER, server.login, lambda: now[0]) == "t0k3n"


def test_without_a_directory_each_logs_in(tmp_path: Path) -> None:
    server = Server(tmp_path, Token("t0k3n", time.time() + 900))
    for _host in range(2):
        assert login_once(str(tmp_path / "gone"), USER, server.login) == "t0k3n"
    assert server.logins == 2


def test_a_damaged_memory_is_no_obstacle(run: str, tmp_path: Path) -> None:
    server = Server(tmp_path, Token("t0k3n", time.time() + 900))
    login_once(run, USER, server.login)
    (memory,) = Path(run).iterdir()
    memory.write_text("[half")
    assert login_once(run, USER, server.login) == "t0k3n"
