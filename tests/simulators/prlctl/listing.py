# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``prlctl list``: with the keys, the spellings and the quirks of Parallels Desktop."""

from __future__ import annotations

import os
import time
import typing as t

from .arguments import Arguments, JsonObject, Refused
from .bundle import Bundle
from .server import BUILD, VERSION, as_json
from .state import INVALID, RUNNING, Dispatcher, Machine


def do_list(dispatcher: Dispatcher, words: t.Sequence[str], fault: JsonObject) -> str:
    flags = ("--all", "--info", "--json", "--full", "--template", "--no-header")
    arguments = Arguments(words, dict.fromkeys(flags, False), (0, 1))
    behaviour = dispatcher.behaviour
    if arguments.operands:
        machines = [dispatcher.get(arguments.operands[0])]
        if machines[0].uuid in behaviour.half_known:
            raise Refused("Failed to get VM config: The virtual machine configuration file cannot be opened.")
    else:
        machines = sorted(dispatcher.machines.values(), key=lambda machine: machine.name)
        if arguments.has("--template"):
            machines = []
        elif not arguments.has("--all"):
            machines = [machine for machine in machines if machine.state == RUNNING]
    if arguments.has("--info"):
        documents = [
            half_information(machine) if machine.uuid in behaviour.half_known else information(machine)
            for machine in machines
        ]
        if (fault.get("empty_home") or behaviour.empty_home) and not arguments.operands:
            for document in documents:
                document["Home"] = document["Home path"] = ""
    else:
        documents = [
            {
                "uuid": machine.uuid,
                "status": machine.present_state,
                **({"ip_configured": "-"} if arguments.has("--full") else {}),
                "name": machine.name,
            }
            for machine in machines
        ]
    if arguments.has("--json"):
        return with_noise(as_json(documents), behaviour.noise)
    if arguments.has("--info"):
        return "\n".join(
            f"INFO\nID: {{{document['ID']}}}\nName: {document['Name']}\nState: {document['State']}\n"
            for document in documents
        )
    lines = [f"{{{machine.uuid}}}  {machine.present_state:<12} -               {machine.name}" for machine in machines]
    header = [] if arguments.has("--no-header") else [f"{'UUID':<38}  {'STATUS':<12} {'IP_ADDR':<15} NAME"]
    return "\n".join([*header, *lines]) + "\n"


def with_noise(output: str, noise: t.Sequence[str]) -> str:
    """Put into and around a listing what users of the real one have found there."""
    if "nul" in noise:
        output = output.replace('"State"', '\0"State"')
    if "escape" in noise:
        output = "\x1b[0;32m" + output.replace('"OS": "', '"OS": "\x1b[1m') + "\x1b[0m"
    if "warning" in noise:
        output = "[WARNING] prl_client_app: [1] could not connect\n" + output + "\n[done]\n"
    if "progress" in noise:
        output = "Operation progress ... 5%\rOperation progress ... 6%" + output
    if "bom" in noise:
        output = "\ufeff" + output
    return output


def half_information(machine: Machine) -> JsonObject:
    """Return a VM of which the dispatcher knows the bare essentials."""
    return {"ID": machine.uuid, "Name": machine.name, "State": INVALID, "Home": ""}


def information(machine: Machine) -> JsonObject:
    """One VM of ``list --info``; with the keys and spellings of Parallels Desktop."""
    bundle = machine.bundle
    uptime = int(time.time() - machine.started_at) if machine.state == RUNNING else 0
    document: JsonObject = {
        "ID": machine.uuid,
        "Name": machine.name,
        "Description": bundle.text("Settings/General/VmDescription") if bundle else "",
        "Type": "VM",
        "State": machine.present_state,
        "OS": bundle.text("Settings/General/OsType", "other") if bundle else "",
        "Template": "no",
        "Uptime": str(uptime),
        "Home path": machine.home + "/config.pvs",
        "Home": machine.home + "/",
    }
    if bundle is None:
        return document
    document.update(
        {
            "GuestTools": {"state": "possibly_installed", "version": f"{VERSION}-{BUILD}"},
            "Startup and Shutdown": {
                "Autostart": "off",
                "Autostart delay": 0,
                "Autostop": "suspend",
                "Startup view": bundle.text("Settings/Startup/StartupView", "window"),
                "On shutdown": "close",
                "On window close": bundle.text("Settings/Shutdown/OnWindowClose", "suspend"),
                "Pause idle": "off",
                "Undo disks": "off",
            },
            "Optimization": {
                "Faster virtual machine": "on",
                "Hypervisor type": "apple" if bundle.is_mac else "parallels",
            },
            "Travel mode": {"Enter condition": "never", "Enter threshold": 0, "Quit condition": "never"},
            "Security": {
                "Encrypted": "no",
                "Custom password protection": "off",
                "Configuration is locked": "no",
                "Protected": "no",
                "Archived": "no",
                "Packed": "no",
            },
            "Smart Guard": {"enabled": False},
            "Time Synchronization": {"enabled": True, "Smart mode": "off", "Interval (in seconds)": 60},
            "Expiration": {"enabled": False},
            "Boot order": "hdd0 cdrom0 net0 ",
            "BIOS type": "efi-arm64",
            "Hardware": hardware(machine, bundle),
            "Host Shared Folders": {"enabled": True},
            "Advanced": {"VM hostname synchronization": "off", "Public SSH keys synchronization": "off"},
        }
    )
    return document


def hardware(machine: Machine, bundle: Bundle) -> JsonObject:
    devices: JsonObject = {
        "cpu": {
            "cpus": int(bundle.text("Hardware/Cpu/Number", "2")),
            "auto": "off",
            "VT-x": True,
            "hotplug": False,
            "accl": "high",
            "mode": "64",
            "type": "arm",
        },
        "memory": {"size": bundle.text("Hardware/Memory/RAM", "4096") + "Mb", "auto": "off", "hotplug": False},
        "video": {"adapter-type": "virtio", "size": "0Mb", "3d-acceleration": "highest", "vertical-sync": "yes"},
        "memory_quota": {"auto": "auto"},
    }
    for number, (name, size) in enumerate(bundle.disks()):
        devices[f"hdd{number}"] = {
            "enabled": True,
            "port": f"sata:{number}",
            "image": os.path.join(machine.home, name),
            "type": "expanded",
            "size": size + "Mb",
            "online-compact": "off",
        }
    devices["usb"] = {"enabled": True}
    for number, mac in enumerate(bundle.macs()):
        devices[f"net{number}"] = {"enabled": True, "type": "shared", "mac": mac, "card": "virtio", "dhcp": "yes"}
    return devices
