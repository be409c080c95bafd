# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A host's store of unpacked, read-only bundles by digest: see layout.py for where they lie.

The life of an entry: partial → published → removed, or back to partial for repair. Each step is one rename, so an
entry is whole or not there. locking.py says who holds which lock for what.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import (
    allocated_bytes,
    flush_volume,
    lies_at,
    rename_durably,
    write_file_durably,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks, trees, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import layout, stamps, trash
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import (
    CacheEntry,
    Partial,
    PartialState,
    Survey,
    checked,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.locking import LOCK_MODES, SHARED
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.measure import measure
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import (
    CachedAddress,
    CacheRecord,
    Origin,
    decode_origin,
    decode_record,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheChanged,
    CacheError,
    UnknownRecord,
    from_os_error,
    translated,
)

# Stamps of every file are in it; a bundle of a hundred thousand files takes some 15 MiB.
_LARGEST_RECORD_BYTES = 64 << 20
_RECORD_LOCK_SECONDS = 30.0
# Not there, or a link or a file in its place.
_NO_RECORD = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Cache:
    """The cache at one path; made by :meth:`open`."""

    def __init__(self, places: layout.Layout, exists: bool) -> None:
        self._layout = places
        self.exists = exists

    @classmethod
    def open(cls, path: str, create: bool) -> Cache:
        """Return the cache at ``path``; without ``create`` nothing is made, and one that is not there is empty.

        :raises CacheUnsafe: another user could change what it holds
        """
        return cls(*layout.open_layout(path, create=create))

    @property
    def path(self) -> str:
        return self._layout.path

    @property
    def receipts_path(self) -> str:
        return self._layout.receipts

    def free_bytes(self) -> int:
        """Return what can still be written on the cache's volume."""
        return volumes.free_bytes(self.path)

    def lock(
        self,
        digest: str,
        operation: str,
        holder: str,
        timeout_seconds: float,
        on_wait: t.Optional[t.Callable[[str], None]] = None,
        alive: t.Callable[[], None] = lambda: None,
    ) -> t.ContextManager[None]:
        """Hold the lock of one entry, finished or not, for an operation of ``locking.LOCK_MODES``."""
        path = self._layout.lock(checked(digest))
        shared = LOCK_MODES[operation] == SHARED
        return locks.hold(path, holder, timeout_seconds, on_wait, shared, alive)

    # Looking

    def survey(self) -> Survey:
        """Look at everything that was published."""
        entries, damaged, unreadable = [], [], {}
        for digest in self._layout.digests(layout.BUNDLES):
            try:
                entry = self.find(digest)
            except CacheError as error:
                unreadable[digest] = str(error)
                continue
            if entry is None:
                damaged.append(digest)
            else:
                entries.append(entry)
        entries.sort(key=lambda entry: (entry.record.last_used_at, entry.digest), reverse=True)
        return Survey(tuple(entries), tuple(damaged), unreadable)

    def entries(self) -> t.List[CacheEntry]:
        """Return every published bundle, the one used last first."""
        return list(self.survey().entries)

    def find(self, digest: str) -> t.Optional[CacheEntry]:
        """Return the published bundle with that digest, None if there is none or its record is missing or damaged.

        :raises UnknownRecord: a later version of this collection wrote the record
        :raises CacheError: the record may be sound, but cannot be read now
        """
        place = layout.Place(digest, self._layout.bundle(digest))
        try:
            record = decode_record(trees.read_regular_file(place.record_path, _LARGEST_RECORD_BYTES))
            has_bundle = stat.S_ISDIR(os.lstat(place.bundle_path).st_mode)
        except UnknownRecord as error:
            raise UnknownRecord(
                f"Reading the cache entry {place.path} failed: {error.message}",
                "Use a newer version of the collection, or remove the entry by catalog_cache with state=absent and "
                "its digest.",
            ) from error
        except (ValueError, CacheError):
            return None
        except OSError as error:
            if error.errno in _NO_RECORD:
                return None
            raise from_os_error(CacheError, f"Reading the cache entry {place.path}", error) from error
        return CacheEntry(digest, place.path, record) if has_bundle and record.digest == digest else None

    def find_partial(self, digest: str) -> t.Optional[Partial]:
        """Return what lies there of an image that is not complete; an entry whose record is damaged is one, too.

        A place without a bundle in it counts as nothing.
        """
        partial = Partial(digest, self._layout.partial(digest))
        if not os.path.isdir(partial.path) and self.find(digest) is None:
            partial = Partial(digest, self._layout.bundle(digest))
        return partial if os.path.isdir(partial.bundle_path) else None

    def partial_record(self, digest: str) -> t.Optional[CacheRecord]:
        """Return the record that a partial image had when it was an entry, None if it never was or nobody can tell.

        Its addresses, counts and unknown keys hold for the entry that the image becomes again, its stamps do not.
        """
        with contextlib.suppress(OSError, ValueError, CacheError):
            path = Partial(digest, self._layout.partial(digest)).record_path
            record = decode_record(trees.read_regular_file(path, _LARGEST_RECORD_BYTES))
            return record if record.digest == digest else None
        return None

    def partials(self) -> t.List[PartialState]:
        """Return every partial image, the one that has been left longest first."""
        with translated(CacheError, f"Examining the partial images of {self.path}"):
            states = [self._partial_state(digest) for digest in self._layout.digests(layout.PARTIALS)]
        return sorted(states, key=lambda state: state.modified_at)

    def trash_bytes(self) -> int:
        """Return the bytes on disk of what was removed and is not deleted yet."""
        return trash.waiting_bytes(self._layout)

    # Changing

    def partial(self, digest: str, origin: t.Optional[Origin] = None) -> Partial:
        """Return the place where an image grows: made if need be, everything in it writable for us."""
        partial = Partial(digest, self._layout.partial(digest))
        with translated(CacheError, f"Making {partial.path}"):
            if not os.path.isdir(partial.path):
                published = self._layout.bundle(digest)
                if os.path.isdir(published) and self.find(digest) is None:
                    rename_durably(published, partial.path)
                else:
                    os.makedirs(partial.bundle_path, 0o700)
            os.makedirs(partial.bundle_path, 0o700, exist_ok=True)
            _discard_temporaries(partial.path)
            trees.make_writable(partial.path)
            if origin is not None and not os.path.exists(partial.origin_path):
                write_file_durably(partial.origin_path, origin.encode(), 0o600)
        return partial

    def publish(self, digest: str, record: CacheRecord, proved: t.Optional[stamps.TreeStamps] = None) -> CacheEntry:
        """Make a partial image an entry: read-only, flushed, stamped, then renamed. It replaces an earlier entry.

        The caller knows that every chunk in it had the digest that the listing promises when it was as ``proved``;
        without that, what lies there is believed.

        :raises CacheChanged: somebody has written to it since it was ``proved``
        """
        partial = Partial(digest, self._layout.partial(digest))
        final = self._layout.bundle(digest)
        if record.digest != digest:
            raise CacheError(f"Publishing {digest} failed: its record is that of {record.digest}.")
        with translated(CacheError, f"Publishing {final}"):
            sealed = trees.seal(partial.bundle_path)
            present = stamps.stamps_of(partial.bundle_path, sealed)
            if proved is not None:
                require_unwritten(partial, stamps.written_since(proved, present))
            record = dataclasses.replace(
                record,
                stamps=present,
                allocated_bytes=sum(allocated_bytes(found.status) for found in sealed if not found.is_directory),
            )
            write_file_durably(partial.record_path, record.encode(), 0o600)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial.origin_path)
            flush_volume(partial.path)
            if lies_at(final):
                trash.discard(final, self._layout)
            rename_durably(partial.path, final)
        return CacheEntry(digest, final, record)

    def demote(self, digest: str) -> None:
        """Make an entry a partial image, because some of its chunks are not what they should be.

        There is no other partial image of it, see :meth:`discard_partial`. Its record goes with it, see
        :meth:`partial_record`. :meth:`partial` makes it writable.
        """
        with translated(CacheError, f"Taking the cache entry {digest} back"):
            rename_durably(self._layout.bundle(digest), self._layout.partial(digest))

    def discard_partial(self, digest: str) -> bool:
        """Take a partial image out of the cache; return True if there was one. :meth:`empty_trash` deletes it."""
        return self._discard(self._layout.partial(digest))

    def remove(self, digest: str, did: t.Callable[[], None] = lambda: None) -> bool:
        """Take an entry and its partial image out of the cache, readable or not; return True if there was one.

        ``did`` is called after each of them. :meth:`empty_trash` deletes them.
        """
        found = False
        for path in (self._layout.bundle(digest), self._layout.partial(digest)):
            if self._discard(path):
                found = True
                did()
        return found

    def remove_damaged(self, digest: str) -> bool:
        """Take what is published without a sound record out of the cache; return True if there was such a thing.

        A partial image of the same digest stays: it may be the progress of a pull.
        """
        path = self._layout.bundle(digest)
        with translated(CacheError, f"Removing {path}"):
            if self.find(digest) is not None or not lies_at(path):
                return False
            trash.discard(path, self._layout)
        return True

    def empty_trash(self) -> t.List[str]:
        """Delete what was removed, by an interrupted task, too; return a sentence for each thing that stays."""
        return trash.empty(self._layout)

    # Records, each change under a lock of its own: many may hold the lock of an entry shared

    def touch(self, digest: str, when: str, address: t.Optional[CachedAddress] = None) -> CacheEntry:
        """Count a use, for the manifest at ``address``."""

        def used(record: CacheRecord) -> CacheRecord:
            if address is not None:
                record = record.with_address(address)
            return dataclasses.replace(record, last_used_at=when, use_count=record.use_count + 1)

        return self._change(digest, used)

    def set_verified(self, digest: str, when: t.Optional[str], proved: stamps.TreeStamps) -> CacheEntry:
        """Remember that every chunk is right, and when all were hashed; ``proved`` was taken *before* the hashing."""
        return self._change(digest, lambda record: dataclasses.replace(record, verified_at=when, stamps=proved))

    def mark_manifest_state(self, digest: str, address: CachedAddress) -> CacheEntry:
        """Remember the state, tainted for instance, in which the server showed a manifest."""
        return self._change(digest, lambda record: record.with_address(address))

    def forget(self, digest: str, is_meant: t.Callable[[CachedAddress], bool]) -> CacheEntry:
        """Take addresses from an entry that has others."""

        def without(record: CacheRecord) -> CacheRecord:
            return dataclasses.replace(
                record, addresses=tuple(known for known in record.addresses if not is_meant(known))
            )

        return self._change(digest, without)

    # Inside

    def _discard(self, path: str) -> bool:
        with translated(CacheError, f"Removing {path}"):
            if not lies_at(path):
                return False
            trash.discard(path, self._layout)
        return True

    def _partial_state(self, digest: str) -> PartialState:
        partial = Partial(digest, self._layout.partial(digest))
        origin = None
        with contextlib.suppress(OSError, ValueError, CacheError):
            origin = decode_origin(trees.read_regular_file(partial.origin_path, _LARGEST_RECORD_BYTES))
        if origin is None:
            record = self.partial_record(digest)
            if record is not None and record.addresses:
                origin = Origin(record.addresses[-1], record.last_used_at)
        return PartialState(partial, *measure(partial.path), origin)

    def _change(self, digest: str, change: t.Callable[[CacheRecord], CacheRecord]) -> CacheEntry:
        with locks.hold(self._layout.lock("records"), "a change of a cache record", _RECORD_LOCK_SECONDS):
            entry = self.find(digest)
            if entry is None:
                raise CacheError(f"Changing the record of {digest} in {self.path} failed: there is no such entry.")
            changed = dataclasses.replace(entry, record=change(entry.record))
            with translated(CacheError, f"Writing the record of {digest} in {self.path}"):
                _discard_temporaries(entry.path)
                write_file_durably(entry.record_path, changed.record.encode(), 0o600)
            return changed


def difference(entry: CacheEntry) -> stamps.Difference:
    """Return how an entry differs from what was proved; an empty one means that it can be trusted."""
    recorded = entry.record.stamps
    return stamps.compare(recorded, stamps.read_stamps(entry.bundle_path, recorded.directories))


def require_unwritten(place: layout.Place, written: stamps.Difference) -> None:
    """Check that a bundle is as it was when it was proved.

    :raises CacheChanged: it is not
    """
    if written:
        paths = ", ".join([*sorted(written.changed), *written.strays][:3])
        raise CacheChanged(
            f"{place.bundle_path} was changed by somebody else while it was in work ({paths}).",
            "Find out what writes to the cache, then run the task again.",
        )


def _discard_temporaries(directory: str) -> None:
    """Remove what a killed ``write_file_durably`` left; nobody else writes to the directory meanwhile."""
    for name in os.listdir(directory):
        if name.startswith(".tmp-"):
            os.unlink(os.path.join(directory, name))
