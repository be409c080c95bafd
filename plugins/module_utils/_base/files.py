# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Durable writes: the only place that renames something to its final name.

Durable means: every file fsynced, then one flush of the volume (F_FULLFSYNC on macOS,
syncfs on Linux), then the rename, then an fsync of the parent directory.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
import tempfile
import typing as t
from dataclasses import dataclass

# xnu bsd/sys/fcntl.h; Python's fcntl module knows the first one only in some builds.
_DARWIN_F_FULLFSYNC = 51
_DARWIN_F_PUNCHHOLE = 99
# linux/falloc.h
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
# What SMB, FUSE and others answer that cannot flush a directory, or not that thoroughly.
_NO_FLUSH = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS})
_NO_HOLES = _NO_FLUSH | {errno.ENODEV}
_ZERO_BLOCK = bytes(1 << 20)

Buffer = t.Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class Stamp:
    """What stays the same as long as nobody writes to a file: inode number, size in bytes, times in nanoseconds."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Returns the stamp of a file."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def lies_at(path: str) -> bool:
    """Return True if something lies at a path, be it a link that leads nowhere.

    ``os.path.lexists`` says False, too, of what cannot be examined; here that is an error, since "it is gone" is
    what things are removed for.

    :raises OSError: nobody can tell
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def fsync_directory(path: str) -> None:
    """Make the names in a directory durable, as far as its file system can do that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flush(os.fsync, descriptor, path)
    finally:
        os.close(descriptor)


def make_directories(path: str, mode: int = 0o777) -> None:
    """Make a directory and the missing ones above it, durably."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for one in reversed(missing):
        try:
            os.mkdir(one, mode)
        except FileExistsError:
            pass
        fsync_directory(os.path.dirname(one))


def flush_volume(path: str) -> None:
    """Make the drive behind ``path`` write out what it holds in its own cache, as far as its file system can do that.

    Files that matter must have been fsynced before.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not _flush(_full_fsync if sys.platform == "darwin" else _syncfs, descriptor, path):
            _flush(os.fsync, descriptor, path)
    finally:
        os.close(descriptor)


def _flush(flush: t.Callable[[int], None], descriptor: int, path: str) -> bool:
    """Flush an open file. Returns False if its file system has no such thing.

    :raises OSError: with ``path`` as its filename, which the system does not know here
    """
    try:
        flush(descriptor)
    except OSError as error:
        if error.errno in _NO_FLUSH:
            return False
        error.filename = path
        raise
    return True


def _full_fsync(descriptor: int) -> None:
    fcntl.fcntl(descriptor, _DARWIN_F_FULLFSYNC)


def _syncfs(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(ctypes.c_int(descriptor)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rename_durably(source: str, destination: str) -> None:
    """Give ``source`` its final name and make that durable; both lie on one volume."""
    os.rename(source, destination)
    fsync_directory(os.path.dirname(destination) or ".")
    if os.path.dirname(source) != os.path.dirname(destination):
        fsync_directory(os.path.dirname(source) or ".")


def write_file_durably(path: str, data: bytes, mode: int = 0o644) -> None:
    """Write ``data`` under a temporary name beside ``path``, fsync, rename."""
    directory = os.path.dirname(path) or "."
    descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        rename_durably(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise


def allocated_bytes(status: os.stat_result) -> int:
    """Returns the bytes that a file occupies on disk (st_blocks counts blocks of 512 bytes), shared ones included."""
    return status.st_blocks * 512


def _punch_darwin(descriptor: int, offset: int, length: int) -> None:
    # struct fpunchhole: u32 flags, u32 reserved, off_t offset, off_t length
    argument = (
        (0).to_bytes(4, sys.byteorder)
        + (0).to_bytes(4, sys.byteorder)
        + offset.to_bytes(8, sys.byteorder)
        + length.to_bytes(8, sys.byteorder)
    )
    fcntl.fcntl(descriptor, _DARWIN_F_PUNCHHOLE, argument)


def _punch_linux(descriptor: int, offset: int, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.fallocate(
        ctypes.c_int(descriptor),
        ctypes.c_int(_FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE),
        ctypes.c_int64(offset),
        ctypes.c_int64(length),
    )
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def zero_range(descriptor: int, offset: int, length: int) -> None:
    """Make a range of an open file read as zeros, as a hole where the file system has them."""
    # macOS punches whole blocks only, and refuses all of a range with a part of one at its ends.
    block_bytes = os.fstatvfs(descriptor).f_frsize or 1
    end = offset + length
    inner = min(end, -(-offset // block_bytes) * block_bytes)
    inner_end = max(inner, end // block_bytes * block_bytes)
    _write_zeros(descriptor, offset, inner)
    if inner < inner_end and not _punch(descriptor, inner, inner_end - inner):
        _write_zeros(descriptor, inner, inner_end)
    _write_zeros(descriptor, inner_end, end)


def _punch(descriptor: int, offset: int, length: int) -> bool:
    """Make a hole. Returns False if the file system has none."""
    punch: t.Callable[[int, int, int], None] = _punch_darwin if sys.platform == "darwin" else _punch_linux
    try:
        punch(descriptor, offset, length)
    except (OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_HOLES:
            raise
        return False
    return True


def _write_zeros(descriptor: int, offset: int, end: int) -> None:
    for begin in range(offset, end, len(_ZERO_BLOCK)):
        write_all(descriptor, memoryview(_ZERO_BLOCK)[: end - begin], begin)


def write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """Write all of ``data`` at ``offset`` of an open file: pwrite(2) may take less at a time."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)
