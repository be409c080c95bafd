# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""If the servers of one catalog share their secrets.

What one of them signs, the others must be able to check. So each notes in the database which key it signs with, and a
server that does not have the key that was noted last does not start, or is not ready.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from catalog_server.database import Database, Lock
from catalog_server.errors import Unavailable
from catalog_server.keys import KeyRing
from catalog_server.models.catalog import Catalog

_LOCK = Lock("signing key")


class SharedKeys:
    """The keys of this process, compared with those of the others."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys
        self._noted: str | None = None

    def check(self) -> None:
        """Check that this server has the key that was noted last; note its own if it is another one than before.

        :raises Unavailable: it does not have that key
        """
        signing = self._keys.signing.kid
        with self._database.reading() as session:
            before = require(session, self._keys)
        # Whoever goes on to sign with an older key must not take the note of a newer one back.
        if signing not in (before, self._noted):
            self._database.write(lambda session: self._note(session, signing), [_LOCK])
        self._noted = signing

    def _note(self, session: Session, signing: str) -> None:
        if require(session, self._keys) != signing:
            note(session, signing)


def require(session: Session, keys: KeyRing) -> str | None:
    """Return the id of the key that was noted last, None if none was.

    :raises Unavailable: it is not one of these keys
    """
    kid = session.scalars(select(Catalog.signing_key)).one_or_none()
    if kid is not None and keys.find(kid) is None:
        raise Unavailable(
            f"The servers of this catalog sign with the key {kid}, which this server does not have: give all of them "
            "the same file of secrets. If that key is lost for good, run catalog-server key adopt."
        )
    return kid


def note(session: Session, kid: str) -> None:
    """Note a key as the one that signs."""
    session.execute(update(Catalog).values(signing_key=kid).execution_options(synchronize_session=False))
