# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A page of the list costs as much as it shows, however many manifests there are: how SQLite reads them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from catalog_server.access import Audience, Caller
from catalog_server.app import open_services
from catalog_server.catalog import queries, records
from catalog_server.settings import Settings
from running import Template, command_work
from sqlalchemy import event

pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True, scope="session")

AFTER = ("image", "1.0", "arm64")
TEAMS = [f"TEAM_{number}" for number in range(50)]
EVERYBODY = Caller(None, "reader", frozenset({"USER"}), frozenset(), "token")
MANY_TEAMS = Caller(None, "reader", frozenset({"USER"}), frozenset(TEAMS), "token")
ADMINISTRATOR = Caller(None, "admin", frozenset({"SUPER_USER"}), frozenset(), "token")


def plan_of_page(
    template: Template, place: Path, caller: Caller, filters: records.Filters, after: tuple[str, str, str] | None
) -> list[str]:
    """The steps of the statement that reads a page."""
    seen: list[tuple[str, t.Any]] = []
    with template.copied(place, None):
        services = open_services(Settings(data_dir=place))
        with command_work(services) as work:
            for claims in ([], *([team] for team in TEAMS)):
                queries.audience_row(work.session, Audience.of([], claims).text())
        event.listen(
            services.database.engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, parameters, *_more: seen.append((statement, parameters)),
        )
        with services.database.reading() as session:
            records.page(session, caller, filters, after, 101)
        with services.database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[-1][0]}", seen[-1][1])
            plan = [row[3] for row in rows]
        services.database.close()
    return plan


@pytest.mark.parametrize("caller", [EVERYBODY, MANY_TEAMS, ADMINISTRATOR], ids=["user", "many teams", "administrator"])
@pytest.mark.parametrize("after", [None, AFTER], ids=["first page", "next page"])
def test_a_page_is_read_in_its_order(
    template: Template, tmp_path: Path, caller: Caller, after: tuple[str, str, str] | None
) -> None:
    plan = plan_of_page(template, tmp_path / "data", caller, records.Filters(), after)
    assert "manifests USING INDEX ix_manifests_order" in plan[0]
    assert not any("ORDER BY" in step for step in plan)


@pytest.mark.parametrize("flag", ["tainted", "revoked"])
def test_the_few_that_are_blocked_are_found_by_an_index(template: Template, tmp_path: Path, flag: str) -> None:
    plan = plan_of_page(template, tmp_path / "data", ADMINISTRATOR, records.Filters(**{flag: True}), None)
    assert f"manifests USING INDEX ix_manifests_{flag}" in plan[0]
