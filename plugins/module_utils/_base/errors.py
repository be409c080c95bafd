# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The base of every exception that this collection raises on purpose.

Each room derives its own tree from it in its ``errors.py``; ``_bridge/boundary.py`` turns
whatever derives from it into ``fail_json``.
"""

from __future__ import annotations

import typing as t


class CatalogError(Exception):
    """Something that a user can be told in one sentence.

    ``message`` says what was attempted, on what, and why it failed; ``hint`` says what to
    do about it; ``details`` holds JSON-able facts for machines, never a secret. ``code`` is
    the stable error word of the class. ``done`` tells, in one sentence each, what had been changed before the failure.
    """

    code: str = "internal_error"

    def __init__(
        self, message: str, hint: t.Optional[str] = None, details: t.Optional[t.Mapping[str, t.Any]] = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, t.Any] = dict(details or {})
        self.done: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class SystemFailure(CatalogError):
    """The operating system refused something that nobody expected it to."""

    code = "system_failure"


def from_system(error: OSError) -> SystemFailure:
    """Return the error that tells a user of an OSError. The rooms say more: what they tried, and on what."""
    where = f" on {error.filename}" if error.filename else ""
    return SystemFailure(
        f"The operating system refused something{where}: {error.strerror or error}.",
        "See the traceback (-vvv) for what it was.",
    )
