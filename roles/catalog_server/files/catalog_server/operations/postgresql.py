# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs of PostgreSQL: pg_dump and psql. No password is among their arguments, which everybody can see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import make_url

from catalog_server.errors import Unavailable


def dump(url: str, target: Path) -> None:
    """Write one state of a database as SQL.

    :raises Unavailable: pg_dump is not there, or fails
    """
    _run("pg_dump", url, "--format=plain", "--no-owner", "--no-privileges", f"--file={target}")


def load(url: str, source: Path, afterwards: str) -> None:
    """Run the SQL of a dump and a statement behind it in one transaction: all of it or nothing.

    :raises Unavailable: psql is not there, or fails
    """
    words = ("--no-psqlrc", "--quiet", "--single-transaction", "--variable=ON_ERROR_STOP=1", "--output=/dev/null")
    _run("psql", url, *words, f"--file={source}", "--command", afterwards)


def filled(statement: str, values: Mapping[str, str]) -> str:
    """Returns a statement with texts in place of its ``:names``, quoted."""
    # Here, so that a server on SQLite is not 9 MiB larger for it.
    from psycopg import sql

    return re.sub(r":(\w+)", lambda found: sql.Literal(values[found[1]]).as_string(), statement)


def _run(program: str, url: str, *words: str) -> None:
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is not installed: install the client programs of PostgreSQL.")
    parts = make_url(url)
    environment = {**os.environ, "PGAPPNAME": "catalog-server"}
    if parts.password is not None:
        environment["PGPASSWORD"] = str(parts.password)
    # Not of SQLAlchemy's: the driver, and the password.
    shown = parts.set(drivername="postgresql", password=None).render_as_string().replace(":***@", "@")
    done = subprocess.run(
        [path, "--dbname", shown, *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise Unavailable(f"{program} failed: {reason}")
