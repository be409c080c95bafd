# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A copy of one file that shares its blocks with the original, or a sparse copy where the file system has no clones.

macOS clones by clonefile(2), Linux by the FICLONE ioctl (XFS, Btrfs).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import sys
import tempfile
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import write_all
from ansible_collections.macfleet.parallels.plugins.module_utils._host import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CloneFailed, translated

CLONEFILE = "clonefile"
REFLINK = "reflink"
COPY = "copy"

# xnu bsd/sys/clonefile.h
_CLONE_NOFOLLOW = 0x0001
_CLONE_NOOWNERCOPY = 0x0002
# linux/fs.h
_FICLONE = 0x40049409
# What a file system answers that has no clones, or does not reach the destination's volume; all else is a failure.
_NO_CLONES_ON_DARWIN = frozenset({errno.ENOTSUP, errno.EXDEV})
_NO_CLONES_ON_LINUX = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})
_BLOCK_BYTES = 1 << 20
# The smallest chunk of a pack: a hole in the cache stays one in a copy.
_PIECE_BYTES = 64 << 10
_ZERO_BLOCK = bytes(_BLOCK_BYTES)
_PROBE_BYTES = 64 << 10
_PROBE_PREFIX = ".macfleet-probe-"
# A probe takes less than a second. What one that was killed has left is removed by a later one.
_OLD_PROBE_SECONDS = 3600


class _Unsupported(Exception):
    """The file system has no clones here."""


def clone_file(source: str, destination: str, mode: int = 0o644) -> str:
    """Make ``destination`` a copy of ``source`` with the permissions ``mode``, and say how: clonefile, reflink, copy.

    The destination must not exist. It is not fsynced.
    """
    with translated(CloneFailed, f"Cloning {source} to {destination}"):
        return make_clone(source, destination, mode, durable=False)[0]


def probe(directory: str) -> bool:
    """Return True if clones work in a directory; writes a small file there and removes it."""
    with translated(CloneFailed, f"Trying whether {directory} can hold clones"):
        if not os.access(directory, os.W_OK) and os.path.isdir(directory):
            return False
        _discard_old_probes(directory)
        with tempfile.TemporaryDirectory(prefix=_PROBE_PREFIX, dir=directory) as scratch:
            source = os.path.join(scratch, "source")
            with open(source, "wb") as stream:
                stream.write(b"\1" * _PROBE_BYTES)
            return make_clone(source, os.path.join(scratch, "clone"), 0o600, durable=False)[0] != COPY


def _discard_old_probes(directory: str) -> None:
    with os.scandir(directory) as entries:
        probes = [entry for entry in entries if entry.name.startswith(_PROBE_PREFIX)]
    for entry in probes:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_PROBE_SECONDS:
                trees.remove(entry.path)


def make_clone(source: str, destination: str, mode: int, *, durable: bool) -> t.Tuple[str, int]:
    """As :func:`clone_file`, and fsynced if it is to be durable.

    Returns the method, and how many bytes were written instead of shared. Callers translate OSError.
    """
    try:
        if sys.platform == "darwin":
            _clonefile(source, destination)
            _finish_clone(destination, mode, durable)
            return CLONEFILE, 0
        _reflink(source, destination, mode, durable)
        return REFLINK, 0
    except _Unsupported:
        return COPY, _copy_sparse(source, destination, mode, durable)


def _finish_clone(path: str, mode: int, durable: bool) -> None:
    """Give a new clone, which has the flags and permissions of its original, its own."""
    try:
        trees.unlock(path, os.lstat(path))
        os.chmod(path, mode)
        if durable:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException:
        trees.remove(path)
        raise


def _clonefile(source: str, destination: str) -> None:
    try:
        function = ctypes.CDLL(None, use_errno=True).clonefile
    except AttributeError:
        raise _Unsupported from None
    flags = ctypes.c_uint32(_CLONE_NOFOLLOW | _CLONE_NOOWNERCOPY)
    if function(os.fsencode(source), os.fsencode(destination), flags) != 0:
        number = ctypes.get_errno()
        if number in _NO_CLONES_ON_DARWIN:
            raise _Unsupported
        raise OSError(number, os.strerror(number), destination)


def _reflink(source: str, destination: str, mode: int, durable: bool) -> None:
    source_descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        with _NewFile(destination, mode, durable) as descriptor:
            try:
                fcntl.ioctl(descriptor, _FICLONE, source_descriptor)
            except OSError as error:
                if error.errno in _NO_CLONES_ON_LINUX:
                    raise _Unsupported from error
                raise
    finally:
        os.close(source_descriptor)


def _copy_sparse(source: str, destination: str, mode: int, durable: bool) -> int:
    """Copy what is not zero; holes are found by looking at the bytes, since APFS has reported data as holes."""
    copied = offset = 0
    new_file = _NewFile(destination, mode, durable)
    with open(source, "rb", buffering=0, opener=_open_no_follow) as stream, new_file as descriptor:
        # Most files of a bundle are small, and there may be thousands.
        buffer = bytearray(max(1, min(_BLOCK_BYTES, os.fstat(stream.fileno()).st_size)))
        while True:
            count = stream.readinto(buffer)
            if not count:
                break
            for begin, end in _data_runs(buffer, count):
                write_all(descriptor, memoryview(buffer)[begin:end], offset + begin)
                copied += end - begin
            offset += count
        os.ftruncate(descriptor, offset)
    return copied


def _data_runs(buffer: bytearray, count: int) -> t.Iterator[t.Tuple[int, int]]:
    """Begin and end of what is not zero in the first bytes of a block, in whole pieces."""
    # Only bytes and bytearray compare by memcmp.
    if (buffer if count == _BLOCK_BYTES else buffer[:count]) == _ZERO_BLOCK[:count]:
        return
    begin = 0
    for start in range(0, count, _PIECE_BYTES):
        piece = buffer[start : min(start + _PIECE_BYTES, count)]
        if piece == _ZERO_BLOCK[: len(piece)]:
            if begin < start:
                yield begin, start
            begin = start + len(piece)
    if begin < count:
        yield begin, count


def _open_no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


class _NewFile:
    """A file that did not exist before, and does not afterwards if the block fails; fsynced if it is to be durable."""

    def __init__(self, path: str, mode: int, durable: bool) -> None:
        self._path = path
        self._mode = mode
        self._durable = durable
        self._descriptor = -1

    def __enter__(self) -> int:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        return self._descriptor

    def __exit__(self, kind: t.Optional[t.Type[BaseException]], *_rest: t.Any) -> None:
        try:
            if kind is None:
                os.fchmod(self._descriptor, self._mode)
                if self._durable:
                    os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            if kind is not None:
                os.unlink(self._path)
