# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Storage in a directory of this machine.

An object is a file. It is received under a temporary name beside its final one, hashed on the way,
fsynced, renamed, and the directory is fsynced; so a reader sees all of it or nothing. What a crash
leaves behind has a name that no key can have, and is not locked as what is still received is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ByteRange, ObjectInfo, check_key
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageChanged,
    StorageMissing,
    StorageUnavailable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.receiving import (
    Incoming,
    make_temporary,
    remove,
    remove_abandoned,
    temporaries,
    translated,
)

_FOLDER_MODE = 0o750
# Two megabytes or so.
_KNOWN_FOLDERS = 10_000
_ATTEMPTS = 3


class LocalStorage:
    """Objects below the directory ``root``, which nothing else uses. It is made with the first object.

    ``anchor`` is the key of an object that has to be there first; without it nothing else is stored. So a volume that
    is not mounted gets no folders on the volume below it.
    """

    proves_content = True

    def __init__(self, root: str, anchor: str | None = None) -> None:
        self.root = os.path.abspath(root)
        self._anchor = anchor
        self._lock = threading.Lock()
        self._durable_folders: set[str] = set()

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
        path = self._path(key)
        with translated(f"store the object {key}"):
            descriptor, temporary = self._make_temporary(os.path.dirname(path))
        return Incoming(key, path, sha256, size, descriptor, temporary)

    def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """Return the object, or exactly the range that is asked for; see ``base.Storage``."""
        with self.open(key) as opened:
            wanted = byte_range or (ByteRange(0, opened.size) if opened.size else None)
            return opened.read(wanted.offset, wanted.length) if wanted else b""

    def open(self, key: str) -> OpenObject:
        """Open an object to read it in pieces; it stays readable if it is deleted meanwhile."""
        with translated(f"read the object {key}"):
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise StorageMissing(f"Could not read the object {key}: there is none.")
        return OpenObject(key, descriptor, status.st_size)

    def head(self, key: str) -> ObjectInfo:
        """Return key and size of one object; see ``base.Storage``."""
        with translated(f"look up the object {key}"):
            status = os.lstat(self._path(key))
        if not stat.S_ISREG(status.st_mode):
            raise StorageMissing(f"Could not look up the object {key}: there is none.")
        return ObjectInfo(key, status.st_size)

    def list(self, prefix: str, limit: int | None = None) -> t.Iterator[ObjectInfo]:
        """Yield the objects below the folder ``prefix`` in order of their keys; see ``base.Storage``."""
        start = prefix.strip("/")
        if start:
            check_key(start)
        with translated(f"list the objects below {prefix!r}"):
            for number, info in enumerate(_walk(os.path.join(self.root, start) if start else self.root, start)):
                if limit is not None and number >= limit:
                    return
                yield info

    def delete_many(self, keys: t.Iterable[str]) -> None:
        """Delete objects, and their folders when these become empty."""
        folders = set()
        for key in keys:
            path = self._path(key)
            with translated(f"delete the object {key}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                folders.add(os.path.dirname(path))
        for folder in folders:
            with translated("delete objects"):
                self._remove_if_empty(folder)

    def discard_incoming(self, prefix: str) -> int:
        """Remove the unfinished objects below the folder ``prefix``, also those that are still being received.

        :returns: how many were removed
        """
        removed = 0
        with translated(f"clean up {prefix}"):
            for folder, _folders, names in os.walk(self._path(prefix), topdown=False, onerror=_unless_missing):
                removed += sum(remove(path) for path in temporaries(folder, names))
                self._remove_if_empty(folder)
        return removed

    def discard_abandoned(self, prefix: str, before: float, *, deep: bool = True) -> int:
        """Remove the unfinished objects that nobody receives any more, since their process has ended.

        :param prefix: the folder; nothing is that of all objects
        :param before: where a file system has no locks, only what was written to last before this time is removed, in
            seconds of Unix time
        :param deep: also in the folders below
        :returns: how many were removed
        """
        removed = 0
        start = self._path(prefix) if prefix else self.root
        with translated(f"clean up {prefix}"):
            for folder, folders, names in os.walk(start, onerror=_unless_missing):
                count = sum(remove_abandoned(path, before) for path in temporaries(folder, names))
                removed += count
                if not deep:
                    folders.clear()
                elif count:
                    self._remove_if_empty(folder)
        return removed

    def _make_temporary(self, folder: str) -> tuple[int, str]:
        """Make a file in a folder, which others may remove as long as it is empty; return its descriptor and path."""
        for _attempt in range(_ATTEMPTS):
            self._make_folder(folder)
            with contextlib.suppress(FileNotFoundError):
                made = make_temporary(folder)
                if made is not None:
                    return made
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those above it. Their names are durable then, also if another process made them."""
        files.make_directories(self.root, _FOLDER_MODE)
        missing = []
        while folder != self.root and not (self._is_durable(folder) and os.path.isdir(folder)):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _FOLDER_MODE)
            files.fsync_directory(os.path.dirname(path))
            with self._lock:
                if len(self._durable_folders) >= _KNOWN_FOLDERS:
                    self._durable_folders.clear()
                self._durable_folders.add(path)

    def _is_durable(self, folder: str) -> bool:
        with self._lock:
            return folder in self._durable_folders

    def _remove_if_empty(self, folder: str) -> None:
        with self._lock:
            self._durable_folders.discard(folder)
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            files.fsync_directory(folder)
        else:
            files.fsync_directory(os.path.dirname(folder))

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
        with translated(f"read the object {self.key}"):
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


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


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
