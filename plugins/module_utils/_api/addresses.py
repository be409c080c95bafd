# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Catalog ids, versions, architectures, tags and ranges: how they are written, compared and chosen.

Pure. Modules and the metadata server use this very file, so both understand the same address.

* A **version** is any short name. Those of the shape ``[v]1.4.2[-rc.1]`` are ordered: numbers by value, missing ones
  count as zero, a pre-release before its release as SemVer orders them. All others match literally only.
* A **range** is a list of conditions between commas: ``1.4.*``, ``*``, or one of ``>= > <= < == !=`` before an
  ordered version. None of its special characters may stand in a version or a tag, so a text is one or the other.
* A pre-release takes part in a range only if the range names a pre-release of the same numbers: ``>=1.4-rc.1,<2``
  takes ``1.4-rc.2`` and ``1.5``, but neither ``1.5-beta`` nor ``2.0-beta``.
"""

from __future__ import annotations

import functools
import re
import typing as t
import unicodedata
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, InvalidAddress, Missing

LATEST = "latest"
MAX_CATALOG_ID_LENGTH = 150
MAX_NAME_LENGTH = 100

# The characters that a stock server rewrites in ids and refuses in versions.
_SPECIAL = " ,:;()[]{}'\"/\\|<>=+*&^%$#@!`~?"
_SPECIAL_TO_UNDERSCORE = {ord(character): "_" for character in _SPECIAL}

_ARCHITECTURES = {
    "arm64": "arm64",
    "aarch64": "arm64",
    "arm": "arm64",
    "x86_64": "x86_64",
    "x86-64": "x86_64",
    "amd64": "x86_64",
    "x64": "x86_64",
}
ARCHITECTURES = ("arm64", "x86_64")

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_VERSION = re.compile(
    r"v?(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?:-(?P<prerelease>[0-9a-z-]+(?:\.[0-9a-z-]+)*))?\Z", re.IGNORECASE
)
_WILDCARD = re.compile(r"v?(?P<numbers>[0-9]+(?:\.[0-9]+)*)\.\*\Z", re.IGNORECASE)
_CONDITION = re.compile(r"(?P<operator>>=|<=|==|!=|>|<)(?P<version>.*)\Z")
_RANGE_CHARACTERS = frozenset("*<>=!,")


def _checked(text: str, what: str, longest: int) -> str:
    """``text`` in NFC and lower case, or InvalidAddress."""
    if not isinstance(text, str):
        raise InvalidAddress(f"{text!r} is not a valid {what}: it is not a text.", "Put it between quotation marks.")
    text = unicodedata.normalize("NFC", text.strip("\t\r\n").lower())
    if not text or text in {".", ".."}:
        raise InvalidAddress(f"{text!r} is not a valid {what}.")
    if len(text) > longest:
        raise InvalidAddress(f"{text[:40] + '…'!r} is not a valid {what}: it has more than {longest} characters.")
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise InvalidAddress(f"{text!r} is not a valid {what}: it contains control characters.")
    return text


def normalise_catalog_id(text: str) -> str:
    """The one way to write a catalog id: lower case, special characters as ``_``, as a stock server does it."""
    return _checked(text, "catalog id", MAX_CATALOG_ID_LENGTH).translate(_SPECIAL_TO_UNDERSCORE)


def normalise_version(text: str) -> str:
    """The one way to write a version: lower case; special characters are refused, as a stock server does it."""
    version = _checked(text, "version", MAX_NAME_LENGTH)
    for character in version:
        if character in _SPECIAL:
            raise InvalidAddress(
                f"{version!r} is not a valid version: the character {character!r} is not allowed in one.",
                "Use letters, digits, '.', '_' and '-'.",
            )
    return version


def normalise_architecture(text: str) -> str:
    """``arm64`` or ``x86_64`` for any of their names."""
    if isinstance(text, str) and text.strip().lower() in _ARCHITECTURES:
        return _ARCHITECTURES[text.strip().lower()]
    raise InvalidAddress(f"{text!r} is not a valid architecture.", "Use arm64 or x86_64.")


def normalise_tag(text: str) -> str:
    """The one way to write a tag: lower-case letters, digits, ``.``, ``_`` and ``-``, a letter or digit first."""
    tag = _checked(text, "tag", MAX_NAME_LENGTH)
    if not _TAG.match(tag):
        raise InvalidAddress(
            f"{tag!r} is not a valid tag.", "Use letters, digits, '.', '_' and '-', and begin with a letter or a digit."
        )
    return tag


def normalise_right(text: str) -> str:
    """The one way to write the name of a role or claim: in capitals, special characters as ``_``."""
    right = text.strip().translate(_SPECIAL_TO_UNDERSCORE).upper() if isinstance(text, str) else ""
    if not right.isprintable() or not 1 <= len(right) <= MAX_NAME_LENGTH:
        raise InvalidAddress(f"{str(text)[:MAX_NAME_LENGTH]!r} is not a valid name of a role or claim.")
    return right


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
    """SemVer 11.4: numeric identifiers by value and before all others, the others by their characters."""
    if text.isdigit():
        return 0, int(text), ""
    return 1, 0, text.lower()


def parse_version(text: str) -> t.Optional[OrderedVersion]:
    """The version as something that can be compared, or None if it is one that matches literally only."""
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
    """What a caller may ask for: a range, or the name of a version or tag; nothing means ``latest``."""
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


class Candidate(t.Protocol):
    """What ``choose`` must know of a manifest."""

    @property
    def version(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def tags(self) -> t.Sequence[str]: ...

    @property
    def tainted(self) -> bool: ...

    @property
    def revoked(self) -> bool: ...


C = t.TypeVar("C", bound=Candidate)


def _order(candidate: Candidate) -> t.Tuple[bool, OrderedVersion, str]:
    version = parse_version(candidate.version)
    return version is not None, version or OrderedVersion(()), candidate.version


def _unknown(catalog_id: str, wanted: str, architecture: t.Optional[str]) -> Missing:
    where = f" for {architecture}" if architecture else ""
    return Missing(
        f"There is no version {wanted!r} of catalog id {catalog_id!r}{where}, or you may not see it.",
        "Check the spelling, and the roles and claims of the user.",
        code="unknown_manifest",
    )


def check_pullable(candidate: Candidate, catalog_id: str, wanted: t.Optional[str] = None) -> None:
    """Raise Blocked if the manifest is tainted or revoked."""
    if not candidate.tainted and not candidate.revoked:
        return
    # What is both can be untainted by nobody.
    word = "revoked" if candidate.revoked else "tainted"
    asked = f", which {wanted!r} names," if wanted and wanted != candidate.version else ""
    raise Blocked(
        f"Version {candidate.version!r} of catalog id {catalog_id!r} for {candidate.architecture}{asked} "
        f"is {word} and must not be pulled.",
        "Choose another version, or ask for the taint to be removed. version: '*' selects the newest one that may be "
        "pulled."
        if word == "tainted"
        else "Choose another version. version: '*' is the newest that may be pulled.",
        code=word,
    )


def _find(candidates: t.Iterable[C], wanted: t.Union[str, Range]) -> t.Optional[C]:
    """The best match, tainted and revoked ones included if they were asked for by name."""
    candidates = list(candidates)
    if isinstance(wanted, Range):
        matches = [
            candidate
            for candidate in candidates
            if not candidate.tainted and not candidate.revoked and wanted.admits(candidate.version)
        ]
    else:
        matches = [candidate for candidate in candidates if candidate.version.lower() == wanted] or [
            candidate for candidate in candidates if wanted in {tag.lower() for tag in candidate.tags}
        ]
    return max(matches, key=_order, default=None)


def choose(
    candidates: t.Iterable[C], wanted: t.Optional[str], *, catalog_id: str, architecture: t.Optional[str] = None
) -> C:
    """The manifest that ``wanted`` means, among those of one catalog id and architecture that the caller may see.

    A version of that very name goes before a tag. A range takes the highest version that may be pulled; a name of a
    version that may not be pulled is an error, never a reason to take another one.

    :raises Missing: nothing matches
    :raises Blocked: what matches is tainted or revoked
    """
    found = _find(candidates, parse_wanted(wanted))
    if found is None:
        raise _unknown(catalog_id, wanted or LATEST, architecture)
    check_pullable(found, catalog_id, wanted or LATEST)
    return found


def choose_each(
    candidates: t.Iterable[C], wanted: t.Optional[str], *, catalog_id: str
) -> t.Tuple[t.List[C], t.List[C]]:
    """Like ``choose``, once for each architecture that has a match, in the order of their names: pullable, and blocked.

    Blocked ones alone are the error that they are for ``choose``.
    """
    parsed = parse_wanted(wanted)
    by_architecture: t.Dict[str, t.List[C]] = {}
    for candidate in candidates:
        by_architecture.setdefault(candidate.architecture, []).append(candidate)
    found = [_find(by_architecture[architecture], parsed) for architecture in sorted(by_architecture)]
    matches = [match for match in found if match is not None]
    if not matches:
        raise _unknown(catalog_id, wanted or LATEST, None)
    pullable = [match for match in matches if not match.tainted and not match.revoked]
    if not pullable:
        check_pullable(matches[0], catalog_id, wanted or LATEST)
    return pullable, [match for match in matches if match.tainted or match.revoked]
