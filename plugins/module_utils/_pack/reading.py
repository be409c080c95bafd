# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Reads files of a bundle, and says of each that cannot be read which it is and why.

An ``OSError`` of a read through a descriptor has no file name, so every read is made inside ``reading``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    BundleChanged,
    PackError,
    UnreadableBundle,
)

# It was there when the bundle was walked, and has another kind, or none, now.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})
_OWNER = "Run the task as the user who owns the virtual machine."
_VOLUME = "Connect the volume again, and push the bundle again."
# What an error number means for a file of a bundle, and what to do. macOS answers EDEADLK when a file was evicted to
# iCloud and the process may not wait for its download, and EPERM where its privacy protection keeps a program out.
_MEANINGS: t.Mapping[int, tuple[str, str]] = {
    errno.EDEADLK: (
        "it is in iCloud and not downloaded to this Mac",
        "Download the bundle in Finder (Download Now), or keep virtual machines outside of iCloud Drive.",
    ),
    errno.EIO: (
        "the disk cannot read a part of it",
        "Check the disk with Disk Utility, and restore the virtual machine from a backup.",
    ),
    errno.EACCES: ("this user may not read it", _OWNER),
    errno.EPERM: (
        "this user may not read it, or macOS protects it from this program",
        f"{_OWNER} If that is so, give the program that runs Python Full Disk Access in System Settings.",
    ),
    errno.ENXIO: ("its volume is not there any more", _VOLUME),
    errno.ENODEV: ("its volume is not there any more", _VOLUME),
    errno.ESTALE: ("its file server does not know it any more", _VOLUME),
    errno.ETIMEDOUT: ("its file server or iCloud did not answer", _VOLUME),
    errno.EMFILE: (
        "this process has too many open files",
        "Raise the limit (ulimit -n) of the user who runs the task.",
    ),
    errno.ENFILE: ("this host has too many open files", "Close programs on the host, and push the bundle again."),
}
_OTHER_HINT = "Look at the file on this host, and push the bundle again."


@contextlib.contextmanager
def reading(root: str, path: str) -> t.Iterator[None]:
    """Translate an ``OSError`` of what is done inside with the bundle ``root``.

    ``path`` is the file or directory that it is about, unless the error itself names one.

    :raises BundleChanged: it is not there any more
    :raises UnreadableBundle: it cannot be read
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, root, path) from error


def _translated(error: OSError, root: str, path: str) -> PackError:
    number = error.errno or 0
    if isinstance(error.filename, str) and error.filename.startswith(f"{root}/"):
        path = error.filename[len(root) + 1 :]
    reason = error.strerror or str(error)
    if number in _GONE:
        return BundleChanged(
            f"{path} in the bundle {root} is not there any more ({reason}).",
            hint="Leave the bundle alone while it is read, and push it again.",
            details={"path": path},
        )
    meaning, hint = _MEANINGS.get(number, ("", _OTHER_HINT))
    why = f"{meaning} ({reason})" if meaning else reason
    return UnreadableBundle(
        f"{path or 'The directory'} in the bundle {root} cannot be read: {why}.",
        hint=hint,
        details={"path": path, "errno": errno.errorcode.get(number, str(number)), "reason": reason},
    )


def open_file(root: str, path: str) -> int:
    """Returns a descriptor for reading one file of a bundle.

    :raises BundleChanged: it is not there, or is a link
    :raises UnreadableBundle: it cannot be opened
    """
    with reading(root, path):
        return open_regular(os.path.join(root, path))


def open_regular(path: str) -> int:
    """Returns a descriptor for reading a file; a link in its place is refused by an ``OSError``."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` from ``offset`` of a file; returns the number of bytes that were there."""
    done = 0
    while done < len(view):
        count = _read_once(descriptor, view[done:], offset + done)
        if count == 0:
            break
        done += count
    return done


def _read_once(descriptor: int, view: memoryview, offset: int) -> int:
    # A Python that was built for macOS 10.15 or older has no preadv.
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, len(view), offset)
    view[: len(data)] = data
    return len(data)


def read_range(root: str, path: str, offset: int, length: int) -> bytes:
    """Returns up to ``length`` bytes of one file of a bundle; fewer at its end.

    :raises BundleChanged, UnreadableBundle: see ``reading``
    """
    descriptor = open_file(root, path)
    try:
        with reading(root, path):
            data = bytearray(length)
            with memoryview(data) as view:
                count = read_into(descriptor, view, offset)
            return bytes(data[:count])
    finally:
        os.close(descriptor)
