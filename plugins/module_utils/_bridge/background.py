# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""A module that leaves its task and works on in the background when it has many bytes to move.

The process that Ansible started forks before it has done anything else, and waits: the child does the work. Short work
ends as always: the child prints the result, the parent exits as the child did. When work turns out to be long, the
child says where to look for it and leaves the session; the parent prints that and exits. The action plugin watches the
child from then on (``plugin_utils/_background.py``). So nothing is planned or uploaded twice.

The fork comes first because of macOS: its libraries may be used in a forked process as long as the parent has not
used them.

Beside the progress file there are ``.lock``, locked (flock) as long as the child lives, ``.watched``, which each poll
of the controller touches, ``.cancel``, which the controller makes to end the transfer, and ``.result``, which the
child writes at its end. A transfer that is not polled any more ends by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base import holders
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError

CANCEL_SUFFIX = ".cancel"
LOCK_SUFFIX = ".lock"
RESULT_SUFFIX = ".result"
WATCHED_SUFFIX = ".watched"
# A transfer that was not polled for so long cancels itself. The controller tries for 900 seconds to reach a host again,
# and a poll may take two minutes: if it succeeds, it finds its transfer running.
UNWATCHED_SECONDS = 1200.0
# The names of all files of jobs begin so.
NAME_PREFIX = "macfleet-"
# A file that is older belongs to no job: a transfer ends after 24 hours, with its last grant.
_STALE_SECONDS = 48 * 3600
# How a file of a job is made: only where nothing is.
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cancelled(CatalogError):
    """The controller cancelled the transfer."""

    code = "cancelled"

    def __init__(self) -> None:
        super().__init__(
            "The transfer was cancelled by the controller.", "Run the task again; it resumes where it was."
        )


class Unwatched(CatalogError):
    """The controller does not watch the transfer any more."""

    code = "unwatched"


class NoJobDirectory(CatalogError):
    """The files of a transfer in the background cannot be made."""

    code = "no_job_directory"

    def __init__(self, directory: str, error: OSError) -> None:
        super().__init__(
            f"The files of a transfer in the background cannot be made in {directory}: {error.strerror or error}.",
            "Set ansible_async_dir to a directory in which the user of the task may write.",
        )


class ResultLost(CatalogError):
    """The work is done, but its result could not be written."""

    code = "result_lost"


class Job:
    """The work of a module, in the child."""

    def __init__(self, path: str, to_parent: int) -> None:
        self._path = path
        self._to_parent = to_parent
        self._lock: t.Optional[int] = None

    @property
    def detached(self) -> bool:
        """Return True if the task does not wait for this process any more."""
        return self._lock is not None

    def detach(self) -> None:
        """Leave the task as soon as it is known that the work is long. Any further call does nothing.

        :raises Cancelled: the controller has already cancelled the transfer
        :raises Unwatched: the process that would tell the controller has ended
        :raises NoJobDirectory: the files of the job cannot be made
        """
        if self.detached:
            return
        if os.path.exists(self._path + CANCEL_SUFFIX):
            self._remove_files()
            raise Cancelled()
        lock = self._make_files()
        os.setsid()
        place = {"path": self._path, "pid": os.getpid(), "python": sys.executable}
        try:
            os.write(self._to_parent, json.dumps(place).encode("ascii"))
            os.close(self._to_parent)
        except OSError as error:
            self._remove_files()
            raise Unwatched("The task ended before its transfer began.", "Run the task again.") from error
        # Ansible waits until nobody has these open any more.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        self._lock = lock

    def _make_files(self) -> int:
        """Return a descriptor of the lock, which is held."""
        directory = os.path.dirname(self._path)
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            _remove_stale_files(directory)
            os.close(os.open(self._path, NEW_FILE, 0o600))
            lock = os.open(self._path + LOCK_SUFFIX, NEW_FILE, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._remove_files()
            raise NoJobDirectory(directory, error) from error
        return lock

    def publish(self, result: t.Mapping[str, t.Any]) -> None:
        """Leave the result where the controller takes it. The directory may have been removed, or the disk be full."""
        if os.path.exists(self._path + CANCEL_SUFFIX):
            # The controller does not wait for the result of what it has cancelled.
            self._remove_files()
            return
        written = self._path + RESULT_SUFFIX
        try:
            os.makedirs(os.path.dirname(written), 0o700, exist_ok=True)
            _write_new(written + ".new", json.dumps(result))
            os.rename(written + ".new", written)
        except OSError as error:
            self._publish_briefly(result, error)
        # The controller need not wait until this process has tidied up.
        if self._lock is not None:
            os.close(self._lock)

    def _publish_briefly(self, result: t.Mapping[str, t.Any], error: OSError) -> None:
        """Write why it failed over the progress, whose file has its room on the disk already."""
        brief = {name: result.get(name) for name in ("failed", "msg", "error_code", "hint")}
        if not result.get("failed"):
            lost = ResultLost(f"The work is done, but its result could not be written: {error.strerror}.")
            brief = {"failed": True, "msg": str(lost), "error_code": lost.code, "hint": "Make room, and run it again."}
        with contextlib.suppress(OSError), open(self._path, "r+b") as stream:
            stream.write(json.dumps({"result": brief}).encode("ascii").ljust(os.fstat(stream.fileno()).st_size))

    def _remove_files(self) -> None:
        for suffix in ("", LOCK_SUFFIX, WATCHED_SUFFIX, CANCEL_SUFFIX):
            with contextlib.suppress(OSError):
                os.unlink(self._path + suffix)


def begin(path: str) -> Job:
    """Fork. Only the child returns; the parent waits for it, and exits.

    ``path`` is that of the progress file.
    """
    from_child, to_parent = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(to_parent)
        _wait_for(child, from_child)
    os.close(from_child)
    return Job(path, to_parent)


def _wait_for(child: int, from_child: int) -> t.NoReturn:
    """Exit as the child does, or when it has left the task.

    Nothing of the module's own way out is done here: what Ansible has unpacked belongs to the child.
    """
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    with open(from_child, "rb") as stream:
        place = stream.read()
    if not place:
        _exit_like(child)
    try:
        sys.stdout.write(json.dumps({"changed": False, "transfer": json.loads(place)}) + "\n")
        sys.stdout.flush()
    except OSError:
        # Nobody reads the answer, so nobody will watch the transfer.
        os.kill(child, signal.SIGTERM)
    os._exit(0)


def _exit_like(child: int) -> t.NoReturn:
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _write_new(path: str, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with open(os.open(path, NEW_FILE, 0o600), "w", encoding="ascii") as stream:
        stream.write(text)


def _remove_stale_files(directory: str) -> None:
    """Remove the files of jobs whose result was never fetched. The lock of a job that still runs stays."""
    oldest = time.time() - _STALE_SECONDS
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            if name.startswith(NAME_PREFIX) and os.lstat(path).st_mtime < oldest and not holders.is_held(path):
                os.unlink(path)
