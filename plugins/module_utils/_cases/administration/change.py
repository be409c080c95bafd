# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""One change of one object of the server: what differs, and how it is shown."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json, NewNames


@dataclass(frozen=True)
class Change:
    """An object before and after; None means that it is not there. ``edits`` are the fields to send."""

    what: str
    before: t.Optional[Json]
    after: t.Optional[Json]
    # A password is sent and never shown.
    edits: t.Mapping[str, t.Any] = field(default_factory=dict, repr=False)

    @property
    def changed(self) -> bool:
        """Return True if anything has to happen."""
        return bool(self.edits) or (self.before is None) is not (self.after is None)

    def diff(self) -> Json:
        """Return the difference for Ansible's diff mode."""
        return {
            "before_header": self.what,
            "after_header": self.what,
            "before": self.before or {},
            "after": self.after or {},
        }


def differing(before: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> Json:
    """Return what of ``wanted`` is not so in ``before``."""
    return {name: value for name, value in wanted.items() if before.get(name) != value}


def rights(names: t.Optional[t.Sequence[str]]) -> t.Optional[t.List[str]]:
    """Return names of roles or claims as the server lists them, each once; None for None.

    :raises InvalidAddress: one of them is not a valid name
    """
    return None if names is None else sorted({addresses.normalise_right(name) for name in names})


def given(**fields: t.Any) -> Json:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def result(change: Change, name: str, record: t.Optional[Json], created: NewNames, *, diff: bool) -> Json:
    """Return the result of a module whose record is called ``name``."""
    found: Json = {"changed": change.changed, name: record, "created": created.to_json()}
    warning = created.warning(str((record or {}).get("name")) if name == "role" else "")
    if warning:
        found["warnings"] = [warning]
    if diff:
        found["diff"] = [change.diff()] if change.changed else []
    return found
