# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which manifest a version, tag or range means, among those that the caller may see.

Pure. The metadata server resolves; a module does it for a server that cannot, with this same code.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import LATEST
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.hints import HINTS
from ansible_collections.macfleet.parallels.plugins.module_utils._api.versions import (
    OrderedVersion,
    Range,
    parse_version,
    parse_wanted,
)


class Version(t.Protocol):
    """What ``check_pullable`` must know of a manifest."""

    @property
    def version(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def tainted(self) -> bool: ...

    @property
    def revoked(self) -> bool: ...


class Candidate(Version, t.Protocol):
    """What ``choose`` must know of a manifest."""

    @property
    def tags(self) -> t.Sequence[str]: ...


C = t.TypeVar("C", bound=Candidate)


def _order(candidate: Candidate) -> t.Tuple[bool, OrderedVersion, str]:
    version = parse_version(candidate.version)
    return version is not None, version or OrderedVersion(()), candidate.version


def _unknown(catalog_id: str, wanted: str, architecture: t.Optional[str]) -> Missing:
    where = f" for {architecture}" if architecture else ""
    return Missing(
        f"There is no version {wanted!r} of catalog id {catalog_id!r}{where}, or you may not see it.",
        HINTS["unknown_manifest"],
        code="unknown_manifest",
    )


def check_pullable(candidate: Version, catalog_id: str, wanted: t.Optional[str] = None) -> None:
    """Raise Blocked if the manifest is tainted or revoked."""
    if not candidate.tainted and not candidate.revoked:
        return
    # Of a manifest that is both, removing the taint would not help.
    word = "revoked" if candidate.revoked else "tainted"
    asked = f", which {wanted!r} names," if wanted and wanted != candidate.version else ""
    raise Blocked(
        f"Version {candidate.version!r} of catalog id {catalog_id!r} for {candidate.architecture}{asked} "
        f"is {word} and must not be pulled.",
        HINTS[word],
        code=word,
    )


def _find(candidates: t.Iterable[C], wanted: t.Union[str, Range]) -> t.Optional[C]:
    """Return the best match. By name it may be tainted or revoked, by range it may not."""
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
    """Return the manifest that ``wanted`` means. ``candidates`` are of one catalog id and visible to the caller.

    A version of that name goes before a tag of that name. A range means the highest version that may be pulled. A name
    means one version: if that must not be pulled, no other is taken.

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
    """Return what ``choose`` means for each architecture, in their order: manifests to pull, and blocked ones.

    :raises Missing: nothing matches
    :raises Blocked: everything that matches is tainted or revoked
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
