# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server with manifests and a user, for the measurements of the server itself."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.bench.report import Bar
from ansible_collections.macfleet.parallels.tests.bench.server_burst import burst, request
from ansible_collections.macfleet.parallels.tests.bench.stand import Bench, scratch
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

USER = "reader"
PASSWORD = "correct horse battery staple"
CORES = os.cpu_count() or 1
_ROWS = Path(__file__).with_name("server_rows.py")


@dataclass(frozen=True)
class Place:
    """A manifest that the user may see, with the one segment that it uses."""

    id: str
    catalog_id: str

    @property
    def path(self) -> str:
        """Its path in the API."""
        return f"/api/v1/manifests/{self.id}"

    @property
    def segment(self) -> dict[str, str]:
        """Pack and SHA-256 of its segment; see server_shape.py."""
        return {"pack": self.id[:32], "sha256": self.id}


@dataclass(frozen=True)
class ServerStand:
    """A running server; ``token`` and ``api_key`` are of a user without special rights, ``admin`` of one with all."""

    bench: Bench
    process: ServerProcess
    places: list[Place]
    # Id of the manifest whose listing is in storage, and cursors of the list: see server_rows.py
    first: str
    cursors: list[str]
    token: str = field(repr=False)
    admin: str = field(repr=False)
    api_key: str = field(repr=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.url

    @property
    def paths(self) -> list[str]:
        """Paths of many manifests."""
        return [place.path for place in self.places]

    def say(self, text: str) -> None:
        """Progress."""
        self.bench.say(text)

    def add(self, *bars: Bar) -> None:
        """Lines of the report."""
        self.bench.bars.extend(bars)


def login(name: str, password: str) -> bytes:
    """The request of a login."""
    return request("POST", "/api/v1/auth/token", body={"username": name, "password": password})


@contextlib.contextmanager
def server_stand(
    bench: Bench,
    *rows: str,
    catalog_ids: int = 100,
    versions: int = 10,
    workers: int = 1,
    settings: t.Mapping[str, str] | None = None,
) -> Iterator[ServerStand]:
    """Start a server with so many manifests in so many processes; ``rows`` are more arguments of server_rows.py."""
    chosen = {"CATALOG_TOKEN_SECONDS": "86400", "CATALOG_WORKERS": str(workers), **(settings or {})}
    with scratch(bench, "server") as place:
        process = ServerProcess(place, bench.arguments.server_python, chosen)
        with process:
            words = ("--user", USER, "--catalog-ids", str(catalog_ids), "--versions", str(versions), *rows)
            made = json.loads(process.script(_ROWS, *words, text=PASSWORD))
            answer = burst(process.url, [login(USER, PASSWORD)], 1)[0]
            yield ServerStand(
                bench,
                process,
                [Place(**one) for one in made["manifests"]],
                made["first"],
                made["cursors"],
                answer.json()["token"],
                process.token(),
                made["api_key"],
            )
