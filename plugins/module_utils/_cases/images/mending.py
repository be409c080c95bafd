# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Entries of the cache that are not as they should be: put right without a download, or taken out of use."""

from __future__ import annotations

import os
import stat
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import sentences as tell
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
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
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, LINK, Entry, Listing


def mend(entry: CacheEntry, untidy: Untidy, name: str, cache: Cache, context: Context, *, verified: bool) -> CacheEntry:
    """Put the entry of the image ``name`` right without a download, under its exclusive lock.

    Its files have been proved. Strays are removed; links, directories and permissions become those of the listing. A
    file that somebody has written to since then stays without a stamp, so it is read before the next use.

    :raises CacheError: something cannot be removed or made
    """
    listed = {item.path: item for item in untidy.listing.entries}

    def did() -> None:
        context.done.add_once(tell.begin_repair(name, cache.path))

    with translated(CacheError, f"Repairing {entry.bundle_path}"):
        for path in untidy.strays:
            _clear(os.path.join(entry.bundle_path, path), did)
        for path in untidy.mends:
            _put_right(os.path.join(entry.bundle_path, path), listed[path], did)
        present = stamps_of(entry.bundle_path, trees.seal(entry.bundle_path)).only(listed)
    files = TreeStamps(untidy.stamps.files)
    written = written_since(files, present.only(files.paths)).changed
    verified_at = utc_text(time.time()) if verified and not written else entry.record.verified_at
    mended = cache.set_verified(entry.digest, verified_at, _stamps_of_listed(untidy.listing, present, written))
    context.done.add(tell.repair(name, cache.path))
    return mended


def withdraw(digest: str, name: str, cache: Cache, context: Context) -> None:
    """Take the entry of the image ``name`` out of use; what is sound in it is reused by the next pull.

    :raises CacheError: it cannot be moved
    """
    if cache.discard_partial(digest):
        context.done.add(tell.discard_partial(name, cache.path))
    cache.demote(digest)
    context.done.add(tell.withdraw(name, cache.path))


def _put_right(target: str, item: Entry, did: t.Callable[[], None]) -> None:
    if item.kind == DIRECTORY:
        _clear(target, did)
        os.makedirs(target, 0o755)
    elif item.kind == LINK:
        _clear(target, did)
        os.symlink(item.target, target)
    else:
        os.chmod(target, 0o755 if item.executable else 0o644)
    did()


def _stamps_of_listed(listing: Listing, present: TreeStamps, written: t.Collection[str]) -> TreeStamps:
    """Return the stamps of files that were not ``written`` to; links and directories are as the listing wants them."""
    return TreeStamps(
        {path: stamp for path, stamp in present.files.items() if path not in written},
        {item.path: item.target for item in listing.entries if item.kind == LINK},
        listed_directories(listing),
    )


def _clear(path: str, did: t.Callable[[], None]) -> None:
    """Remove what lies in the way, whatever it is. ``did`` is called if something was removed.

    :raises CacheError: it cannot be removed
    """
    was_there = lies_at(path)
    left = trees.remove(path)
    # Of a directory, something else may be gone.
    if was_there and (not left or stat.S_ISDIR(os.lstat(path).st_mode)):
        did()
    if left:
        raise CacheError(f"Removing {left[0].path} failed: {left[0].reason}.")
