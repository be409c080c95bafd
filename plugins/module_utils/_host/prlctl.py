# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Commands of Parallels Desktop, through a runner that is handed in.

The runner starts a program without a shell, ends its whole process group at the deadline and bounds what it reads.
prlctl shows each user the VMs of that user only, so the runner also decides whose they are.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import NEVER, delays
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    PrlctlError,
    PrlctlMissing,
    PrlctlTimeout,
    VmNotFound,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import (
    VirtualMachine,
    parse_machines,
    parse_vm_home,
)

# The PATH of an SSH session rarely has the first one.
_PLACES = (
    "/usr/local/bin/prlctl",
    "/usr/bin/prlctl",
    "/Applications/Parallels Desktop.app/Contents/MacOS/prlctl",
)
_LOGIN_FAILED = "Login failed:"
_NOT_FOUND = "could not be found"
_LOGIN_ATTEMPTS = 4
_LONGEST_REASON = 500
_HINT = "See whether it works in a terminal of that user on the Mac."
_HINTS = {
    "start": "See whether it starts in a terminal of that user on the Mac. Parallels Desktop may need that user to be "
    "logged in at the screen of the Mac.",
}

# How long each command may take. Listing starts the dispatcher if need be; deleting removes the files.
_LIST_SECONDS = 60.0
_SET_SECONDS = 60.0
REGISTER_SECONDS = 180.0
_START_SECONDS = 180.0
_STOP_SECONDS = 180.0
_DELETE_SECONDS = 600.0


class CommandResult(t.NamedTuple):
    """How a program ended. If ``timed_out``, its deadline ended it and the return code means nothing."""

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False


Runner = t.Callable[[t.Sequence[str], float], CommandResult]


def find_prlctl(search_path: t.Optional[str] = None) -> str:
    """Return the path of prlctl: from ``search_path`` (the PATH, if None), or where Parallels Desktop installs it.

    :raises PrlctlMissing: it is in none of these places
    """
    for candidate in (shutil.which("prlctl", path=search_path), *_PLACES):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise PrlctlMissing(
        "Looking for prlctl failed: Parallels Desktop is not installed on this host.",
        "Install Parallels Desktop (Pro, Business or Enterprise), or set prlctl_path.",
    )


class Prlctl:
    """prlctl at one path, and the prlsrvctl beside it."""

    def __init__(
        self,
        runner: Runner,
        executable: str,
        *,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
        login_delays: t.Callable[[], t.Iterable[float]] = lambda: itertools.islice(delays(NEVER), _LOGIN_ATTEMPTS - 1),
    ) -> None:
        self._runner = runner
        self._executable = executable
        self._sleep = sleep
        self._clock = clock
        self._login_delays = login_delays

    def list_machines(self) -> t.Tuple[VirtualMachine, ...]:
        """Return every VM of the user, running or not.

        ``home`` may be empty: some versions leave it out of a listing of all VMs, see :meth:`with_homes`.
        """
        return parse_machines(self._prlctl(["list", "-a", "-i", "--json"], _LIST_SECONDS))

    def with_homes(
        self, machines: t.Sequence[VirtualMachine], wanted: t.Callable[[VirtualMachine], bool]
    ) -> t.Tuple[VirtualMachine, ...]:
        """Return the VMs, with the ``home`` of each wanted one, as far as prlctl tells it.

        Each VM whose home is missing costs a call, so ask for few. All calls together have the deadline of one. A VM
        that cannot be listed alone stays as it is: Parallels Desktop itself does not know where it lies.
        """
        deadline = self._clock() + _LIST_SECONDS
        found = []
        for machine in machines:
            left_seconds = deadline - self._clock()
            if not machine.home and left_seconds > 0 and wanted(machine):
                with contextlib.suppress(PrlctlError):
                    machine = self._find(machine.uuid, left_seconds) or machine
            found.append(machine)
        return tuple(found)

    def find(self, uuid: str) -> t.Optional[VirtualMachine]:
        """Return the VM with that UUID, or None."""
        return self._find(uuid, _LIST_SECONDS)

    def _find(self, uuid: str, timeout_seconds: float) -> t.Optional[VirtualMachine]:
        try:
            output = self._prlctl(["list", uuid, "-a", "-i", "--json"], timeout_seconds)
        except VmNotFound:
            return None
        return next((machine for machine in parse_machines(output) if machine.uuid == uuid), None)

    def register(self, bundle: str, uuid: str) -> None:
        """Register a copy of a VM as a new one: its UUID is given, that of its source made anew."""
        self._prlctl(["register", bundle, "--uuid", uuid, "--regenerate-src-uuid"], REGISTER_SECONDS)

    def unregister(self, uuid: str) -> None:
        """Forget a VM; its bundle stays."""
        self._prlctl(["unregister", uuid], _SET_SECONDS)

    def rename(self, uuid: str, name: str) -> None:
        """Give a stopped VM another name."""
        self._prlctl(["set", uuid, "--name", name], _SET_SECONDS)

    def hide_window(self, uuid: str) -> None:
        """Have a stopped VM start without a window, and run on when a window of it is closed.

        macOS VMs (.macvm) do not have these settings.
        """
        self._prlctl(["set", uuid, "--startup-view", "headless", "--on-window-close", "keep-running"], _SET_SECONDS)

    def start(self, uuid: str) -> None:
        """Start a VM; does not wait for its guest."""
        self._prlctl(["start", uuid], _START_SECONDS)

    def resume(self, uuid: str) -> None:
        """Resume a suspended or paused VM."""
        self._prlctl(["resume", uuid], _START_SECONDS)

    def stop(self, uuid: str, timeout_seconds: float = _STOP_SECONDS) -> None:
        """Ask the guest to shut down, and wait until it has.

        :raises PrlctlTimeout: it still shuts down; prlctl was ended, the guest goes on
        """
        self._prlctl(["stop", uuid], timeout_seconds)

    def kill(self, uuid: str) -> None:
        """End a running VM at once, as if its plug was pulled."""
        self._prlctl(["stop", uuid, "--kill"], _STOP_SECONDS)

    def drop_state(self, uuid: str) -> None:
        """Make a suspended VM a stopped one; what was in its memory is lost."""
        self._prlctl(["stop", uuid, "--drop-state"], _STOP_SECONDS)

    def delete(self, uuid: str) -> None:
        """Remove a stopped VM with its bundle."""
        self._prlctl(["delete", uuid], _DELETE_SECONDS)

    def vm_home(self) -> t.Optional[str]:
        """Return the directory in which the user's new VMs are made, or None if prlsrvctl does not tell."""
        directory, name = os.path.split(self._executable)
        server = os.path.join(directory, name.replace("prlctl", "prlsrvctl"))
        return parse_vm_home(self._run([server, "info", "--json"], _LIST_SECONDS))

    def _prlctl(self, words: t.Sequence[str], timeout_seconds: float) -> str:
        return self._run([self._executable, *words], timeout_seconds)

    def _run(self, argv: t.Sequence[str], timeout_seconds: float) -> str:
        # "Login failed" means that the dispatcher is not ready: nothing was done, so any command may be repeated.
        for delay_seconds in self._login_delays():
            result = self._runner(argv, timeout_seconds)
            if not _is_login_failure(result):
                break
            self._sleep(delay_seconds)
        else:
            result = self._runner(argv, timeout_seconds)
        if result.timed_out:
            raise PrlctlTimeout(
                f"Running {_shown(argv)} failed: it had not ended after {timeout_seconds:g} s.",
                "Look whether Parallels Desktop waits for an answer on the screen of the Mac.",
            )
        if result.returncode != 0:
            raise _failure(argv, result)
        return result.stdout


def _is_login_failure(result: CommandResult) -> bool:
    return (
        not result.timed_out
        and result.returncode != 0
        and (_LOGIN_FAILED in result.stderr or _LOGIN_FAILED in result.stdout)
    )


def _failure(argv: t.Sequence[str], result: CommandResult) -> t.Union[PrlctlError, VmNotFound]:
    reason = " ".join((result.stderr.strip() or result.stdout.strip() or "it printed nothing").split())
    message = f"Running {_shown(argv)} failed with exit code {result.returncode}: {reason[:_LONGEST_REASON]}"
    if not message.endswith("."):
        message += "."
    details = {"returncode": result.returncode}
    if _NOT_FOUND in reason and argv[1] != "register":
        return VmNotFound(message, details=details)
    return PrlctlError(message, _HINTS.get(argv[1], _HINT), details)


def _shown(argv: t.Sequence[str]) -> str:
    return " ".join([os.path.basename(argv[0]), *(repr(word) if " " in word else word for word in argv[1:])])
