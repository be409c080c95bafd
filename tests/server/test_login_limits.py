# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The buckets of addresses, and the lines before the threads that check passwords."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest
from catalog_server.errors import Unavailable
from catalog_server.identity import login_limits
from catalog_server.identity.login_limits import LimitLogins, LoginLimits
from catalog_server.networks import network_of
from catalog_server.pools import LoginPool, Turns
from starlette.types import Message


@pytest.mark.parametrize(
    ("address", "bits", "network"),
    [
        ("192.0.2.7", 32, "192.0.2.7/32"),
        ("192.0.2.7", 24, "192.0.2.0/24"),
        ("::ffff:192.0.2.7", 24, "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", 32, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", 24, "fe80::/64"),
        ("", 32, "unknown"),
        ("a socket", 32, "unknown"),
    ],
)
def test_networks_of_addresses(address: str, bits: int, network: str) -> None:
    assert network_of(address, bits) == network


def test_a_bucket_empties_and_fills() -> None:
    now = [0.0]
    limits = LoginLimits(2, 0.5, lambda: now[0])
    assert [limits.take("a"), limits.take("a"), limits.take("a")] == [0, 0, 2]
    assert limits.take("b") == 0
    now[0] = 1.0
    assert limits.take("a") == 1
    now[0] = 2.0
    assert [limits.take("a"), limits.take("a")] == [0, 2]
    limits.give_back("a")
    assert limits.take("a") == 0
    now[0] = 1000.0
    assert [limits.take("a"), limits.take("a"), limits.take("a")] == [0, 0, 2]


def test_addresses_without_end_cost_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_limits, "_MOST_ADDRESSES", 10)
    limits = LoginLimits(5, 1, lambda: 0.0)
    for number in range(100):
        limits.take(str(number))
    assert len(limits._buckets) == 10


def test_a_refusal_is_held_back_and_no_more_than_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_limits, "MOST_REFUSALS", 3)
    answered: list[int] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def pause(seconds: float) -> None:
            assert seconds == login_limits.REFUSAL_SECONDS
            await gate.wait()

        async def no_application(*_arguments: object) -> None:
            raise AssertionError("a login that is refused reaches nobody")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered.append(message["status"])

        async def receive() -> Message:
            raise AssertionError("its body is not read")

        limits = LoginLimits(1, 0.001)
        limits.take("192.0.2.7/32")
        app = LimitLogins(no_application, limits, pause)
        scope = {"type": "http", "method": "POST", "path": "/api/v1/auth/token", "client": ("192.0.2.7", 1)}
        held = [asyncio.create_task(app(scope, receive, send)) for _number in range(3)]
        await asyncio.sleep(0)
        assert not answered
        # Whoever leaves makes room.
        held.pop().cancel()
        await asyncio.sleep(0)
        held.append(asyncio.create_task(app(scope, receive, send)))
        await asyncio.sleep(0)
        assert not answered
        await app(scope, receive, send)
        assert answered == [429]
        gate.set()
        await asyncio.gather(*held)
        assert answered == [429] * 4

    asyncio.run(main())


def test_who_is_known_goes_first() -> None:
    order: list[str] = []

    async def main() -> None:
        pool, gate = LoginPool(1), threading.Event()
        blocked = asyncio.create_task(pool.run(gate.wait, first=False))
        await asyncio.sleep(0)
        waiting = []
        for name in ("unknown 1", "unknown 2", "known 1", "known 2"):
            call = functools.partial(order.append, name)
            waiting.append(asyncio.create_task(pool.run(call, first=name.startswith("known"))))
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(blocked, *waiting)
        pool.close()

    asyncio.run(main())
    assert order == ["known 1", "known 2", "unknown 1", "unknown 2"]


def test_who_gives_up_waiting_keeps_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog_server.pools._WAIT_SECONDS", 0.05)

    async def main() -> None:
        pool, gate = LoginPool(1), threading.Event()
        blocked = asyncio.create_task(pool.run(gate.wait, first=False))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await pool.run(lambda: None, first=True)
        cancelled = asyncio.create_task(pool.run(lambda: None, first=True))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        gate.set()
        await blocked
        assert await pool.run(lambda: "free", first=False) == "free"
        pool.close()

    asyncio.run(main())


def test_those_of_one_name_take_turns_and_leave_nothing() -> None:
    async def main() -> None:
        turns, inside, most = Turns(), 0, 0

        async def one(name: str) -> None:
            nonlocal inside, most
            async with turns.of(name):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

        await asyncio.gather(*(one("a") for _number in range(5)))
        assert most == 1
        assert not turns._locks
        assert not turns._counts

    asyncio.run(main())
