# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written behind the requests, and how often the same thing is."""

from __future__ import annotations

import threading

from catalog_server.behind import BehindWriter, Seldom
from catalog_server.models.audit import AuditEntry
from catalog_server.unit_of_work import utc_now
from conftest import StartServer
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
