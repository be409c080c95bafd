# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What prlctl and prlsrvctl print, as records. Pure, and tolerant of what their versions add to it.

Known of the real ones: text before and after the JSON, control characters in it, a UUID with braces or without, a
``Home`` that ends with a slash or is empty in a listing of all VMs, JSON of ``prlsrvctl info`` that is not quite JSON.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlError

STOPPED = "stopped"
SUSPENDED = "suspended"
PAUSED = "paused"
INVALID = "invalid"
_RUNNING = frozenset({"running", "starting", "resuming"})
# Escape sequences of terminals, and control characters other than white space.
_NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MEBIBYTES = re.compile(r"\s*([0-9]+)\s*(?:Mb|MB|MiB)?\s*\Z")
_ARRAY = re.compile(r"\[(?=\s*[{\]])")
_VM_HOME = re.compile(r'"VM home"\s*:\s*("(?:[^"\\]|\\.)*")')
_LARGEST_EXCERPT = 200


@dataclasses.dataclass(frozen=True)
class Disk:
    """A virtual disk; ``image`` is the path of its ``.hdd``."""

    name: str
    image: str
    size_mb: t.Optional[int]


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A network adapter; ``mac`` is twelve hexadecimal digits."""

    name: str
    type: str
    mac: str


@dataclasses.dataclass(frozen=True)
class VirtualMachine:
    """A registered VM. ``home`` is its bundle's path without a slash at the end, empty if prlctl does not tell it.

    ``state`` is what prlctl prints, in lower case. ``adapters`` is None if prlctl told nothing about the hardware.
    """

    uuid: str
    name: str
    state: str
    home: str = ""
    os: str = ""
    cpus: t.Optional[int] = None
    memory_mb: t.Optional[int] = None
    disks: t.Tuple[Disk, ...] = ()
    adapters: t.Optional[t.Tuple[Adapter, ...]] = None

    @property
    def runs(self) -> bool:
        """True if the VM runs, or is about to."""
        return self.state in _RUNNING

    @property
    def is_invalid(self) -> bool:
        """True if Parallels Desktop cannot read the VM's configuration, or does not find its bundle."""
        return self.state == INVALID

    @property
    def is_macos(self) -> bool:
        """True if it is a macOS VM of Apple silicon (.macvm), as far as its home or else its ``os`` tells."""
        if self.home:
            return self.home.endswith(".macvm")
        return self.os.lower().startswith("macos")


def parse_machines(output: str) -> t.Tuple[VirtualMachine, ...]:
    """Return the VMs of ``prlctl list … -i --json``.

    :raises PrlctlError: there is no such listing in the output
    """
    text = _NOISE.sub("", output)
    for items in _arrays(text):
        if items and all(isinstance(item, dict) and isinstance(item.get("ID"), str) for item in items):
            return tuple(_machine(item) for item in items)
    # An empty array counts only if no record can have been lost beside it.
    if "{" not in text and any(not items for items in _arrays(text)):
        return ()
    raise PrlctlError(
        f"Reading the list of virtual machines failed: prlctl printed {_excerpt(output)}.",
        "See what prlctl list -a -i --json prints in a terminal of that user on the Mac.",
    )


def parse_vm_home(output: str) -> t.Optional[str]:
    """Return the directory for new VMs out of ``prlsrvctl info --json``, or None if it is not in there."""
    found = _VM_HOME.search(_NOISE.sub("", output))
    if found is None:
        return None
    try:
        return str(json.loads(found.group(1))) or None
    except ValueError:
        return None


def normal_uuid(text: str) -> str:
    """Return a UUID as we write it: in lower case, without braces."""
    return text.strip().strip("{}").lower()


def _arrays(text: str) -> t.Iterator[t.List[t.Any]]:
    """Every JSON array of objects, or empty one, that begins somewhere in a text; outermost first."""
    decoder = json.JSONDecoder(strict=False)
    start = _ARRAY.search(text)
    while start is not None:
        end = start.end()
        try:
            value, end = decoder.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            pass
        start = _ARRAY.search(text, end)


def _machine(item: t.Mapping[str, t.Any]) -> VirtualMachine:
    hardware = _mapping(item.get("Hardware"))
    cpus = _mapping(hardware.get("cpu")).get("cpus")
    return VirtualMachine(
        uuid=normal_uuid(item["ID"]),
        name=_text(item.get("Name")),
        state=_text(item.get("State")).lower(),
        home=_home(item),
        os=_text(item.get("OS")),
        cpus=cpus if isinstance(cpus, int) else None,
        memory_mb=_mebibytes(_mapping(hardware.get("memory")).get("size")),
        disks=tuple(
            Disk(name, _text(device.get("image")), _mebibytes(device.get("size")))
            for name, device in _devices(hardware, "hdd")
        ),
        adapters=tuple(
            Adapter(name, _text(device.get("type")), _text(device.get("mac")).replace(":", "").upper())
            for name, device in _devices(hardware, "net")
        )
        if hardware
        else None,
    )


def _home(item: t.Mapping[str, t.Any]) -> str:
    home = _text(item.get("Home")) or _text(item.get("Home path")).rpartition("/config.pvs")[0]
    return home.rstrip("/") if home != "/" else home


def _devices(hardware: t.Mapping[str, t.Any], kind: str) -> t.Iterator[t.Tuple[str, t.Mapping[str, t.Any]]]:
    for name in sorted(hardware):
        if re.fullmatch(kind + "[0-9]+", name) and isinstance(hardware[name], dict):
            yield name, hardware[name]


def _mapping(value: t.Any) -> t.Mapping[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _text(value: t.Any) -> str:
    return value if isinstance(value, str) else ""


def _mebibytes(value: t.Any) -> t.Optional[int]:
    found = _MEBIBYTES.match(value) if isinstance(value, str) else None
    return int(found.group(1)) if found else None


def _excerpt(output: str) -> str:
    shown = output.strip()
    if not shown:
        return "nothing"
    return repr(shown[:_LARGEST_EXCERPT]) + (" …" if len(shown) > _LARGEST_EXCERPT else "")
