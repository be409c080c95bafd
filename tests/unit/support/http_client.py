# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of the metadata server over a recording, with a clock of its own."""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import Patience
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording

TOKEN = "s3cr3t-t0k3n"


class Pauses:
    """A clock that moves by the pauses only."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.all.append(seconds)

    def now(self) -> float:
        return sum(self.all)


def client(
    server: Recording, seconds: float = 0.0, pauses: Pauses | None = None, first_seconds: float | None = None
) -> Http:
    pauses = pauses or Pauses()
    return Http(
        BASE_URL,
        server.send,
        authorization=lambda: {"Authorization": f"Bearer {TOKEN}"},
        patience=Patience(seconds),
        first_patience=None if first_seconds is None else Patience(first_seconds),
        sleep=pauses.sleep,
        clock=pauses.now,
    )
