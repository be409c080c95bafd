# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Parallels Desktop remembers of one user: the registered VMs, and how this simulator behaves."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
import typing as t
from xml.etree import ElementTree

from .arguments import NOT_FOUND, JsonObject, Refused
from .bundle import Bundle

RUNNING, STOPPED, SUSPENDED, PAUSED, INVALID = "running", "stopped", "suspended", "paused", "invalid"
STOPPING = "stopping"


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """How Parallels Desktop and its guests behave; README.md explains each of these."""

    leaves_lock: bool = True
    paused_refuses_kill: bool = False
    lost_can_be_killed: bool = False
    stop_seconds: float = 0.0
    ignores_acpi: bool = False
    acpi_wait_seconds: float = 0.0
    renames_bundle: str = ""
    empty_home: bool = False
    half_known: t.Tuple[str, ...] = ()
    noise: t.Tuple[str, ...] = ()

    @classmethod
    def read(cls, directory: str) -> Behaviour:
        """Read ``behaviour.json`` of a user."""
        try:
            with open(os.path.join(directory, "behaviour.json"), encoding="utf-8") as stream:
                document = json.load(stream)
        except FileNotFoundError:
            return cls()
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in document.items()})


class Machine:
    """One registered VM. ``stops_at`` is the time at which its guest will have shut down, or 0."""

    def __init__(self, uuid: str, record: JsonObject) -> None:
        self.uuid = uuid
        self.home: str = record["home"]
        self.state: str = record["state"]
        self.last_name: str = record["last_name"]
        self.started_at: float = record["started_at"]
        self.stops_at: float = record.get("stops_at", 0.0)

    def record(self) -> JsonObject:
        """Return what ``state.json`` holds of it."""
        return {
            "home": self.home,
            "state": self.state,
            "last_name": self.last_name,
            "started_at": self.started_at,
            "stops_at": self.stops_at,
        }

    @property
    def bundle(self) -> t.Optional[Bundle]:
        """Its bundle, or None if that has gone or has no valid config.pvs."""
        try:
            return Bundle(self.home)
        except (OSError, ElementTree.ParseError):
            return None

    @property
    def name(self) -> str:
        """Its name; the last known one if the bundle cannot be read."""
        bundle = self.bundle
        return bundle.text("Identification/VmName") if bundle else self.last_name

    @property
    def present_state(self) -> str:
        """Its state as ``prlctl list`` prints it."""
        return self.state if self.bundle else INVALID


class Dispatcher:
    """The VMs of one user, to be used under the lock. ``wait_seconds`` is how long the command goes on waiting."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "state.json")
        self.behaviour = Behaviour.read(directory)
        self.wait_seconds = 0.0
        self.machines: t.Dict[str, Machine] = {}
        with contextlib.suppress(FileNotFoundError), open(self._path, encoding="utf-8") as stream:
            self.machines = {uuid: Machine(uuid, record) for uuid, record in json.load(stream).items()}
        for machine in self.machines.values():
            if machine.state == STOPPING and machine.stops_at <= time.time():
                self.power_off(machine, STOPPED)

    def save(self) -> None:
        """Write everything down, in one step."""
        document = {uuid: machine.record() for uuid, machine in self.machines.items()}
        temporary = f"{self._path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)
        os.rename(temporary, self._path)

    def get(self, wanted: str) -> Machine:
        """Return the VM with that UUID or name."""
        uuid = wanted.strip("{}").lower()
        if uuid in self.machines:
            return self.machines[uuid]
        for machine in self.machines.values():
            if machine.name == wanted:
                return machine
        raise Refused(NOT_FOUND)

    def power_off(self, machine: Machine, state: str) -> None:
        """Let the process of a VM end."""
        bundle = machine.bundle
        if bundle is not None:
            bundle.mark_in_use(False)
            if not self.behaviour.leaves_lock:
                bundle.unlock()
        machine.state = state
        machine.stops_at = 0.0


@contextlib.contextmanager
def locked(directory: str) -> t.Iterator[None]:
    """Hold the lock of one user's Parallels Desktop."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
