# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Commands of Parallels Desktop, through a runner that is handed in.

The runner starts a program without a shell, ends its whole process group at the deadline and bounds what it reads.
prlctl shows each user the VMs of that user only, so the runner also decides whose they are.
"""

from __future__ import annotations

import os
import shutil
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.retry import delays
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

# How long each command may take. Listing starts the dispatcher if need be; deleting removes the files.
_LIST_SECONDS = 60.0
_SET_SECONDS = 60.0
_REGISTER_SECONDS = 180.0
_START_SECONDS = 180.0
_STOP_SECONDS = 180.0
_DELETE_SECONDS = 600.0


class CommandResult(t.NamedTuple):
    """How a program ended. ``timed_out`` when its deadline did it; the return code means nothing then."""

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool = False


Runner = t.Callable[[t.Sequence[str], float], CommandResult]


def find_prlctl(search_path: t.Optional[str] = None) -> str:
    """The path of prlctl, from ``search_path`` (the PATH, if None) or where Parallels Desktop installs it.

    :raises PrlctlMissing: it is not there
    """
    for candidate in (shutil.which("prlctl", path=search_path), *_PLACES):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise PrlctlMissing(
        "Looking for prlctl failed: Parallels Desktop is not installed on this host.",
        "Install Parallels Desktop (Pro, Business or Enterprise), or tell the path of prlctl.",
    )


class Prlctl:
    """prlctl at one path, and the prlsrvctl beside it."""

    def __init__(
        self,
        runner: Runner,
        executable: str,
        *,
        sleep: t.Callable[[float], None] = time.sleep,
        login_delays: t.Callable[[], t.Iterable[float]] = lambda: delays(_LOGIN_ATTEMPTS),
    ) -> None:
        self._runner = runner
        self._executable = executable
        self._sleep = sleep
        self._login_delays = login_delays

    def list_machines(self) -> t.Tuple[VirtualMachine, ...]:
        """Every VM of the user, running or not."""
        machines = parse_machines(self._prlctl(["list", "-a", "-i", "--json"], _LIST_SECONDS))
        # Listing all of them may leave out where they lie; listing one does not.
        return tuple(machine if machine.home else self.find(machine.uuid) or machine for machine in machines)

    def find(self, uuid: str) -> t.Optional[VirtualMachine]:
        """The VM with that UUID, or None."""
        try:
            output = self._prlctl(["list", uuid, "-a", "-i", "--json"], _LIST_SECONDS)
        except VmNotFound:
            return None
        return next((machine for machine in parse_machines(output) if machine.uuid == uuid), None)

    def register(self, bundle: str, uuid: str) -> None:
        """Register a copy of a VM as a new one: its UUID is given, that of its source made anew."""
        self._prlctl(["register", bundle, "--uuid", uuid, "--regenerate-src-uuid"], _REGISTER_SECONDS)

    def unregister(self, uuid: str) -> None:
        """Forget a VM; its bundle stays."""
        self._prlctl(["unregister", uuid], _SET_SECONDS)

    def new_mac(self, uuid: str, adapter: str = "net0") -> None:
        """Give a network adapter of a stopped VM an address of its own."""
        self._prlctl(["set", uuid, "--device-set", adapter, "--mac", "auto"], _SET_SECONDS)

    def rename(self, uuid: str, name: str) -> None:
        """Give a stopped VM another name."""
        self._prlctl(["set", uuid, "--name", name], _SET_SECONDS)

    def start(self, uuid: str) -> None:
        """Start a VM; does not wait for its guest."""
        self._prlctl(["start", uuid], _START_SECONDS)

    def resume(self, uuid: str) -> None:
        """Let a suspended or paused VM go on."""
        self._prlctl(["resume", uuid], _START_SECONDS)

    def stop(self, uuid: str, kill: bool = False) -> None:
        """Shut a VM down, or with ``kill`` pull its plug."""
        self._prlctl(["stop", uuid, *(["--kill"] if kill else [])], _STOP_SECONDS)

    def drop_state(self, uuid: str) -> None:
        """Stop a suspended VM, what was in its memory is lost."""
        self._prlctl(["stop", uuid, "--drop-state"], _STOP_SECONDS)

    def delete(self, uuid: str) -> None:
        """Remove a stopped VM with its bundle."""
        self._prlctl(["delete", uuid], _DELETE_SECONDS)

    def vm_home(self) -> t.Optional[str]:
        """The directory in which the user's new VMs are made, if prlsrvctl tells."""
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
    return PrlctlError(message, "See whether it works in a terminal of that user on the Mac.", details)


def _shown(argv: t.Sequence[str]) -> str:
    return " ".join([os.path.basename(argv[0]), *(repr(word) if " " in word else word for word in argv[1:])])
