# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of a catalog id its retention keeps. Pure.

A version that the rule does not keep is still kept while something holds it: a tag, another version that refers to it,
a transfer. What then is left is over, and a clean-up deletes it.
"""

from __future__ import annotations

import datetime
import fnmatch
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

# Why a version is kept that the rule does not keep.
TAGGED = "tagged"
IN_USE = "in_use"
REQUIRED = "required"
HELD = (TAGGED, IN_USE, REQUIRED)


@dataclass(frozen=True)
class Rule:
    """What to keep of each architecture: the newest versions, by number, and those that are younger than so many days.

    Without both, everything. A version whose tags all match a pattern of ``expire_tags`` is not held by them.
    """

    keep_versions: int | None
    keep_days: int | None
    expire_tags: tuple[str, ...]

    @classmethod
    def of(cls, data: Mapping[str, t.Any]) -> Rule:
        """The rule that a catalog id has."""
        return cls(data.get("keep_versions"), data.get("keep_days"), tuple(data.get("expire_tags") or ()))

    @property
    def keeps_everything(self) -> bool:
        return self.keep_versions is None and self.keep_days is None

    def is_held_by(self, tag: str) -> bool:
        """Returns True if a version with this tag is kept."""
        return not any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.expire_tags)


@dataclass(frozen=True)
class Version:
    """One version for one architecture, as far as a rule looks at it."""

    id: str
    version: str
    architecture: str
    pushed_at: datetime.datetime
    # Neither tainted nor revoked.
    is_pullable: bool
    tags: tuple[str, ...] = ()
    superseded_by: str | None = None


@dataclass(frozen=True)
class Decision:
    """What is over, the oldest push first, and why some of what the rule does not keep is kept."""

    over: tuple[Version, ...]
    held: Mapping[str, str]


def decide(
    rule: Rule,
    newest_first: Sequence[Version],
    in_use: Collection[str],
    required: Collection[str],
    now: datetime.datetime,
) -> Decision:
    """Returns what is over of the versions of a catalog id, which come in the order of their pushes, the newest first.

    ``in_use`` and ``required`` are ids: of what a transfer reads or replaces, and of what other catalog ids refer to.
    """
    kept: set[str] = set()
    held: dict[str, str] = {}
    for architecture in sorted({one.architecture for one in newest_first}):
        kept |= _kept_by_rule(rule, [one for one in newest_first if one.architecture == architecture], now)
    for one in newest_first:
        if one.id in kept:
            continue
        if any(rule.is_held_by(tag) for tag in one.tags):
            held[one.id] = TAGGED
        elif one.id in in_use:
            held[one.id] = IN_USE
        elif one.id in required:
            held[one.id] = REQUIRED
    for successor in _successors(newest_first, kept | held.keys()):
        held[successor] = REQUIRED
    over = [one for one in newest_first if one.id not in kept and one.id not in held]
    return Decision(tuple(reversed(over)), held)


def _kept_by_rule(rule: Rule, newest_first: Iterable[Version], now: datetime.datetime) -> set[str]:
    """By number, those count that may be pulled; what is newer than the last of them is kept, too."""
    kept = set()
    number = 0
    for one in newest_first:
        by_number = rule.keep_versions is not None and number < rule.keep_versions
        by_age = rule.keep_days is not None and one.pushed_at > now - datetime.timedelta(days=rule.keep_days)
        if by_number or by_age or rule.keeps_everything:
            kept.add(one.id)
        number += one.is_pullable
    return kept


def _successors(versions: Iterable[Version], kept: Collection[str]) -> set[str]:
    """What kept versions say is to be used in their place, and what that says, and so on."""
    ids = {(one.version, one.architecture): one.id for one in versions}
    after = {
        one.id: ids[one.superseded_by, one.architecture]
        for one in versions
        if one.superseded_by is not None and (one.superseded_by, one.architecture) in ids
    }
    found: set[str] = set()
    for start in kept:
        current = after.get(start)
        while current is not None and current not in kept and current not in found:
            found.add(current)
            current = after.get(current)
    return found
