# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A host's store of unpacked, read-only bundles by digest, private to the user who owns its directory.

    <cache>/bundles/<digest>/bundle/      the files of the bundle, 0444
                            /listing      what it contains
                            /locator      where its chunks lay when it was pulled
                            /record.json  see records.py
    <cache>/partial/<digest>/             the same while it grows, without the record
    <cache>/trash/                        what was renamed away and is being deleted
    <cache>/locks/  <cache>/receipts/

The life of an entry: partial → published → removed, or back to partial for repair. Each step is one rename, so an
entry is whole or not there. Whoever changes an entry holds its lock exclusively; whoever clones from it, at least
shared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import secrets
import stat
import typing as t
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import (
    allocated_bytes,
    flush_volume,
    rename_durably,
    write_file_durably,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import Found, walk
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    UnknownRecord,
    from_os_error,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.records import (
    CachedAddress,
    CacheRecord,
    Stamp,
    decode_record,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.safety import (
    require_own_directory,
    require_private,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import (
    make_writable,
    read_regular_file,
    remove,
    seal,
)

_BUNDLES = "bundles"
_PARTIAL = "partial"
_TRASH = "trash"
_LOCKS = "locks"
_RECEIPTS = "receipts"
_RECORD = "record.json"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
# Stamps of every file are in it; a bundle of a hundred thousand files takes some 15 MiB.
_LARGEST_RECORD_BYTES = 64 << 20
_RECORD_LOCK_SECONDS = 30.0
# Not there, or a link or a file in its place.
_NO_RECORD = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the parts of an entry lie, finished or not."""

    digest: str
    path: str

    @property
    def bundle_path(self) -> str:
        return os.path.join(self.path, "bundle")

    @property
    def listing_path(self) -> str:
        return os.path.join(self.path, "listing")

    @property
    def locator_path(self) -> str:
        return os.path.join(self.path, "locator")


@dataclasses.dataclass(frozen=True)
class Partial(_Place):
    """A bundle that is not complete yet, or not known to be."""


@dataclasses.dataclass(frozen=True)
class CacheEntry(_Place):
    """A bundle that was complete when it was published."""

    record: CacheRecord


@dataclasses.dataclass(frozen=True)
class PartialState:
    """What an unfinished bundle takes, and when something was last written to it."""

    partial: Partial
    allocated_bytes: int
    modified_at: float


@dataclasses.dataclass(frozen=True)
class Survey:
    """All that lies below ``bundles``: entries, the one used last first, and digests that are none.

    A record that is missing or damaged makes an entry ``damaged``: material for the next pull. Of one that is
    ``unreadable``, for the reason given, nothing is known: it stays as it is.
    """

    entries: t.Tuple[CacheEntry, ...]
    damaged: t.Tuple[str, ...]
    unreadable: t.Mapping[str, str]


class Cache:
    """The cache at one path; made by :meth:`open`."""

    def __init__(self, path: str, exists: bool) -> None:
        self.path = path
        self.exists = exists

    @classmethod
    def open(cls, path: str, create: bool) -> Cache:
        """The cache at ``path``; without ``create`` nothing is made, and one that is not there yet is empty.

        :raises CacheUnsafe: another user could change what it holds
        """
        path = os.path.abspath(path)
        exists = require_private(path, create)
        cache = cls(path, exists)
        for name in (_BUNDLES, _PARTIAL, _TRASH, _LOCKS, _RECEIPTS):
            directory = os.path.join(path, name)
            if create:
                with translated(CacheError, f"Making {directory}"), contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
            if exists:
                require_own_directory(directory)
        return cache

    @property
    def receipts_path(self) -> str:
        return os.path.join(self.path, _RECEIPTS)

    def free_bytes(self) -> int:
        """What can still be written on the cache's volume."""
        return volumes.free_bytes(self.path)

    # Locks

    def lock_path(self, digest: str) -> str:
        """The lock of one entry, finished or not."""
        return os.path.join(self.path, _LOCKS, f"{_checked(digest)}.lock")

    def vm_lock_path(self, name: str) -> str:
        """The lock of everything done to the VM of that name."""
        key = hashlib.sha256(unicodedata.normalize("NFC", name).encode("utf-8", "surrogatepass")).hexdigest()
        return os.path.join(self.path, _LOCKS, f"vm-{key[:32]}.lock")

    def lock(
        self,
        digest: str,
        holder: str,
        timeout_seconds: float,
        on_wait: t.Optional[t.Callable[[str], None]] = None,
        shared: bool = False,
        alive: t.Callable[[], None] = lambda: None,
    ) -> t.ContextManager[None]:
        """Hold the lock of one entry; see :func:`locks.hold`."""
        return locks.hold(self.lock_path(digest), holder, timeout_seconds, on_wait, shared, alive)

    # Looking

    def survey(self) -> Survey:
        """Look at everything that was published."""
        entries, damaged, unreadable = [], [], {}
        for digest in self._names(_BUNDLES):
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
        """Every published bundle, the one used last first."""
        return list(self.survey().entries)

    def damaged(self) -> t.List[str]:
        """Digests below ``bundles`` whose record is missing or damaged."""
        return list(self.survey().damaged)

    def find(self, digest: str) -> t.Optional[CacheEntry]:
        """The published bundle with that digest. One whose record is missing or damaged does not count.

        :raises UnknownRecord: a later version of this collection wrote the record
        :raises CacheError: the record may be sound, but cannot be read now
        """
        path = self._path(_BUNDLES, digest)
        try:
            record = decode_record(read_regular_file(os.path.join(path, _RECORD), _LARGEST_RECORD_BYTES))
            has_bundle = stat.S_ISDIR(os.lstat(os.path.join(path, "bundle")).st_mode)
        except UnknownRecord as error:
            raise UnknownRecord(
                f"Reading the cache entry {path} failed: {error.message}",
                "Use a newer version of the collection, or remove the entry by catalog_cache with state=absent and "
                "its digest.",
            ) from error
        except (ValueError, CacheError):
            return None
        except OSError as error:
            if error.errno in _NO_RECORD:
                return None
            raise from_os_error(CacheError, f"Reading the cache entry {path}", error) from error
        return CacheEntry(digest, path, record) if has_bundle and record.digest == digest else None

    def find_partial(self, digest: str) -> t.Optional[Partial]:
        """What lies there of a bundle that is not complete; an entry whose record is damaged is taken as such."""
        for room in (_PARTIAL, _BUNDLES):
            path = self._path(room, digest)
            if os.path.isdir(path) and (room == _PARTIAL or self.find(digest) is None):
                return Partial(digest, path)
        return None

    def partials(self) -> t.List[PartialState]:
        """Every unfinished bundle, the one that has been left longest first."""
        with translated(CacheError, f"Examining the unfinished bundles of {self.path}"):
            states = [self._partial_state(digest) for digest in self._names(_PARTIAL)]
        return sorted(states, key=lambda state: state.modified_at)

    # Changing

    def partial(self, digest: str) -> Partial:
        """The place where a bundle grows: made if need be, everything in it writable for us."""
        path = self._path(_PARTIAL, digest)
        with translated(CacheError, f"Making {path}"):
            if not os.path.isdir(path):
                published = self._path(_BUNDLES, digest)
                if os.path.isdir(published) and self.find(digest) is None:
                    rename_durably(published, path)
                else:
                    os.makedirs(os.path.join(path, "bundle"), 0o700)
            partial = Partial(digest, path)
            os.makedirs(partial.bundle_path, 0o700, exist_ok=True)
            _discard_temporaries(path)
            make_writable(path)
        return partial

    def publish(self, digest: str, record: CacheRecord) -> CacheEntry:
        """Make a partial bundle an entry: read-only, flushed, stamped, then renamed. Replaces an entry of old.

        The caller knows that every chunk in it has the digest that the listing promises.
        """
        partial = Partial(digest, self._path(_PARTIAL, digest))
        final = self._path(_BUNDLES, digest)
        if record.digest != digest:
            raise CacheError(f"Publishing {digest} failed: its record is that of {record.digest}.")
        with translated(CacheError, f"Publishing {final}"):
            sealed = seal(partial.bundle_path)
            record = dataclasses.replace(record, files=_stamps(sealed), allocated_bytes=_allocated_bytes(sealed))
            write_file_durably(os.path.join(partial.path, _RECORD), record.encode(), 0o600)
            flush_volume(partial.path)
            if os.path.lexists(final):
                self._discard(final)
            rename_durably(partial.path, final)
        return CacheEntry(digest, final, record)

    def demote(self, digest: str) -> Partial:
        """Take an entry back into work, because some of its chunks are not what they should be."""
        path = self._path(_PARTIAL, digest)
        with translated(CacheError, f"Taking the cache entry {digest} back"):
            if os.path.lexists(path):
                self._discard(path)
            rename_durably(self._path(_BUNDLES, digest), path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, _RECORD))
        return self.partial(digest)

    def remove(self, digest: str) -> None:
        """Delete an entry, readable or not. One that is not there is no error."""
        self._remove(self._path(_BUNDLES, digest))

    def discard_partial(self, digest: str) -> None:
        """Delete an unfinished bundle. One that is not there is no error."""
        self._remove(self._path(_PARTIAL, digest))

    def touch(self, digest: str, when: str, address: t.Optional[CachedAddress] = None) -> CacheEntry:
        """Count a use, for the manifest at ``address``."""

        def used(record: CacheRecord) -> CacheRecord:
            if address is not None:
                record = record.with_address(address)
            return dataclasses.replace(record, last_used_at=when, use_count=record.use_count + 1)

        return self._change(digest, used)

    def set_verified(self, digest: str, when: str, files: t.Mapping[str, Stamp]) -> CacheEntry:
        """Every chunk was hashed and is right; ``files`` are the :func:`stamps` taken *before* the hashing."""
        return self._change(digest, lambda record: dataclasses.replace(record, verified_at=when, files=dict(files)))

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

    def _names(self, room: str) -> t.List[str]:
        try:
            with os.scandir(os.path.join(self.path, room)) as entries:
                return sorted(
                    entry.name for entry in entries if _DIGEST.match(entry.name) and entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CacheError(f"Reading {error.filename} failed: {error.strerror}.") from error

    def _path(self, room: str, digest: str) -> str:
        return os.path.join(self.path, room, _checked(digest))

    def _partial_state(self, digest: str) -> PartialState:
        partial = Partial(digest, self._path(_PARTIAL, digest))
        found = tuple(walk(partial.path))
        times = [os.stat(partial.path).st_mtime, *(item.status.st_mtime for item in found)]
        return PartialState(partial, _allocated_bytes(found), max(times))

    def _change(self, digest: str, change: t.Callable[[CacheRecord], CacheRecord]) -> CacheEntry:
        # Those who clone from an entry hold its lock shared, and each of them counts a use.
        lock = os.path.join(self.path, _LOCKS, "records.lock")
        with locks.hold(lock, "a change of a cache record", _RECORD_LOCK_SECONDS):
            entry = self.find(digest)
            if entry is None:
                raise CacheError(f"Changing the record of {digest} in {self.path} failed: there is no such entry.")
            changed = dataclasses.replace(entry, record=change(entry.record))
            with translated(CacheError, f"Writing the record of {digest} in {self.path}"):
                _discard_temporaries(entry.path)
                write_file_durably(os.path.join(entry.path, _RECORD), changed.record.encode(), 0o600)
            return changed

    def _remove(self, path: str) -> None:
        with translated(CacheError, f"Removing {path}"):
            if os.path.lexists(path):
                self._discard(path)
            self._empty_trash()

    def _discard(self, path: str) -> None:
        rename_durably(path, os.path.join(self.path, _TRASH, secrets.token_hex(16)))
        self._empty_trash()

    def _empty_trash(self) -> None:
        trash = os.path.join(self.path, _TRASH)
        if not os.path.isdir(trash):
            return
        for name in os.listdir(trash):
            remove(os.path.join(trash, name))


def stamps(entry: CacheEntry) -> t.Dict[str, Stamp]:
    """The present stamps of the regular files of an entry, by path inside the bundle."""
    with translated(CacheError, f"Examining {entry.bundle_path}"):
        return _stamps(walk(entry.bundle_path))


def trusted(entry: CacheEntry) -> t.FrozenSet[str]:
    """Paths of the files that nobody can have written to since their content was proved."""
    return frozenset(path for path, stamp in stamps(entry).items() if entry.record.files.get(path) == stamp)


def _checked(digest: str) -> str:
    if not _DIGEST.match(digest):
        raise CacheError(f"{digest!r} is not a digest.")
    return digest


def _stamps(found: t.Iterable[Found]) -> t.Dict[str, Stamp]:
    return {item.path: Stamp.of(item.status) for item in found if item.is_file}


def _discard_temporaries(directory: str) -> None:
    """Remove what a killed ``write_file_durably`` left; nobody else writes to the directory meanwhile."""
    for name in os.listdir(directory):
        if name.startswith(".tmp-"):
            os.unlink(os.path.join(directory, name))


def _allocated_bytes(found: t.Iterable[Found]) -> int:
    return sum(allocated_bytes(item.status) for item in found if not item.is_directory)
