# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that is killed at any time under writes: what it has acknowledged is there, and nothing is half done.

``MACFLEET_TEST_SERVER_KILLS`` says how often on each database, ``MACFLEET_TEST_SEED`` repeats the requests of a run
that failed; when exactly they are cut off depends on the machine.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from conftest import StartServer
from image_writer import ImageWriter
from invariants import (
    assert_audited,
    assert_changes_are_audited,
    assert_no_stray_files,
    assert_objects_are_whole,
    assert_rows_fit,
    assert_states_are_written,
)
from packs import sha256
from people_writer import PeopleWriter
from rows import new_catalog_id
from running import Server, wait_until
from transfer_client import Client, good
from writers import Writer, write_until

KILLS = int(os.environ.get("MACFLEET_TEST_SERVER_KILLS", "10"))
SEED = os.environ.get("MACFLEET_TEST_SEED") or secrets.token_hex(8)
# Of all writers together, before a kill; and how much later it comes, so that it hits any part of a request.
STEPS = (5, 80)
LONGEST_PAUSE_SECONDS = 0.05
LONGEST_START_SECONDS = 1.0
KILLED_WHILE_STARTING = 0.25
LOOKS_AT_STATES = 5


def new_writers(seed: str, name: str = "written") -> list[Writer]:
    """Several of each kind, who do the same for the same seed. What they make has names that begin with ``name``."""
    images = [ImageWriter(f"{name}-{number}", random.Random(f"{seed} image {number}")) for number in range(3)]
    people = [PeopleWriter(f"{name}-{number}", random.Random(f"{seed} people {number}")) for number in range(2)]
    return [*images, *people]


def check(server: Server, writers: list[Writer], *, with_states: bool) -> None:
    """Check a server that was started again: what it has told the writers, and what is true at any time."""
    for writer in writers:
        writer.connect(server)
        writer.check()
        assert_audited(server, writer.audited)
    assert_rows_fit(server)
    assert_objects_are_whole(server)
    assert_changes_are_audited(server)
    assert_no_stray_files(server)
    if with_states:
        assert_states_are_written(server)
    # An open connection would do a part of the recovery from the next kill.
    server.services.database.close()


@pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True)
def test_what_a_killed_server_has_acknowledged_is_there(start_server: StartServer) -> None:
    print(f"MACFLEET_TEST_SEED={SEED}")
    server, writers, choice = start_server(CATALOG_JOBS_SECONDS="1"), new_writers(SEED), random.Random(SEED)
    for writer in writers:
        writer.connect(server)
    for number in range(KILLS):
        steps, seconds = choice.randint(*STEPS), choice.random() * LONGEST_PAUSE_SECONDS
        write_until(writers, server.kill, steps=steps, seconds=seconds)
        if choice.random() < KILLED_WHILE_STARTING:
            server.kill_while_starting(choice.random() * LONGEST_START_SECONDS)
        server.restart()
        print(f"kill {number} after {steps} steps and {seconds:.3f} s")
        check(server, writers, with_states=number % LOOKS_AT_STATES == 0 or number == KILLS - 1)
    assert any(writer.audited for writer in writers)


def test_a_start_removes_half_objects_and_no_others(start_server: StartServer) -> None:
    server = start_server()
    client = Client.of(server, "pusher")
    upload_id = good(client.begin(new_catalog_id()))["id"]
    data = b"an object of which a half arrives"
    url = good(client.store_urls(upload_id, {sha256(data): len(data)}))["urls"][0]["url"]
    folder = server.data_dir / "storage/packs" / upload_id
    with half_put(url, data):
        wait_until(lambda: list(folder.glob(".incoming-*")))
        server.kill()
    storage = server.services.storages.embedded("local")
    assert storage is not None
    # Another server is receiving it as well.
    with storage.files.receive(f"packs/{upload_id}/{sha256(data)}", sha256(data), len(data)) as received:
        server.restart()
        assert len(list(folder.glob(".incoming-*"))) == 1
        received.write(data)
        received.finish()
    assert [path.name for path in folder.iterdir()] == [sha256(data)]
    assert_no_stray_files(server)


@contextmanager
def half_put(url: str, data: bytes) -> Iterator[None]:
    """A request that stores an object, and of which a half has been sent."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data[: len(data) // 2])
        yield
