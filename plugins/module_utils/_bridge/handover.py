# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the action plugin found out on the controller, as a managed host receives it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._api.hints import HINTS
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest, manifests_from_json
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Params


class NoHandover(CatalogError):
    """The module runs without its action plugin."""

    code = "no_handover"


@dataclass(frozen=True)
class Handover:
    """What the controller found out for this host.

    The grant is good for ``lifetime_seconds`` from the start of the module on. ``blocked`` is why the version must not
    be pulled.
    """

    url: str
    grant: str = field(repr=False)
    lifetime_seconds: float
    manifests: tuple[Manifest, ...]
    bases: tuple[Manifest, ...]
    blocked: t.Optional[Blocked]


def handover(params: Params) -> Handover:
    """Return the handover among a module's options.

    :raises NoHandover: there is none
    """
    given = params.get("handover") or {}
    if not given.get("url") or not (given.get("grant") or given.get("blocked")):
        raise NoHandover(
            "This module cannot do its work without what its action plugin finds out on the controller.",
            "Run it as macfleet.parallels.… in a play, without setting handover.",
        )
    return Handover(
        url=given["url"],
        grant=given.get("grant") or "",
        lifetime_seconds=float(given.get("lifetime_seconds") or 0),
        manifests=manifests_from_json(given.get("manifests") or []),
        bases=manifests_from_json(given.get("bases") or []),
        blocked=_blocked(given),
    )


def _blocked(given: t.Mapping[str, t.Any]) -> t.Optional[Blocked]:
    word = given.get("blocked")
    if not word:
        return None
    return Blocked(given.get("blocked_message") or f"The version is {word}.", HINTS[word], code=word)


def progress_path(params: Params) -> t.Optional[str]:
    """Return where a module that goes to the background writes how far it has come; None if it may not go there."""
    path = (params.get("handover") or {}).get("progress_path")
    return str(path) if path else None
