# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers for the tests: one that most of them share, and others with settings of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from ansible_collections.macfleet.parallels.tests.support import power_cut
from ansible_collections.macfleet.parallels.tests.support.postgres import NoPostgres, Postgres
from ansible_collections.macfleet.parallels.tests.support.postgres import running as postgres_running
from running import MANY_LOGINS, Program, Server, Template, running

StartServer = Callable[..., Server]

# A busy machine is slow, and that is not a fault of the code.
hypothesis.settings.register_profile(
    "busy machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machine")


# "sqlite" or "postgresql": what the server of the tests keeps its data in.
DATABASE = os.environ.get("MACFLEET_TEST_DATABASE", "sqlite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With another database than the default, leave out tests of none, and those that name theirs."""
    if DATABASE == "sqlite":
        return
    kept = [item for item in items if "template" in getattr(item, "fixturenames", ()) and not _names_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _names_database(item: pytest.Item) -> bool:
    return any("template" in mark.args[0] for mark in item.iter_markers("parametrize"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own; without one on the machine, tests that need it are skipped."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(postgres_running())
        except NoPostgres as reason:
            pytest.skip(str(reason))
        yield started


@pytest.fixture(scope="session", params=[DATABASE])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A data directory with a migrated database and the people of the tests; parametrise it to say which database."""
    found: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Template.make(tmp_path_factory.mktemp("template") / "data", found)


@pytest.fixture(scope="session")
def server(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that tests share, run as its users do; each test uses catalog ids of its own."""
    with running(template, tmp_path_factory.mktemp("server") / "data", MANY_LOGINS, Program()) as started:
        yield started


@pytest.fixture
def start_server(template: Template, tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own, with settings such as CATALOG_TOKEN_SECONDS="2".

    Tests of its memory give it a ``Program``: one that is forked holds what the process before it has imported.
    """
    with ExitStack() as stack:
        count = 0

        def start(program: Program | None = None, **settings: str) -> Server:
            nonlocal count
            count += 1
            return stack.enter_context(running(template, tmp_path / f"server-{count}", settings, program))

        yield start


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that knows what is durable."""
    try:
        return power_cut.build(tmp_path_factory.mktemp("power-cut"))
    except power_cut.NoPowerCuts as reason:
        pytest.skip(str(reason))
