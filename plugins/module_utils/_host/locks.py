# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Locks between processes of one user, by ``flock(2)``.

The kernel releases a lock when its process ends, however it ends; so there is no stale lock to break. The lock file
only says who holds it, for the message that the others give. It stays, unless whoever uses it says otherwise: a process
that waits on a file which another one unlinks would hold a lock on nothing, so it has to look again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import socket
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    CacheLocked,
    DirectoryLocked,
    from_os_error,
)

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
_LARGEST_HOLDER_BYTES = 4096
# How many removed files in a row are locked before that is an error.
_MOST_FILES = 1000


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who holds a lock, as far as its file tells."""

    what: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host}, since {self.since})"


_UNKNOWN_HOLDER = "another process"


@contextlib.contextmanager
def hold(
    path: str,
    holder: str,
    timeout_seconds: float,
    on_wait: t.Optional[t.Callable[[str], None]] = None,
    shared: bool = False,
    alive: t.Callable[[], None] = lambda: None,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
    leaves_file: bool = True,
    on_left: t.Callable[[str], None] = lambda _sentence: None,
) -> t.Iterator[None]:
    """Hold the lock at ``path`` for the block; ``holder`` says in a few words what for.

    ``on_wait`` is called once, with the present holder, if the lock is not free at once; ``alive`` each time that it
    is not, and an exception of it ends the waiting. After ``timeout_seconds`` of waiting CacheLocked is raised. Any
    number may hold a ``shared`` lock together, or one alone an exclusive one. With ``leaves_file`` False the file of an
    exclusive lock is removed at the end, for directories that are not ours alone; everybody who uses that lock must
    then say so. If that is refused, ``on_left`` is given a sentence about it: what was done under the lock is done.
    """
    deadline, left_seconds = clock() + timeout_seconds, timeout_seconds
    for _file in range(_MOST_FILES):
        descriptor = _open(path)
        try:
            _acquire(descriptor, path, left_seconds, on_wait, shared, alive, clock, sleep)
            # Whoever held it, or who cleans up, may have removed the file meanwhile: this would be a lock on nothing.
            if _is_at(descriptor, path):
                _write_holder(descriptor, holder)
                try:
                    yield
                finally:
                    # Others may hold a shared one, and another file in its place is the lock of somebody else.
                    if not leaves_file and not shared and _is_at(descriptor, path):
                        _remove(path, on_left)
                return
        finally:
            os.close(descriptor)
        left_seconds = max(0.0, deadline - clock())
    raise CacheLocked(
        f"Locking {path} failed: the file was removed {_MOST_FILES} times while it was being locked.",
        "Find out what removes it, then run the task again.",
    )


@contextlib.contextmanager
def hold_directory(path: str, doing: str) -> t.Iterator[None]:
    """Hold the lock of a directory that we may not be able to write to; does not wait.

    :raises DirectoryLocked: another process holds it
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise from_os_error(CacheError, f"Opening {path}", error) from error
    try:
        if not _try_lock(descriptor, fcntl.LOCK_EX):
            raise DirectoryLocked(
                f"Locking {path} for {doing} failed: another process does the same.", "Wait until that has ended."
            )
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    """Return True if an open file still has that path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove(path: str, on_left: t.Callable[[str], None]) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        on_left(f"The lock file {path} cannot be removed: {error.strerror or error}. It does no harm.")


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise from_os_error(CacheError, f"Opening the lock {path}", error) from error


def _acquire(
    descriptor: int,
    path: str,
    timeout_seconds: float,
    on_wait: t.Optional[t.Callable[[str], None]],
    shared: bool,
    alive: t.Callable[[], None],
    clock: t.Callable[[], float],
    sleep: t.Callable[[float], None],
) -> None:
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = clock() + timeout_seconds
    pause_seconds = _FIRST_PAUSE_SECONDS
    announced = False
    # flock(2) waits for ever or not at all, and a signal as its deadline would belong to the whole process.
    while not _try_lock(descriptor, operation):
        present = _read_holder(descriptor)
        if on_wait is not None and not announced:
            on_wait(present)
            announced = True
        alive()
        left_seconds = deadline - clock()
        if left_seconds <= 0:
            raise CacheLocked(
                f"Locking {path} failed after {timeout_seconds:g} s: it is held by {present}.",
                "Wait until that has ended, or raise the lock timeout.",
                {"holder": present},
            )
        sleep(min(pause_seconds, left_seconds))
        pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)


def _try_lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
        raise from_os_error(CacheError, "Locking a file of the cache", error) from error
    return True


def _write_holder(descriptor: int, what: str) -> None:
    holder = Holder(what, os.getpid(), socket.gethostname(), utc_text(time.time()))
    data = json.dumps(dataclasses.asdict(holder)).encode()
    # A full disk must not keep anyone from locking: the text is a courtesy to whoever waits.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data[:_LARGEST_HOLDER_BYTES], 0)


def _read_holder(descriptor: int) -> str:
    try:
        record = json.loads(os.pread(descriptor, _LARGEST_HOLDER_BYTES, 0))
        return str(Holder(str(record["what"]), int(record["pid"]), str(record["host"]), str(record["since"])))
    except (OSError, ValueError, KeyError, TypeError):
        return _UNKNOWN_HOLDER
