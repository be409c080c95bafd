# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the cache holds of an image, as it is now: looked at, never changed.

What a decision rests on is observed under the lock, or compared under the lock. A pull observes an image, plans and
works while it holds the lock of the image; what was hashed without it is used only if nothing has changed since.
"""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import (
    Cache,
    difference,
    require_unwritten,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry, Partial, Place
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import (
    Difference,
    TreeStamps,
    compare,
    read_stamps,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import PackError, UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    DIRECTORY,
    FILE,
    LINK,
    Entry,
    Listing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing

_CHUNK_ID_BYTES = 32


@dataclass(frozen=True)
class ImageKey:
    """Which image is meant: the address of its manifest, and its digest, which is None until it is known."""

    address: CachedAddress
    digest: t.Optional[str] = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self.address.catalog_id} {self.address.version}"


@dataclass(frozen=True)
class Seen:
    """What the cache holds of an image: an entry, how it differs from what was proved, and a partial image."""

    entry: t.Optional[CacheEntry] = None
    difference: Difference = field(default_factory=lambda: Difference(frozenset(), ()))
    partial: t.Optional[Partial] = None

    @property
    def is_trusted(self) -> bool:
        """True if nobody can have changed the entry since its content was proved."""
        return self.entry is not None and not self.difference


@dataclass(frozen=True)
class Hashed:
    """The chunk ids of the files of a place by path, and the stamps that these had before they were read."""

    stamps: TreeStamps
    chunk_ids: t.Mapping[str, bytes]


@dataclass(frozen=True)
class Sound:
    """An entry whose content is right.

    ``stamps`` were taken before it was read, and are None if it was trusted without that; ``whole`` says that every
    file was read.
    """

    stamps: t.Optional[TreeStamps] = None
    whole: bool = False


@dataclass(frozen=True)
class Untidy:
    """An entry whose files are right, with strays in it, or links, directories or permissions to be put right.

    ``stamps`` are those of the listed paths, taken before the files were read.
    """

    listing: Listing
    strays: tuple[str, ...]
    mends: tuple[str, ...]
    stamps: TreeStamps


@dataclass(frozen=True)
class Damaged:
    """An entry with files that do not have the content of its listing. Without a listing all of it is damaged."""

    paths: tuple[str, ...]
    hashed: t.Optional[Hashed] = None


Condition = t.Union[Sound, Untidy, Damaged]


def observe(cache: Cache, digest: str) -> Seen:
    """Return what the cache holds of an image.

    :raises CacheError: it cannot be read now
    """
    entry = cache.find(digest)
    if entry is None:
        return Seen(partial=cache.find_partial(digest))
    return Seen(entry, difference(entry))


def examine(entry: CacheEntry, context: Context, *, everything: bool, known: t.Optional[Hashed] = None) -> Condition:
    """Return the condition of an entry: read what may have changed, or ``everything``.

    What is ``known`` is not hashed again if nothing has changed since.

    :raises CacheError: it cannot be read now
    :raises UnsupportedFormat: a later version wrote the listing
    """
    stamps = read_recorded(entry)
    if not everything and not compare(entry.record.stamps, stamps):
        return Sound()
    listing = read_listing(entry)
    if listing is None:
        return Damaged(("listing",))
    if not listed_directories(listing) <= entry.record.stamps.directories:
        stamps = read_stamps(entry.bundle_path, listed_directories(listing))
    suspects = {file.path for file in listing.files() if everything or not _is_proved(file.path, entry, stamps)}
    if known is None or known.stamps != stamps:
        files = [file for file in listing.files() if file.path in suspects]
        known = Hashed(stamps, hash_place(entry, files, listing, context))
    damaged, mends = [], []
    for item in listing.entries:
        if item.kind == FILE and item.path in suspects and not has_content(item, listing, known):
            damaged.append(item.path)
        elif not is_as_listed(entry, item):
            mends.append(item.path)
    if damaged:
        return Damaged(tuple(damaged), known)
    listed = {item.path for item in listing.entries}
    proved = stamps.only(listed)
    strays = compare(proved, stamps).strays
    if strays or mends:
        return Untidy(listing, strays, tuple(mends), proved)
    return Sound(proved, whole=everything)


def _is_proved(path: str, entry: CacheEntry, stamps: TreeStamps) -> bool:
    """Return True if a file is stamped, and as it was when it was. One that was never stamped is not proved."""
    stamp = stamps.files.get(path)
    return stamp is not None and entry.record.stamps.files.get(path) == stamp


def read_recorded(entry: CacheEntry) -> TreeStamps:
    """Return the present stamps of an entry, as far as its record knows the directories.

    :raises CacheError: it cannot be read
    """
    return read_stamps(entry.bundle_path, entry.record.stamps.directories)


def listed_directories(listing: Listing) -> frozenset[str]:
    """Return the paths of all directories of a listing."""
    return frozenset(item.path for item in listing.entries if item.kind == DIRECTORY)


def proved_files(entry: CacheEntry) -> frozenset[str]:
    """Return the paths of the files of an entry that nobody can have written to since their content was proved.

    :raises CacheError: it cannot be read
    """
    stamps = read_recorded(entry)
    return frozenset(path for path in stamps.files if _is_proved(path, entry, stamps))


def require_unchanged(entry: CacheEntry) -> None:
    """Check, after an entry was copied, that nobody has written to it since its content was proved.

    :raises CacheChanged: somebody has
    """
    require_unwritten(entry, difference(entry))


def hash_place(place: Place, files: t.Sequence[Entry], listing: Listing, context: Context) -> t.Mapping[str, bytes]:
    """Return the chunk ids of files of a place by path, with progress. What stamps them is taken before.

    :raises CacheError: they cannot be read
    """
    context.progress.start("verify", sum(file.size for file in files))
    with translated(CacheError, f"Reading {place.bundle_path}"):
        return verify.hash_files(place.bundle_path, files, listing.chunk_size, advance=context.progress.advance)


def read_listing(entry: CacheEntry) -> t.Optional[Listing]:
    """Return the listing of an entry, None if there is none, or not the one that the digest names.

    :raises UnsupportedFormat: a later version of this collection wrote it
    :raises CacheError: it cannot be read now
    """
    with translated(CacheError, f"Reading {entry.listing_path}"):
        try:
            with open(entry.listing_path, "rb") as stream:
                listing = decode_listing(stream.read())
        except UnsupportedFormat:
            raise
        except (FileNotFoundError, PackError):
            return None
    return listing if listing.digest == entry.digest else None


def wanted_ids(file: Entry, listing: Listing) -> bytes:
    """Return the chunk ids that a file should have."""
    first = file.first_chunk * _CHUNK_ID_BYTES
    return listing.chunk_ids[first : first + file.chunk_count * _CHUNK_ID_BYTES]


def has_content(file: Entry, listing: Listing, hashed: Hashed) -> bool:
    """Return True if a file was found to have the size and the chunks that it should have."""
    stamp = hashed.stamps.files.get(file.path)
    return (
        stamp is not None and stamp.size == file.size and hashed.chunk_ids.get(file.path) == wanted_ids(file, listing)
    )


def is_as_listed(place: Place, item: Entry) -> bool:
    """Return True if an item is there, of the right kind, with the right target or permission to execute."""
    path = os.path.join(place.bundle_path, item.path)
    try:
        mode = os.lstat(path).st_mode
        if item.kind == LINK:
            return stat.S_ISLNK(mode) and os.readlink(path) == item.target
    except FileNotFoundError:
        return False
    if item.kind == DIRECTORY:
        return stat.S_ISDIR(mode)
    return stat.S_ISREG(mode) and bool(mode & stat.S_IXUSR) == item.executable
