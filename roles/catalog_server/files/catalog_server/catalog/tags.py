# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tag ``latest`` follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import LATEST, normalise_tag
from ansible_collections.macfleet.parallels.plugins.module_utils._api.versions import latest_moves

from catalog_server.errors import BadRequest
from catalog_server.names import MAX_TAGS


def latest_of(pushed: Iterable[str]) -> str | None:
    """The version that ``latest`` names after these were pushed, in this order."""
    latest: str | None = None
    for version in pushed:
        if latest_moves(latest, version):
            latest = version
    return latest


def wanted_tags(texts: Sequence[str], there: Iterable[str] = ()) -> frozenset[str]:
    """The tags that a user asks for; ``latest`` stays where it is, whether it is named or not.

    :raises BadRequest: it is asked for where it is not
    """
    tags = {normalise_tag(text) for text in texts}
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"A version has at most {MAX_TAGS} tags.")
    kept = {LATEST} & set(there)
    if LATEST in tags and not kept:
        raise BadRequest(f"The tag {LATEST!r} follows the newest push by itself and cannot be set.")
    return frozenset(tags | kept)
