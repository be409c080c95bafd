# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs at another time than that of the server, whose clock is right all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catalog_server.models.catalog import Catalog
from catalog_server.unit_of_work import Services
from sqlalchemy import update


@contextmanager
def another_time(services: Services) -> Iterator[None]:
    """Let the clock of ``services`` be right inside, and that of everybody else behind."""
    _forget_time(services)
    try:
        yield
    finally:
        _forget_time(services)


def _forget_time(services: Services) -> None:
    services.database.write(lambda session: session.execute(update(Catalog).values(clock_noted_at=None)))
