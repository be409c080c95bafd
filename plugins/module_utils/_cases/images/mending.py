# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Putting an entry of the cache right that needs no download: strays, links, directories and permissions."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import Untidy, listed_directories
from ansible_collections.macfleet.parallels.plugins.module_utils._host import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import (
    TreeStamps,
    stamps_of,
    written_since,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, LINK, Listing


def mend(entry: CacheEntry, untidy: Untidy, cache: Cache, *, verified: bool) -> CacheEntry:
    """Put an entry right without a download, under its exclusive lock; its files have been proved.

    A file that somebody has written to since then stays without a stamp, so it is read before the next use.

    :raises CacheError: something cannot be removed or made
    """
    listed = {item.path: item for item in untidy.listing.entries}
    with translated(CacheError, f"Repairing {entry.bundle_path}"):
        for path in untidy.strays:
            _clear(os.path.join(entry.bundle_path, path))
        for path in untidy.mends:
            item, target = listed[path], os.path.join(entry.bundle_path, path)
            if item.kind == DIRECTORY:
                _clear(target)
                os.makedirs(target, 0o755)
            elif item.kind == LINK:
                _clear(target)
                os.symlink(item.target, target)
            else:
                os.chmod(target, 0o755 if item.executable else 0o644)
        present = stamps_of(entry.bundle_path, trees.seal(entry.bundle_path)).only(listed)
    files = TreeStamps(untidy.stamps.files)
    written = written_since(files, present.only(files.paths)).changed
    verified_at = utc_text(time.time()) if verified and not written else entry.record.verified_at
    return cache.set_verified(entry.digest, verified_at, _stamps_of_listed(untidy.listing, present, written))


def _stamps_of_listed(listing: Listing, present: TreeStamps, written: t.Collection[str]) -> TreeStamps:
    """Return the stamps of files that were not ``written`` to; links and directories are as the listing wants them."""
    return TreeStamps(
        {path: stamp for path, stamp in present.files.items() if path not in written},
        {item.path: item.target for item in listing.entries if item.kind == LINK},
        listed_directories(listing),
    )


def _clear(path: str) -> None:
    """Remove what lies in the way, whatever it is.

    :raises CacheError: it cannot be removed
    """
    for left in trees.remove(path):
        raise CacheError(f"Removing {left.path} failed: {left.reason}.")
