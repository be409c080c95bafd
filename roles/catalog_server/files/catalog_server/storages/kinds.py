# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of storages: what makes the provider of each. Another kind is another file, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from catalog_server.errors import Unavailable
from catalog_server.keys import KeyRing
from catalog_server.settings import Settings
from catalog_server.storages import embedded
from catalog_server.storages.base import Place, Provider

KINDS: Mapping[str, Callable[[Place, Settings, KeyRing], Provider]] = {embedded.KIND: embedded.make}


def provider_of(place: Place, settings: Settings, keys: KeyRing) -> Provider:
    """Returns the provider of a storage.

    :raises Unavailable: it is of a kind that this release does not know
    """
    make = KINDS.get(place.kind)
    if make is None:
        raise Unavailable(
            f"The storage {place.name!r} is of the kind {place.kind!r}, which this release does not know."
        )
    return make(place, settings, keys)
