# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server with a clock that a test sets.

python clocked_server.py FILE serve ...

FILE holds the number of seconds that the clock is ahead.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from pathlib import Path

from catalog_server import app, cli
from catalog_server.settings import Settings
from catalog_server.unit_of_work import Services, utc_now


def open_services(settings: Settings) -> Services:
    """Those of the server, but for the clock."""
    file = Path(sys.argv[1])

    def clock() -> datetime.datetime:
        return utc_now() + datetime.timedelta(seconds=float(file.read_text(encoding="ascii")))

    return dataclasses.replace(_open_services(settings), clock=clock)


_open_services = app.open_services

if __name__ == "__main__":
    app.open_services = open_services
    sys.exit(cli.main(sys.argv[2:]))
