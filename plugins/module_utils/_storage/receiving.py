# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Objects that are being received into a directory.

They have names that no key can have, and are locked as long as somebody receives them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    StorageChanged,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageMissing,
    StorageUnavailable,
)

_TEMPORARY_PREFIX = ".incoming-"
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


class Incoming:
    """An object that is being received.

    ``write`` what arrives, then ``finish``; in any case ``close``, which removes an object that is not finished.
    """

    def __init__(self, key: str, path: str, sha256: str, size: int, descriptor: int, temporary: str) -> None:
        self._key = key
        self._path = path
        self._sha256 = sha256
        self._size = size
        self._received = 0
        self._hash = hashlib.sha256()
        self._descriptor = descriptor
        self._temporary = temporary

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
        with translated(self._doing):
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
        with translated(self._doing):
            os.fsync(self._descriptor)
            files.rename_durably(self._temporary, self._path)
            self._temporary = ""
            self._close()

    def close(self) -> None:
        """Remove what has arrived, unless it is finished. It may be called twice."""
        if self._temporary:
            with translated(self._doing):
                remove(self._temporary)
            self._temporary = ""
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def make_temporary(folder: str) -> tuple[int, str] | None:
    """Make a file that is locked as long as it is open; return its descriptor and path.

    Returns None if somebody who cleans up found it before it was locked.
    """
    descriptor, path = tempfile.mkstemp(prefix=_TEMPORARY_PREFIX, dir=folder)
    if _lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
        return descriptor, path
    os.close(descriptor)
    remove(path)
    return None


def temporaries(folder: str, names: t.Iterable[str]) -> list[str]:
    """Return the paths of those of the files in a folder that are being received, or were."""
    return [os.path.join(folder, name) for name in names if name.startswith(_TEMPORARY_PREFIX)]


def remove(path: str) -> bool:
    """Remove a file; returns False if it is gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def remove_abandoned(path: str, before: float) -> bool:
    """Remove a file that nobody has locked; returns True if it was removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        is_ours = _lock(descriptor)
        if is_ours is None:
            is_ours = os.fstat(descriptor).st_mtime < before
        return is_ours and remove(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file. Returns False if somebody else has locked it, None if its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


@contextlib.contextmanager
def translated(doing: str) -> t.Iterator[None]:
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
