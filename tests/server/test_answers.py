# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where handlers run: a short read of SQLite on the event loop, everything else in a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest
from catalog_server import answers
from catalog_server.database import SQLITE
from catalog_server.identity.authentication import Credentials
from catalog_server.unit_of_work import RequestContext
from conftest import DATABASE, StartServer
from fastapi import Response
from pydantic import BaseModel


class Where(BaseModel):
    """The thread that has answered."""

    thread: int


@answers.written_at_once(lambda context, length: length <= 2)
def where(context: RequestContext, length: int) -> Where:
    """Answer at once if it is short."""
    return Where(thread=threading.get_ident())


@pytest.mark.parametrize(("length", "at_once"), [(2, DATABASE == SQLITE), (3, False)])
def test_a_short_read_is_answered_on_the_event_loop(start_server: StartServer, length: int, at_once: bool) -> None:
    context = RequestContext(start_server().services, Credentials(), None, "http://catalog/api/v1")

    async def answer() -> tuple[Response, int]:
        return await where(context, length=length), threading.get_ident()

    response, loop_thread = asyncio.run(answer())
    assert (Where.model_validate_json(response.body).thread == loop_thread) is at_once
