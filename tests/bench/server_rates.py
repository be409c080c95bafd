# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast a manifest is read: in one process and in several, and while another process keeps writers waiting."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.report import AT_LEAST, AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.server_burst import Answer, burst, request, statuses
from ansible_collections.macfleet.parallels.tests.bench.server_load import Credential, Load, Wrk, median
from ansible_collections.macfleet.parallels.tests.bench.server_stand import CORES, ServerStand
from ansible_collections.macfleet.parallels.tests.support.signals import tied_to_parent

CONNECTIONS = 16
SECONDS = 5
ONE_PROCESS_PER_SECOND = 1000
ALL_CORES_PER_SECOND = 1500
P99_MS = 40
LOCKED_SECONDS = 10
LOCKED_P99_MS = 50
WAITING_WRITERS = 60
_EMPTY = Path(__file__).with_name("server_empty.py")


def measure_one_process(stand: ServerStand, wrk: Wrk, runs: int) -> None:
    """GET manifest by a login token and by an API key, in turn with an application that does nothing."""
    credentials = {"login token": Credential.token(stand.token), "API key": Credential("X-Api-Key", stand.api_key)}
    found: dict[str, list[Load]] = {name: [] for name in (*credentials, "empty")}
    with empty_application(stand.process.python) as empty_url:
        for number in range(runs):
            stand.say(f"GET manifest: run {number + 1} of {runs}")
            for name, credential in credentials.items():
                found[name].append(wrk.run(stand.url, stand.paths, credential, CONNECTIONS, SECONDS))
            found["empty"].append(wrk.run(empty_url, ["/"], Credential.token("none"), CONNECTIONS, SECONDS))
    empty = median(found["empty"])
    stand.add(Bar("empty ASGI application on uvicorn", empty.per_second, "req/s", note=_note(empty, runs)))
    for name in credentials:
        _add_rate(stand, f"GET manifest, {name}, one process", found[name], ONE_PROCESS_PER_SECOND, empty)


def measure_all_cores(stand: ServerStand, wrk: Wrk, runs: int) -> None:
    """GET manifest with as many processes as cores."""
    credential = Credential.token(stand.token)
    stand.say(f"GET manifest: {CORES} processes")
    found = [wrk.run(stand.url, stand.paths, credential, CONNECTIONS, SECONDS) for _number in range(runs)]
    _add_rate(stand, f"GET manifest, login token, {CORES} processes", found, ALL_CORES_PER_SECOND)


def _add_rate(stand: ServerStand, what: str, loads: list[Load], asked: float, empty: Load | None = None) -> None:
    middle = median(loads)
    note = _note(middle, len(loads))
    if empty is not None:
        note += f"; {middle.per_second / empty.per_second:.0%} of the empty application"
    stand.add(
        Bar(what, middle.per_second, "req/s", AT_LEAST, asked, note, [load.per_second for load in loads]),
        Bar(f"{what}, p99", middle.p99_ms, "ms", AT_MOST, P99_MS, runs=[load.p99_ms for load in loads]),
    )


def _note(load: Load, runs: int) -> str:
    return f"p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, {CONNECTIONS} connections, medians of {runs}"


@contextlib.contextmanager
def empty_application(python: str) -> Iterator[str]:
    """Serve server_empty.py; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        process = subprocess.Popen([*tied_to_parent(), python, str(_EMPTY), str(number)], pass_fds=[number])
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            # The socket takes connections already; this one is answered when the application is there.
            burst(url, [request("GET", "/")], 1)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def measure_locked(stand: ServerStand, wrk: Wrk) -> None:
    """GET manifest while another process holds SQLite's lock, and writers wait for it."""
    credential = Credential.token(stand.token)
    calm = wrk.run(stand.url, stand.paths, credential, CONNECTIONS, SECONDS)
    stand.say("the write lock is held")
    answers: list[Answer] = []
    begins = [_begin(stand, number) for number in range(WAITING_WRITERS)]
    writers = threading.Thread(target=lambda: answers.extend(burst(stand.url, begins, WAITING_WRITERS)))
    with contextlib.closing(sqlite3.connect(stand.process.directory / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writers.start()
        busy = wrk.run(stand.url, stand.paths, credential, CONNECTIONS, LOCKED_SECONDS - 1)
        other.execute("COMMIT")
    writers.join()
    note = (
        f"{busy.per_second:.0f} req/s, before {calm.per_second:.0f} and p99 {calm.p99_ms:.1f} ms; "
        f"{WAITING_WRITERS} writers: {statuses(answers)}"
    )
    what = f"GET manifest, write lock held for {LOCKED_SECONDS} s, p99"
    stand.add(Bar(what, busy.p99_ms, "ms", AT_MOST, LOCKED_P99_MS, note))


def _begin(stand: ServerStand, number: int) -> bytes:
    body = {"catalog_id": f"locked-{number}", "version": "1", "architecture": "arm64", "type": "pvm", "name": "a.pvm"}
    return request("POST", "/api/v1/uploads", stand.admin, {**body, "chunk_size": 1 << 20})
