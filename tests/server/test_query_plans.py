# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A page of the list costs as much as it shows, however many manifests there are: how SQLite reads them."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from catalog_server.access import Caller
from catalog_server.app import open_services
from catalog_server.catalog import deltas, queries, records
from catalog_server.settings import Settings
from catalog_server.unit_of_work import Services, utc_now
from rows import put_manifest
from running import Server, Template
from sqlalchemy import event
from sqlalchemy.orm import Session

pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")

AFTER = ("image", "1.0", "arm64")
TEAMS = [f"TEAM_{number}" for number in range(50)]
EVERYBODY = Caller(None, "reader", frozenset({"USER"}), frozenset(), "token")
MANY_TEAMS = Caller(None, "reader", frozenset({"USER"}), frozenset(TEAMS), "token")
ADMINISTRATOR = Caller(None, "admin", frozenset({"SUPER_USER"}), frozenset(), "token")


@pytest.fixture(scope="module", name="services")
def services_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A catalog in which each team has a manifest, and everybody."""
    place = tmp_path_factory.mktemp("plans") / "data"
    with template.copied(place, None):
        services = open_services(Settings(data_dir=place))
        services.storages.prepare(utc_now())
        for claims in ([], *([team] for team in TEAMS)):
            put_manifest(t.cast(Server, SimpleNamespace(services=services)), claims=claims)
        yield services
        services.database.close()


def plans(services: Services, ask: Callable[[Session], object]) -> list[list[str]]:
    """The steps of each statement that something executes."""
    seen: list[tuple[str, t.Any]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: t.Any, *_more: object) -> None:
        seen.append((statement, parameters))

    engine = services.database.engine
    event.listen(engine, "before_cursor_execute", keep)
    try:
        services.database.write(ask)
    finally:
        event.remove(engine, "before_cursor_execute", keep)
    with engine.connect() as connection:
        return [
            [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in seen
            if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE"))
        ]


def plan_of_page(
    services: Services, caller: Caller, filters: records.Filters, after: tuple[str, str, str] | None
) -> list[str]:
    """The steps of the statement that reads a page."""
    return plans(services, lambda session: records.page(session, caller, filters, after, 101))[-1]


ASKED: dict[str, Callable[[Session], object]] = {
    "record": lambda session: records.one(session, MANY_TEAMS, "0"),
    "brief": lambda session: records.brief(session, MANY_TEAMS, "0"),
    "manifest": lambda session: queries.manifest(session, MANY_TEAMS, "0"),
    "versions": lambda session: queries.candidates(session, MANY_TEAMS, "image", None),
    "versions of an architecture": lambda session: queries.candidates(session, MANY_TEAMS, "image", "arm64"),
    "address": lambda session: queries.at_address(session, "image", "1.0", "arm64"),
    "pushes": lambda session: queries.pushed_versions(session, "image", "arm64"),
    "catalog id": lambda session: queries.known_catalog_id(session, MANY_TEAMS, "image"),
    "audiences of a catalog id": lambda session: queries.audiences_of(session, "image"),
    "shared segments": lambda session: queries.uses_shared_segments(session, "0"),
    "move to another audience": lambda session: queries.move_own_segments(session, "0", 1),
    "deletion": lambda session: queries.delete_manifest(session, "0"),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_about_one_version_does_not_read_those_of_all(services: Services, name: str) -> None:
    steps = [step for plan in plans(services, ASKED[name]) for step in plan]
    assert steps
    # The audiences that are in use are read by an index of them, each found behind the one before.
    allowed = ("SCAN used", "SCAN anon_1")
    assert [step for step in steps if step.startswith("SCAN") and not step.startswith(allowed)] == []


def test_deltas_are_found_from_manifest_to_manifest(services: Services) -> None:
    """And not among all versions that the same people may pull: that took seconds where there are a thousand."""
    (plan,) = plans(services, lambda session: deltas.leading_to(session, "0"))
    assert [step for step in plan if "ix_manifests_" in step or "MULTI-INDEX" in step] == []
    assert len([step for step in plan if "ix_deltas_manifest_id" in step]) == 2, plan
    assert [step for step in plan if step.startswith("SCAN") and not step.endswith(("reached", "CONSTANT ROW"))] == []


@pytest.mark.parametrize("after", [None, "image"], ids=["first page", "next page"])
def test_a_page_of_catalog_ids_is_read_in_its_order(services: Services, after: str | None) -> None:
    found = plans(services, lambda session: queries.page_of_catalog_ids(session, EVERYBODY, after, 101))
    assert "catalog_ids USING INDEX" in found[-1][0] and "ORDER BY" not in " ".join(found[-1])
    # Whatever decides about rights is found before, in an index.
    assert [step for plan in found[:-1] for step in plan if step.startswith("SCAN") and "used" not in step] == []


@pytest.mark.parametrize("caller", [EVERYBODY, MANY_TEAMS, ADMINISTRATOR], ids=["user", "many teams", "administrator"])
@pytest.mark.parametrize("after", [None, AFTER], ids=["first page", "next page"])
def test_a_page_is_read_in_its_order(services: Services, caller: Caller, after: tuple[str, str, str] | None) -> None:
    plan = plan_of_page(services, caller, records.Filters(), after)
    assert "manifests USING INDEX ix_manifests_order" in plan[0]
    assert not any("ORDER BY" in step for step in plan)


@pytest.mark.parametrize("flag", ["tainted", "revoked"])
def test_the_few_that_are_blocked_are_found_by_an_index(services: Services, flag: str) -> None:
    plan = plan_of_page(services, ADMINISTRATOR, records.Filters(**{flag: True}), None)
    assert f"manifests USING INDEX ix_manifests_{flag}" in plan[0]
