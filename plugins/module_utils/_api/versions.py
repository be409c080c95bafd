# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Versions and ranges of versions: how they are read and compared.

Pure. Modules and the metadata server use this file.

* A **version** is any short name. Those of the shape ``[v]1.4.2[-rc.1]`` are ordered: numbers by value, missing ones
  count as zero, a pre-release before its release as SemVer orders them. All others match literally only.
* A **range** is a list of conditions between commas: ``1.4.*``, ``*``, or one of ``>= > <= < == !=`` before an
  ordered version. Its special characters are not allowed in versions and tags, so no text can be both.
* A range includes a pre-release only if it names a pre-release of the same numbers: ``>=1.4-rc.1,<2`` includes
  ``1.4-rc.2`` and ``1.5``, but neither ``1.5-beta`` nor ``2.0-beta``.
"""

from __future__ import annotations

import functools
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import (
    LATEST,
    MAX_NAME_LENGTH,
    normalise_version,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import InvalidAddress

_VERSION = re.compile(
    r"v?(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?:-(?P<prerelease>[0-9a-z-]+(?:\.[0-9a-z-]+)*))?\Z", re.IGNORECASE
)
_WILDCARD = re.compile(r"v?(?P<numbers>[0-9]+(?:\.[0-9]+)*)\.\*\Z", re.IGNORECASE)
_CONDITION = re.compile(r"(?P<operator>>=|<=|==|!=|>|<)(?P<version>.*)\Z")
_RANGE_CHARACTERS = frozenset("*<>=!,")


_Identifier = t.Tuple[int, int, str]


@functools.total_ordering
@dataclass(frozen=True)
class OrderedVersion:
    """A version that can be compared: its numbers without zeros at the end, and its pre-release."""

    numbers: t.Tuple[int, ...]
    prerelease: t.Tuple[_Identifier, ...] = ()

    def _key(self) -> t.Tuple[t.Any, ...]:
        return self.numbers, not self.prerelease, self.prerelease

    def __lt__(self, other: OrderedVersion) -> bool:
        return self._key() < other._key()


def _numbers(text: str) -> t.Tuple[int, ...]:
    numbers = [int(number) for number in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _identifier(text: str) -> _Identifier:
    """Return what orders an identifier of a pre-release: numbers by value, then all others by their characters.

    See SemVer 2.0.0, section 11.4.
    """
    if text.isdigit():
        return 0, int(text), ""
    return 1, 0, text.lower()


def parse_version(text: str) -> t.Optional[OrderedVersion]:
    """Return a version that can be compared, or None for one that matches only literally."""
    found = _VERSION.match(text) if len(text) <= MAX_NAME_LENGTH else None
    if not found:
        return None
    prerelease = found.group("prerelease")
    return OrderedVersion(
        numbers=_numbers(found.group("numbers")),
        prerelease=tuple(_identifier(part) for part in prerelease.split(".")) if prerelease else (),
    )


@dataclass(frozen=True)
class _Condition:
    operator: str
    version: OrderedVersion

    def admits(self, version: OrderedVersion) -> bool:
        if self.operator == ">=":
            return version >= self.version
        if self.operator == ">":
            return version > self.version
        if self.operator == "<=":
            return version <= self.version
        if self.operator == "<":
            return version < self.version
        if self.operator == "==":
            return version == self.version
        return version != self.version


@dataclass(frozen=True)
class _Wildcard:
    # As written, with zeros: 1.0.* means 1.0.5 but not 1.1.
    numbers: t.Tuple[int, ...]

    def admits(self, version: OrderedVersion) -> bool:
        padded = version.numbers + (0,) * (len(self.numbers) - len(version.numbers))
        return padded[: len(self.numbers)] == self.numbers


@dataclass(frozen=True)
class Range:
    """A set of ordered versions; ``text`` is how the user wrote it."""

    text: str
    conditions: t.Tuple[t.Union[_Condition, _Wildcard], ...]

    def admits(self, version: t.Union[str, OrderedVersion, None]) -> bool:
        """Return True if ``version`` lies in the range; one that cannot be ordered never does."""
        if isinstance(version, str):
            version = parse_version(version)
        if version is None or not all(condition.admits(version) for condition in self.conditions):
            return False
        return not version.prerelease or any(
            isinstance(condition, _Condition)
            and condition.version.prerelease
            and condition.version.numbers == version.numbers
            for condition in self.conditions
        )


def is_range(text: str) -> bool:
    """Return True if ``text`` is meant as a range, rather than as a version or a tag."""
    return not _RANGE_CHARACTERS.isdisjoint(text)


def _parse_condition(text: str, whole: str) -> t.Union[_Condition, _Wildcard]:
    if text == "*":
        return _Wildcard(())
    wildcard = _WILDCARD.match(text)
    if wildcard:
        return _Wildcard(tuple(int(number) for number in wildcard.group("numbers").split(".")))
    found = _CONDITION.match(text)
    version = parse_version(found.group("version").strip()) if found else None
    if not found or version is None:
        raise InvalidAddress(
            f"{whole!r} is not a valid range: {text!r} is not a valid condition.",
            "Write for example '1.4.*' or '>=1.4,<2'.",
        )
    return _Condition(found.group("operator"), version)


def parse_range(text: str) -> Range:
    """Read a range such as ``1.4.*`` or ``>=1.4,<2``."""
    stripped = text.strip()
    if len(stripped) > MAX_NAME_LENGTH:
        raise InvalidAddress(
            f"{stripped[:40] + '…'!r} is not a valid range: it has more than {MAX_NAME_LENGTH} characters."
        )
    return Range(stripped, tuple(_parse_condition(part.strip(), stripped) for part in stripped.split(",")))


def parse_wanted(text: t.Optional[str]) -> t.Union[str, Range]:
    """Return what a caller asks for: a range, or the name of a version or tag; ``latest`` for nothing."""
    if text is None or not text.strip():
        return LATEST
    if is_range(text):
        return parse_range(text)
    return normalise_version(text.strip())


def latest_moves(current: t.Optional[str], pushed: str) -> bool:
    """Return True if the tag ``latest`` moves from the version ``current`` to the one that was just pushed."""
    if current is None:
        return True
    old, new = parse_version(current), parse_version(pushed)
    return old is None or new is None or new >= old
