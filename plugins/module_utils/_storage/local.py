# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Storage in a directory of this machine.

An object is a file. It is received under a temporary name beside its final one, hashed on the way,
fsynced, renamed, and the directory is fsynced; so a reader sees all of it or nothing. What a crash
leaves behind has a name that no key can have.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ByteRange, ObjectInfo, check_key
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageChanged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageUnavailable,
)

_TEMPORARY_PREFIX = ".incoming-"


class LocalStorage:
    """Objects below the directory ``root``, which nothing else uses. It is made with the first object.

    ``anchor`` is the key of an object that has to be there first; without it nothing else is stored. So a volume that
    is not mounted gets no folders on the volume below it.
    """

    proves_content = True

    def __init__(self, root: str, anchor: str | None = None) -> None:
        self.root = os.path.abspath(root)
        self._anchor = anchor

    def put(self, key: str, data: bytes, sha256: str) -> None:
        """Store ``data`` under ``key``; see ``base.Storage``."""
        with self.receive(key, sha256, len(data)) as incoming:
            incoming.write(data)
            incoming.finish()

    def receive(self, key: str, sha256: str, size: int) -> Incoming:
        """Begin to receive an object of ``size`` bytes with the SHA-256 ``sha256``.

        :raises StorageUnavailable: the anchor of the storage is not there
        """
        if self._anchor not in (None, key) and not os.path.isfile(self._path(self._anchor or "")):
            raise StorageUnavailable(
                f"Could not store the object {key}: {self._anchor} is not there.",
                hint="Mount the volume of the storage.",
            )
        return Incoming(key, self._path(key), sha256, size)

    def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """Return the object, or exactly the range that is asked for; see ``base.Storage``."""
        with self.open(key) as opened:
            wanted = byte_range or (ByteRange(0, opened.size) if opened.size else None)
            return opened.read(wanted.offset, wanted.length) if wanted else b""

    def open(self, key: str) -> OpenObject:
        """Open an object to read it in pieces; it stays readable if it is deleted meanwhile."""
        with _translated(f"read the object {key}"):
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise StorageMissing(f"Could not read the object {key}: there is none.")
        return OpenObject(key, descriptor, status.st_size)

    def head(self, key: str) -> ObjectInfo:
        """Return key and size of one object; see ``base.Storage``."""
        with _translated(f"look up the object {key}"):
            status = os.lstat(self._path(key))
        if not stat.S_ISREG(status.st_mode):
            raise StorageMissing(f"Could not look up the object {key}: there is none.")
        return ObjectInfo(key, status.st_size)

    def list(self, prefix: str, limit: int | None = None) -> t.Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix`` in order of their keys; see ``base.Storage``."""
        start = prefix.strip("/")
        if start:
            check_key(start)
        with _translated(f"list the objects below {prefix!r}"):
            for number, info in enumerate(_walk(os.path.join(self.root, start) if start else self.root, start)):
                if limit is not None and number >= limit:
                    return
                yield info

    def delete_many(self, keys: t.Iterable[str]) -> None:
        """Delete objects, and their folders when these become empty."""
        folders = set()
        for key in keys:
            path = self._path(key)
            with _translated(f"delete the object {key}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                folders.add(os.path.dirname(path))
        for folder in folders:
            with _translated("delete objects"):
                _remove_if_empty(folder)

    def discard_incoming(self, prefix: str, before: float | None = None) -> int:
        """Remove the unfinished objects below the folder ``prefix``, also those that are still being received.

        :param before: remove only those that were written to last before this time, in seconds of Unix time
        :returns: how many were removed
        """
        removed = 0
        with _translated(f"clean up {prefix}"):
            for folder, _folders, names in os.walk(self._path(prefix), topdown=False, onerror=_unless_missing):
                paths = [os.path.join(folder, name) for name in names if name.startswith(_TEMPORARY_PREFIX)]
                count = sum(_remove_older(path, before) for path in paths)
                removed += count
                # Into an empty folder the next object may be about to come.
                if count or before is None:
                    _remove_if_empty(folder)
        return removed

    def _path(self, key: str) -> str:
        check_key(key)
        return os.path.join(self.root, key)


class OpenObject:
    """One object opened for reading; ``size`` is its size in bytes."""

    def __init__(self, key: str, descriptor: int, size: int) -> None:
        self.key = key
        self.size = size
        self._descriptor = descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on.

        :raises StorageChanged: the object ends before that
        """
        with _translated(f"read the object {self.key}"):
            data = os.pread(self._descriptor, length, offset)
            while len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    raise StorageChanged(
                        f"Could not read {length} bytes from {offset} on of the object {self.key}: "
                        f"it ends at {offset + len(data)}."
                    )
                data += more
        return data

    def close(self) -> None:
        """Close it. It may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> OpenObject:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Incoming:
    """An object that is being received.

    ``write`` what arrives, then ``finish``; in any case ``close``, which removes an object that is not finished.
    """

    def __init__(self, key: str, path: str, sha256: str, size: int) -> None:
        self._key = key
        self._path = path
        self._sha256 = sha256
        self._size = size
        self._received = 0
        self._hash = hashlib.sha256()
        with _translated(self._doing):
            _make_folders(os.path.dirname(path))
            self._descriptor, self._temporary = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=os.path.dirname(path))

    @property
    def _doing(self) -> str:
        return f"store the object {self._key}"

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        :raises StorageChanged: more bytes arrived than announced
        """
        self._received += len(data)
        if self._received > self._size:
            raise StorageChanged(f"Could not {self._doing}: more than the announced {self._size} bytes arrived.")
        self._hash.update(data)
        rest = memoryview(data)
        with _translated(self._doing):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Check size and digest, and give the object its name, durably.

        :raises StorageChanged: fewer bytes arrived than announced, or other ones; nothing is stored
        """
        if self._received != self._size:
            raise StorageChanged(
                f"Could not {self._doing}: {self._received} of the announced {self._size} bytes arrived."
            )
        if self._hash.hexdigest() != self._sha256:
            raise StorageChanged(f"Could not {self._doing}: the bytes that arrived do not have its SHA-256.")
        with _translated(self._doing):
            os.fsync(self._descriptor)
            self._close()
            files.rename_durably(self._temporary, self._path)
            self._temporary = ""

    def close(self) -> None:
        """Remove what has arrived, unless it is finished. It may be called twice."""
        self._close()
        if self._temporary:
            with _translated(self._doing), contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)
            self._temporary = ""

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextlib.contextmanager
def _translated(doing: str) -> t.Iterator[None]:
    """Turn an OSError into the error of ours that says what was attempted."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise StorageMissing(f"Could not {doing}: there is none.") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"Could not {doing}: {why}.", hint="Make room on the volume of the storage.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageDenied(f"Could not {doing}: {why}.") from error
        if error.errno in (errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY):
            raise StorageError(f"Could not {doing}: {why}.") from error
        raise StorageUnavailable(f"Could not {doing}: {why}.") from error


def _make_folders(folder: str) -> None:
    """Make ``folder`` and the missing ones above it, durably."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o750)
        files.fsync_directory(os.path.dirname(path))


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _remove_older(path: str, before: float | None) -> bool:
    """Remove a file that was written to last before a time; returns True if it was removed."""
    try:
        if before is not None and os.lstat(path).st_mtime >= before:
            return False
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _remove_if_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        files.fsync_directory(folder)
    else:
        files.fsync_directory(os.path.dirname(folder))


def _walk(folder: str, prefix: str) -> t.Iterator[ObjectInfo]:
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except (FileNotFoundError, NotADirectoryError):
        return
    # A folder sorts as its name with a slash, as it does among the keys of an object store.
    entries.sort(key=lambda entry: entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name)
    for entry in entries:
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, key)
        elif entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                yield ObjectInfo(key, entry.stat(follow_symlinks=False).st_size)
