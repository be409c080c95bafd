# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Typed fields out of what the metadata server sent as JSON.

Readers are tolerant: they ignore unknown fields and fill in missing ones, except for those that identify the thing.
What a host uses as part of a path is checked, whoever sent it.
"""

from __future__ import annotations

import datetime
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply

_HEX_64 = re.compile(r"[0-9a-f]{64}\Z")
# What a float can hold, and the columns of a database.
_LARGEST_NUMBER = (1 << 63) - 1


class JsonReader:
    """Reads typed fields of a JSON object; ``what`` names the object in errors.

    Each reader raises BadReply if the field is not valid, or is missing and has no default.
    """

    def __init__(self, data: t.Any, what: str) -> None:
        if not isinstance(data, t.Mapping):
            raise BadReply(f"The server sent a {what} that is not a JSON object.")
        self._data = data
        self._what = what

    def wrong(self, name: str) -> BadReply:
        """Return the error for a field that is missing or not valid."""
        return BadReply(f"The server sent a {self._what} whose field {name!r} is missing or not valid.")

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        value = self._data.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not _is_encodable(value):
            raise self.wrong(name)
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None if there is none."""
        return None if self._data.get(name) is None else self.text(name)

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number from 0 to 2**63 - 1."""
        value = self._data.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
            raise self.wrong(name)
        return value

    def truth(self, name: str) -> bool:
        """Return True or False; False if it is missing."""
        value = self._data.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; an empty one if it is missing."""
        values = self.list(name)
        if not all(isinstance(value, str) and _is_encodable(value) for value in values):
            raise self.wrong(name)
        return tuple(values)

    def list(self, name: str) -> t.Sequence[t.Any]:
        """Return a list; an empty one if it is missing."""
        value = self._data.get(name)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            raise self.wrong(name)
        return value

    def timestamp(self, name: str) -> float:
        """Return seconds since 1970; they are sent as a number or as RFC 3339."""
        value = self._data.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not abs(value) <= _LARGEST_NUMBER:
                raise self.wrong(name)
            return float(value)
        try:
            # fromisoformat() of Python 3.9 reads an offset, but not Z.
            found = datetime.datetime.fromisoformat(re.sub(r"[zZ]\Z", "+00:00", self.text(name)))
        except ValueError:
            raise self.wrong(name) from None
        if found.tzinfo is None:
            raise self.wrong(name)
        return found.timestamp()

    def digest(self, name: str) -> str:
        """Return a SHA-256 in hexadecimal."""
        value = self.text(name)
        if not _HEX_64.match(value):
            raise self.wrong(name)
        return value

    def object(self, name: str) -> t.Any:
        """Return a field as it came, or None."""
        return self._data.get(name)


def _is_encodable(text: str) -> bool:
    """Return True unless ``text`` contains half a character, as JSON can (``"\\ud800"``) and no file name."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
