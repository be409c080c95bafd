# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written behind the requests, and how often the same thing is."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from catalog_server.behind import BehindWriter, Seldom
from catalog_server.errors import Unavailable
from catalog_server.models.audit import AuditEntry
from catalog_server.unit_of_work import utc_now
from conftest import StartServer
from running import Server
from sqlalchemy import func, select
from sqlalchemy.orm import Session


def test_the_same_thing_passes_once_in_a_while() -> None:
    seldom = Seldom(60)
    assert [seldom.lets_through("a", now) for now in (0, 1, 59, 60, 61)] == [True, False, False, True, False]
    assert seldom.lets_through("b", 61)
    # A clock that went back must not silence it for ever.
    assert seldom.lets_through("a", 0)


def test_no_more_than_so_many_different_things_pass() -> None:
    seldom = Seldom(60, most=3)
    assert [seldom.lets_through(number, 0) for number in range(5)] == [True, True, True, False, False]
    assert seldom.lets_through(9, 60)


def test_beyond_so_many_all_pass_where_none_may_be_missing() -> None:
    seldom = Seldom(60, most=3, beyond=True)
    assert [seldom.lets_through(number, 0) for number in range(5)] == [True] * 5
    assert not seldom.lets_through(4, 1)


def test_what_cannot_be_written_is_lost_and_the_next_is_not(start_server: StartServer) -> None:
    server = start_server()
    first = threading.Event()

    def write(session: Session, items: object) -> None:
        if not first.is_set():
            first.set()
            raise RuntimeError("the first time")
        session.add(
            AuditEntry(
                at=utc_now(),
                actor="",
                credential="x",
                action=f"test.{items}",
                subject_kind="",
                subject_id="",
                details={},
            )
        )

    writer: BehindWriter[int] = BehindWriter(server.services.database, "a test", write)
    writer.start()
    writer.add(1)
    assert first.wait(10)
    writer.add(2)
    writer.close()
    with server.services.database.reading() as session:
        found = session.scalar(select(func.count()).select_from(AuditEntry).where(AuditEntry.action == "test.[2]"))
    assert found == 1


def noted(server: Server, writer: BehindWriter[str], *items: str) -> set[str]:
    """What of the items is in the audit log when the writer has ended."""
    writer.start()
    for item in items:
        writer.add(item)
    writer.close()
    with server.services.database.reading() as session:
        return set(session.scalars(select(AuditEntry.action).where(AuditEntry.action.in_(items))))


def entry(action: str) -> AuditEntry:
    return AuditEntry(at=utc_now(), actor="", credential="x", action=action, subject_kind="", subject_id="", details={})


def test_one_that_cannot_be_written_takes_no_other_with_it(server: Server) -> None:
    def write(session: Session, items: Sequence[str]) -> None:
        session.add_all(map(entry, items))
        if "test.bad" in items:
            raise RuntimeError("of this one")

    items = [f"test.beside-{number}" for number in range(5)]
    writer = BehindWriter(server.services.database, "a test", write)
    assert noted(server, writer, *items[:2], "test.bad", *items[2:]) == set(items)


def test_what_comes_while_the_database_is_away_waits_for_it(server: Server) -> None:
    away = [True, True]
    came = threading.Event()

    def write(session: Session, items: Sequence[str]) -> None:
        if away:
            away.pop()
            raise Unavailable("not now")
        session.add_all(map(entry, items))
        came.set()

    writer = BehindWriter(server.services.database, "a test", write)
    writer.start()
    writer.add("test.waited")
    assert came.wait(30)
    writer.close()
    with server.services.database.reading() as session:
        assert session.scalar(select(func.count()).where(AuditEntry.action == "test.waited")) == 1


def test_a_database_that_does_not_answer_keeps_no_process_from_ending(server: Server) -> None:
    begun, end = threading.Event(), threading.Event()

    def write(session: Session, items: Sequence[str]) -> None:
        begun.set()
        assert end.wait(60)

    writer = BehindWriter(server.services.database, "a test", write)
    writer.start()
    writer.add("test.never")
    assert begun.wait(30)
    writer.close(seconds=0.1)
    end.set()
    writer.close()
