# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the metadata server answers when it has saved something of its own: the record, and the names that are new."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader

Json = t.Dict[str, t.Any]


@dataclass(frozen=True)
class NewNames:
    """Roles and claims that nobody had used before; one that was meant to be another one shows here."""

    roles: t.Tuple[str, ...] = ()
    claims: t.Tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: t.Any) -> NewNames:
        """Read the field ``created`` of an answer; nothing if there is none."""
        reader = JsonReader(data or {}, "list of new names")
        return cls(reader.texts("roles"), reader.texts("claims"))

    def to_json(self) -> Json:
        """Return the same as JSON."""
        return {"roles": list(self.roles), "claims": list(self.claims)}

    def warning(self, wanted: str) -> t.Optional[str]:
        """Return what a user should know who misspelt a name; ``wanted`` is the role that the task is about, if any."""
        names = [f"role {name!r}" for name in self.roles if name != wanted]
        names += [f"claim {name!r}" for name in self.claims]
        if not names:
            return None
        return f"New to the catalog, so check the spelling: {', '.join(names)}."
