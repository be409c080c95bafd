# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many connections there may be, in all and of one address."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack

import httpx
import pytest
from catalog_server.connections import MOST_LEAVING, OpenConnections
from catalog_server.networks import parsed_networks
from conftest import StartServer
from running import Server, wait_until
from sockets import PROBE, connect, everything, one_answer, status_of
from test_http_limits import HALF_A_HEAD, limit_of
from test_monitoring import value


def test_connections_beyond_the_limit_are_told_so(start_server: StartServer) -> None:
    server = start_server(CATALOG_MAX_CONNECTIONS="10")
    assert limit_of(server.log_with('"message": "connections"')) == 10
    with ExitStack() as stack:
        for _number in range(10):
            stack.enter_context(connect(server)).sendall(HALF_A_HEAD)
        wait_until(lambda: '"many connections"' in server.log)
        with connect(server) as connection:
            answer = everything(connection)
        assert status_of(answer) == 503
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "unavailable"
    wait_until(lambda: httpx.get(f"{server.url}/api/health/live", trust_env=False).status_code == 200)


def is_served(server: Server, source: str = "") -> bool:
    """Whether a new connection, from another address of this machine if one is given, gets a right answer."""
    with connect(server, source=source) as connection:
        connection.sendall(PROBE)
        return status_of(one_answer(connection)) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 as its own addresses")
@pytest.mark.parametrize(("settings", "most"), [({}, 10), ({"CATALOG_MAX_CONNECTIONS_EACH": "3"}, 3)], ids=str)
def test_one_address_does_not_take_all_connections(
    start_server: StartServer, settings: dict[str, str], most: int
) -> None:
    server = start_server(CATALOG_MAX_CONNECTIONS="40", **settings)
    with ExitStack() as stack:
        for _number in range(most):
            stack.enter_context(connect(server, source="127.0.0.2")).sendall(HALF_A_HEAD)
        wait_until(lambda: not is_served(server, "127.0.0.2"))
        with connect(server, source="127.0.0.2") as connection:
            answer = everything(connection)
        assert status_of(answer) == 503
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["message"].startswith("Your address has too many")
        # Another address, and that of a trusted proxy
        for _number in range(15):
            stack.enter_context(connect(server)).sendall(HALF_A_HEAD)
        assert is_served(server, "127.0.0.3")
        assert is_served(server)
        assert value(server, "catalog_connections_refused_total", reason="too_many_from_address") >= 1
    wait_until(lambda: is_served(server, "127.0.0.2"))


def test_those_that_are_sent_away_take_nothing_from_others() -> None:
    opened = OpenConnections(4, 2, parsed_networks("10.0.0.0/8"))
    mine = [opened.open("192.0.2.1") for _number in range(2)]
    refused = [opened.open("192.0.2.1") for _number in range(MOST_LEAVING)]
    assert [place.refused is None for place in mine + refused if place is not None] == [True] * 2 + [False] * 64
    assert opened.open("192.0.2.1") is None
    assert opened.count == 2
    proxied = [opened.open("::ffff:10.0.0.1") for _number in range(2)]
    assert all(place is not None and place.refused is None for place in proxied)
    for place in (*mine, *mine, *refused, *proxied):
        assert place is not None
        opened.close(place)
    assert (opened.count, opened.leaving) == (0, 0)
    again = opened.open("192.0.2.1")
    assert again is not None and again.refused is None
