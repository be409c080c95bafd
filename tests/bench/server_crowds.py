# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many clients at once: a thousand pulls that begin, and somebody who floods the login."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.macfleet.parallels.tests.bench.report import AT_LEAST, AT_MOST, Bar
from ansible_collections.macfleet.parallels.tests.bench.server_burst import Answer, burst, request
from ansible_collections.macfleet.parallels.tests.bench.server_load import Credential, Load, Wrk
from ansible_collections.macfleet.parallels.tests.bench.server_stand import PASSWORD, USER, ServerStand, login
from ansible_collections.macfleet.parallels.tests.support.signals import tied_to_parent

GRANTS = 1000
GRANT_CONNECTIONS = 250
ALL_SECONDS = 4
WORST_SECONDS = 2
READERS = 16
READ_SECONDS = 8
FLOOD_CONNECTIONS = 60
FLOOD_ADDRESS = "127.0.0.2"
FLOOD_CORES = 0.5
LOGINS = 20
LEAST_RATE = 0.7
_FLOOD = Path(__file__).with_name("server_flood.py")
_BEGIN_SECONDS = 1


def measure_first_urls(stand: ServerStand, runs: int) -> None:
    """The first signed URLs of grants, which count as downloads."""
    totals, worst, failed = [], [], 0
    for number in range(runs):
        stand.say(f"first URLs of {GRANTS} grants: run {number + 1} of {runs}")
        requests = _first_urls(stand)
        begun = time.perf_counter()
        answers = burst(stand.url, requests, GRANT_CONNECTIONS)
        totals.append(time.perf_counter() - begun)
        worst.append(max(answer.seconds for answer in answers))
        failed += sum(answer.status != 200 for answer in answers)
    what = f"first URLs of {GRANTS} grants"
    note = f"{GRANT_CONNECTIONS} connections, medians of {runs}"
    stand.add(
        Bar(what, statistics.median(totals), "s", AT_MOST, ALL_SECONDS, note, totals),
        Bar(f"{what}, slowest answer", statistics.median(worst), "s", AT_MOST, WORST_SECONDS, note, worst),
        Bar(f"{what}, errors", failed, "", AT_MOST, 0, f"of {runs} runs"),
    )


def _first_urls(stand: ServerStand) -> list[bytes]:
    """Mint grants; the request for the first URL of each."""
    chosen = [stand.places[number % len(stand.places)] for number in range(GRANTS)]
    mints = [
        request("POST", "/api/v1/grants", stand.token, {"verb": "pull", "catalog_id": place.catalog_id})
        for place in chosen
    ]
    requests = []
    for answer in burst(stand.url, mints, READERS):
        if answer.status != 200:
            raise RuntimeError(f"a grant was refused: {answer.status} {answer.body!r}")
        minted = answer.json()
        manifest = minted["manifests"][0]["id"]
        segments = [{"pack": manifest[:32], "sha256": manifest}]
        requests.append(request("POST", f"/api/v1/manifests/{manifest}/urls", minted["grant"], {"segments": segments}))
    return requests


def measure_flood(stand: ServerStand, wrk: Wrk, runs: int) -> None:
    """GET manifest, and logins, while somebody floods the login; in turn with the same flood of another port."""
    port = urlsplit(stand.url).port or 0
    rates: dict[str, list[float]] = {"flood": [], "elsewhere": []}
    counts: dict[str, int] = {}
    succeeded = tried = 0
    slowest = 0.0
    with socket.socket() as nobody:
        # Bound and not listening: nobody is there, and nobody else can come.
        nobody.bind(("127.0.0.1", 0))
        for number in range(runs):
            stand.say(f"login flood: run {number + 1} of {runs}")
            for name, target in (("elsewhere", nobody.getsockname()[1]), ("flood", port)):
                with flooding(target, counts if name == "flood" else {}):
                    load, logins = _reads_and_logins(stand, wrk, 2 * number + (name == "flood"))
                rates[name].append(load.per_second)
                if name == "flood":
                    tried += len(logins)
                    succeeded += sum(answer.status == 200 for answer in logins)
                    slowest = max(slowest, *(answer.seconds for answer in logins))
    flooded, alone = statistics.median(rates["flood"]), statistics.median(rates["elsewhere"])
    note = f"{flooded:.0f} req/s, {alone:.0f} while another port is flooded; the flood got {counts} in {runs} runs"
    stand.add(
        Bar("GET manifest, login flood", flooded / alone, "of its rate", AT_LEAST, LEAST_RATE, note, rates["flood"]),
        Bar(
            "right logins, login flood",
            succeeded / tried,
            "succeed",
            AT_LEAST,
            1.0,
            f"of {tried}; slowest {slowest:.1f} s",
        ),
    )


def _reads_and_logins(stand: ServerStand, wrk: Wrk, number: int) -> tuple[Load, list[Answer]]:
    """Read for some seconds, while a user logs in from networks that it never came from."""
    networks = [f"127.{number + 1}.{host + 1}.1" for host in range(LOGINS)]
    answers: list[Answer] = []
    logins = threading.Thread(
        target=lambda: answers.extend(burst(stand.url, [login(USER, PASSWORD)] * LOGINS, LOGINS, networks))
    )
    reading = wrk.start(stand.url, stand.paths, Credential.token(stand.token), READERS, READ_SECONDS)
    logins.start()
    load = wrk.result(reading)
    logins.join()
    return load, answers


@contextlib.contextmanager
def flooding(port: int, counts: dict[str, int]) -> Iterator[None]:
    """Flood a port as long as the block runs; adds what was answered to ``counts``."""
    argv = [*tied_to_parent(), sys.executable, str(_FLOOD), "--port", str(port), "--address", FLOOD_ADDRESS]
    argv += ["--connections", str(FLOOD_CONNECTIONS), "--share", str(FLOOD_CORES)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        # It is to be in full swing.
        time.sleep(_BEGIN_SECONDS)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        output, _errors = process.communicate()
    for name, count in json.loads(output).items():
        counts[name] = counts.get(name, 0) + count
