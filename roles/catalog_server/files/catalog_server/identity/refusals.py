# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins and API keys that were refused: why, from where and, if it is known, of whom.

The line of the request in the log says so of each. The audit log has, for one user, network and reason, at most one
entry a minute, and no more than ``MOST_A_MINUTE`` of known and of unknown ones: nobody can fill the table.

What was typed as a name is written nowhere unless it is the name of a user: people type their passwords there.
"""

from __future__ import annotations

import datetime

from catalog_server.audit.notes import Note
from catalog_server.behind import BehindWriter, Seldom
from catalog_server.errors import ServerError
from catalog_server.identity.login_limits import TOO_MANY
from catalog_server.networks import network_of

MOST_A_MINUTE = 200
_MINUTE = 60.0

LOGIN = "login"
API_KEY = "api_key"
# Why a login or an API key is refused
REASONS = frozenset(
    {
        "unknown_user",
        "wrong_password",
        "no_password",
        "disabled",
        "locked_out",
        TOO_MANY,
        "malformed_key",
        "unknown_key",
        "wrong_secret",
        "revoked_key",
        "expired_key",
    }
)
_USER = "user"


def why(reason: str, user_id: str | None = None, username: str | None = None) -> dict[str, str | None]:
    """Return the details of an error that refuses a login: the reason in one word, and whose it is if that is known.

    They are for the log: no client sees them.
    """
    return {"reason": reason, "user_id": user_id, "user": username}


class Refusals:
    """Notes refused logins in the audit log."""

    def __init__(self, notes: BehindWriter[Note]) -> None:
        self._notes = notes
        # Apart, so that whoever tries names that do not exist does not hide who tries those that do.
        self._known = Seldom(_MINUTE, MOST_A_MINUTE)
        self._unknown = Seldom(_MINUTE, MOST_A_MINUTE)

    def add(
        self, refused: ServerError, what: str, address: str, request_id: str | None, now: datetime.datetime
    ) -> None:
        """Note a refusal of ``what``, a login or an API key; never waits."""
        reason = str(refused.details.get("reason") or refused.code)
        user_id, username = refused.details.get("user_id"), refused.details.get("user")
        seldom = self._unknown if user_id is None else self._known
        if seldom.lets_through((reason, user_id, network_of(address)), now.timestamp()):
            details = {"reason": reason, "address": address, "user": username}
            note = Note(
                at=now,
                actor_id=None,
                actor="",
                credential=what,
                request_id=request_id,
                action="login.refuse",
                subject_kind=LOGIN if user_id is None else _USER,
                subject_id=user_id or "unknown",
                details=details,
            )
            self._notes.add(note)
