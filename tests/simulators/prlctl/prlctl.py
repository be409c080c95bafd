# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""prlctl and prlsrvctl of Parallels Desktop, as far as this collection calls them.

One file without dependencies: installed as ``prlctl`` with a link ``prlsrvctl`` to it, on test hosts that are no
Macs. State is kept per user below ``~/.parallels-simulator``; README.md tells how to make it fail.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import re
import secrets
import shutil
import socket
import struct
import sys
import time
import typing as t
import uuid as uuids
from xml.etree import ElementTree

VERSION = "26.1.2"
BUILD = "57293"
USAGE_ERROR = 255
FAILURE = 255

RUNNING, STOPPED, SUSPENDED, PAUSED, INVALID = "running", "stopped", "suspended", "paused", "invalid"
MOST_RUNNING_MACS = 2

# In expandable disk images, while their VM runs and after it was shut down.
HDS_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
HDS_IN_USE_OFFSET = 44
HDS_IN_USE = 0x746F6E59
HDS_CLOSED = 0x312E3276

NOT_FOUND = (
    "Failed to get VM config: The virtual machine could not be found. The virtual machine is not registered in the "
    "virtual machine directory on your Mac."
)
BUSY = (
    "Unable to perform the action because the virtual machine is busy. The virtual machine is currently {state}. "
    "Please try again later."
)

JsonObject = t.Dict[str, t.Any]


class Refused(Exception):
    """The command fails with this text on standard error."""

    def __init__(self, text: str, code: int = FAILURE) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


# Arguments


class Arguments:
    """The words after the verb: operands, and options that the verb knows."""

    def __init__(self, words: t.Sequence[str], options: t.Mapping[str, bool], operands: t.Tuple[int, int]) -> None:
        self.operands: t.List[str] = []
        self.options: t.Dict[str, str] = {}
        waiting = list(words)
        while waiting:
            word = waiting.pop(0)
            if not word.startswith("-") or word == "-":
                self.operands.append(word)
                continue
            name = SHORT_OPTIONS.get(word, word)
            if name not in options:
                raise Refused(f"Unrecognized option: {word}\n{USAGE}", USAGE_ERROR)
            if options[name] and not waiting:
                raise Refused(f"Option {word} requires an argument\n{USAGE}", USAGE_ERROR)
            self.options[name] = waiting.pop(0) if options[name] else ""
        fewest, most = operands
        if not fewest <= len(self.operands) <= most:
            raise Refused(f"Incorrect usage: {' '.join(words)}\n{USAGE}", USAGE_ERROR)

    def has(self, name: str) -> bool:
        return name in self.options

    def get(self, name: str) -> t.Optional[str]:
        return self.options.get(name)


SHORT_OPTIONS = {"-a": "--all", "-i": "--info", "-j": "--json", "-f": "--full", "-t": "--template", "-L": "--license"}
USAGE = "Usage: prlctl <action> <ID | name> [options]"


# Bundles


class Bundle:
    """A directory with a config.pvs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.config_path = os.path.join(path, "config.pvs")
        self._tree = ElementTree.parse(self.config_path)
        if self._tree.getroot().tag != "ParallelsVirtualMachine":
            raise ElementTree.ParseError("not the configuration of a virtual machine")

    @property
    def is_mac(self) -> bool:
        return self.path.endswith(".macvm")

    def text(self, path: str, default: str = "") -> str:
        return self._tree.findtext(path) or default

    def set_text(self, path: str, text: str) -> None:
        element = self._tree.getroot()
        for tag in path.split("/"):
            found = element.find(tag)
            element = ElementTree.SubElement(element, tag) if found is None else found
        element.text = text

    def macs(self) -> t.List[str]:
        return [adapter.findtext("MAC") or "" for adapter in self._tree.findall("Hardware/NetworkAdapter")]

    def set_mac(self, number: int, mac: str) -> None:
        adapter = self._tree.findall("Hardware/NetworkAdapter")[number]
        element = adapter.find("MAC")
        if element is None:
            element = ElementTree.SubElement(adapter, "MAC")
        element.text = mac

    def disks(self) -> t.List[t.Tuple[str, str]]:
        return [
            (disk.findtext("SystemName") or "", disk.findtext("Size") or "65536")
            for disk in self._tree.findall("Hardware/Hdd")
        ]

    def save(self) -> None:
        with open(self.config_path, "wb") as stream:
            self._tree.write(stream, encoding="UTF-8", xml_declaration=True)

    def images(self) -> t.Iterator[str]:
        for directory, _names, files in os.walk(self.path):
            for name in files:
                if name.endswith(".hds"):
                    yield os.path.join(directory, name)

    def mark_in_use(self, in_use: bool) -> None:
        for image in self.images():
            with open(image, "r+b") as stream:
                if stream.read(16) in HDS_MAGICS:
                    stream.seek(HDS_IN_USE_OFFSET)
                    stream.write(struct.pack("<I", HDS_IN_USE if in_use else HDS_CLOSED))


def check_bundle(path: str) -> Bundle:
    """What Parallels Desktop wants to find in a bundle before it registers it."""
    if not os.path.isdir(path):
        raise Refused(f"Failed to register the VM: The virtual machine bundle {path} does not exist.")
    if path.endswith(".macvm"):
        wanted = ["config.pvs", "aux.bin", "machw.bin", "macid.bin"]
    elif path.endswith(".pvm"):
        wanted = ["config.pvs", "NVRAM.dat"]
    else:
        raise Refused(f"Failed to register the VM: {path} is not a virtual machine bundle.")
    for name in wanted:
        if not os.path.isfile(os.path.join(path, name)):
            raise Refused(f"Failed to register the VM: The file {name} is missing in {path}.")
    if not any(name.endswith(".hdd") for name in os.listdir(path)):
        raise Refused(f"Failed to register the VM: There is no virtual disk in {path}.")
    if not is_writable(path) or not is_writable(os.path.join(path, "config.pvs")):
        raise Refused(f"Failed to register the VM: You do not have enough rights to use {path}.")
    try:
        return Bundle(path)
    except (OSError, ElementTree.ParseError) as error:
        raise Refused(f"Failed to register the VM: The virtual machine configuration is invalid ({error}).") from error


def is_writable(path: str) -> bool:
    # The mode, since root could write anything.
    return bool(os.stat(path).st_mode & 0o200)


# State


class Machine:
    """One registered VM."""

    def __init__(self, uuid: str, record: JsonObject) -> None:
        self.uuid = uuid
        self.home: str = record["home"]
        self.state: str = record["state"]
        self.last_name: str = record["last_name"]
        self.started_at: float = record["started_at"]

    def record(self) -> JsonObject:
        return {
            "home": self.home,
            "state": self.state,
            "last_name": self.last_name,
            "started_at": self.started_at,
        }

    @property
    def bundle(self) -> t.Optional[Bundle]:
        try:
            return Bundle(self.home)
        except (OSError, ElementTree.ParseError):
            return None

    @property
    def name(self) -> str:
        bundle = self.bundle
        return bundle.text("Identification/VmName") if bundle else self.last_name

    @property
    def present_state(self) -> str:
        return self.state if self.bundle else INVALID


class Dispatcher:
    """The state of one user, to be used under its lock."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "state.json")
        self.machines: t.Dict[str, Machine] = {}
        with contextlib.suppress(FileNotFoundError), open(self._path, encoding="utf-8") as stream:
            self.machines = {uuid: Machine(uuid, record) for uuid, record in json.load(stream).items()}

    def save(self) -> None:
        document = {uuid: machine.record() for uuid, machine in self.machines.items()}
        temporary = f"{self._path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)
        os.rename(temporary, self._path)

    def get(self, wanted: str) -> Machine:
        uuid = wanted.strip("{}").lower()
        if uuid in self.machines:
            return self.machines[uuid]
        for machine in self.machines.values():
            if machine.name == wanted:
                return machine
        raise Refused(NOT_FOUND)


# The verbs of prlctl: each returns what goes to standard output


def do_list(dispatcher: Dispatcher, words: t.Sequence[str], fault: JsonObject) -> str:
    flags = ("--all", "--info", "--json", "--full", "--template", "--no-header")
    arguments = Arguments(words, dict.fromkeys(flags, False), (0, 1))
    if arguments.operands:
        machines = [dispatcher.get(arguments.operands[0])]
    else:
        machines = sorted(dispatcher.machines.values(), key=lambda machine: machine.name)
        if arguments.has("--template"):
            machines = []
        elif not arguments.has("--all"):
            machines = [machine for machine in machines if machine.state == RUNNING]
    if arguments.has("--info"):
        documents = [information(machine) for machine in machines]
        if fault.get("empty_home") and not arguments.operands:
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
        return as_json(documents)
    if arguments.has("--info"):
        return "\n".join(
            f"INFO\nID: {{{document['ID']}}}\nName: {document['Name']}\nState: {document['State']}\n"
            for document in documents
        )
    lines = [f"{{{machine.uuid}}}  {machine.present_state:<12} -               {machine.name}" for machine in machines]
    header = [] if arguments.has("--no-header") else [f"{'UUID':<38}  {'STATUS':<12} {'IP_ADDR':<15} NAME"]
    return "\n".join([*header, *lines]) + "\n"


def do_register(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    options = {
        "--uuid": True,
        "--regenerate-src-uuid": False,
        "--preserve-uuid": False,
        "--force": False,
        "--delay-applying-restrictions": False,
    }
    arguments = Arguments(words, options, (1, 1))
    if arguments.has("--uuid") and arguments.has("--preserve-uuid"):
        raise Refused(f"Options --uuid and --preserve-uuid exclude each other\n{USAGE}", USAGE_ERROR)
    home = os.path.abspath(arguments.operands[0])
    bundle = check_bundle(home)
    own = bundle.text("Identification/VmUuid")
    uuid = checked_uuid(arguments.get("--uuid") or own)
    name = bundle.text("Identification/VmName", os.path.splitext(os.path.basename(home))[0])
    for machine in dispatcher.machines.values():
        if machine.uuid == uuid or os.path.realpath(machine.home) == os.path.realpath(home):
            raise Refused(f'Failed to register the VM: "{machine.name}" is already registered.')
    bundle.set_text("Identification/VmUuid", f"{{{uuid}}}")
    bundle.set_text("Identification/VmName", name)
    if arguments.has("--regenerate-src-uuid"):
        bundle.set_text("Identification/SourceVmUuid", f"{{{uuids.uuid4()}}}")
    bundle.save()
    record = {"home": home, "state": STOPPED, "last_name": name, "started_at": 0}
    dispatcher.machines[uuid] = Machine(uuid, record)
    return "Register the VM...\nThe VM has been successfully registered.\n"


def do_unregister(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {"--clean-src-uuid": False}, (1, 1)).operands[0])
    refuse_unless_at_rest(machine, "Failed to unregister the VM")
    del dispatcher.machines[machine.uuid]
    return "Unregister the VM...\nThe VM has been successfully unregistered.\n"


def do_delete(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {}, (1, 1)).operands[0])
    refuse_unless_at_rest(machine, "Failed to remove the VM")
    if machine.bundle is None:
        raise Refused("Failed to remove the VM: The virtual machine configuration file cannot be opened.")
    shutil.rmtree(machine.home)
    del dispatcher.machines[machine.uuid]
    return "Removing the VM...\nThe VM has been successfully removed.\n"


def do_start(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {}, (1, 1)).operands[0])
    if machine.present_state not in {STOPPED, SUSPENDED}:
        raise Refused(f"Failed to start the VM: Unable to start a virtual machine that is {machine.present_state}.")
    power_on(dispatcher, machine)
    return "Starting the VM...\nThe VM has been successfully started.\n"


def do_resume(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {}, (1, 1)).operands[0])
    if machine.present_state not in {SUSPENDED, PAUSED}:
        raise Refused("Failed to resume the VM: The virtual machine is not suspended or paused.")
    power_on(dispatcher, machine)
    return "Resuming the VM...\nThe VM has been successfully resumed.\n"


def do_suspend(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {}, (1, 1)).operands[0])
    require_running(machine, "Failed to suspend the VM")
    power_off(machine, SUSPENDED)
    return "Suspending the VM...\nThe VM has been successfully suspended.\n"


def do_pause(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    machine = dispatcher.get(Arguments(words, {"--acpi": False}, (1, 1)).operands[0])
    require_running(machine, "Failed to pause the VM")
    machine.state = PAUSED
    return "Pausing the VM...\nThe VM has been successfully paused.\n"


def do_stop(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    options = dict.fromkeys(("--kill", "--drop-state", "--acpi", "--noforce"), False)
    arguments = Arguments(words, options, (1, 1))
    machine = dispatcher.get(arguments.operands[0])
    if arguments.has("--drop-state"):
        if machine.present_state != SUSPENDED:
            raise Refused("Failed to stop the VM: The virtual machine is not suspended.")
        power_off(machine, STOPPED)
        return "Stopping the VM...\nThe VM has been successfully stopped.\n"
    allowed = {RUNNING, PAUSED} if arguments.has("--kill") else {RUNNING}
    if machine.present_state not in allowed:
        raise Refused(f"Failed to stop the VM: The virtual machine is {machine.present_state}.")
    power_off(machine, STOPPED)
    if arguments.has("--kill"):
        return "Stopping the VM...\nThe VM has been forcibly stopped\n"
    return "Stopping the VM...\nThe VM has been successfully stopped.\n"


def do_set(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    options = dict.fromkeys(("--name", "--description", "--device-set", "--mac"), True)
    arguments = Arguments(words, options, (1, 1))
    machine = dispatcher.get(arguments.operands[0])
    if arguments.has("--mac") != arguments.has("--device-set") or not arguments.options:
        raise Refused(f"Incorrect usage: set {' '.join(words)}\n{USAGE}", USAGE_ERROR)
    bundle = machine.bundle
    if bundle is None or machine.state != STOPPED:
        raise Refused(f"Failed to configure the VM: {BUSY.format(state=machine.present_state)}")
    name = arguments.get("--name")
    if name is not None:
        if not name or any(other.name == name for other in dispatcher.machines.values() if other is not machine):
            raise Refused(f'Unable to commit VM configuration: The name "{name}" is not valid or already in use.')
        bundle.set_text("Identification/VmName", name)
        machine.last_name = name
    if arguments.has("--description"):
        bundle.set_text("Settings/General/VmDescription", arguments.options["--description"])
    if arguments.has("--device-set"):
        set_mac(bundle, arguments.options["--device-set"], arguments.options["--mac"])
    bundle.save()
    return "The VM has been successfully configured.\n"


def set_mac(bundle: Bundle, device: str, mac: str) -> None:
    found = re.fullmatch(r"net([0-9]+)", device)
    if found is None or int(found.group(1)) >= len(bundle.macs()):
        raise Refused(f"Failed to set the device: The device {device} does not exist.")
    if mac == "auto":
        mac = "001C42" + secrets.token_hex(3).upper()
    mac = mac.replace(":", "").upper()
    if not re.fullmatch(r"[0-9A-F]{12}", mac):
        raise Refused(f"Failed to set the device: Invalid MAC address {mac}.")
    bundle.set_mac(int(found.group(1)), mac)


PRLCTL_VERBS: t.Dict[str, t.Callable[[Dispatcher, t.Sequence[str], JsonObject], str]] = {
    "list": do_list,
    "register": do_register,
    "unregister": do_unregister,
    "delete": do_delete,
    "start": do_start,
    "resume": do_resume,
    "suspend": do_suspend,
    "pause": do_pause,
    "stop": do_stop,
    "set": do_set,
}


def power_on(dispatcher: Dispatcher, machine: Machine) -> None:
    bundle = machine.bundle
    if bundle is None:
        raise Refused("Failed to start the VM: The virtual machine configuration file cannot be opened.")
    others = [other for other in dispatcher.machines.values() if other is not machine and other.state == RUNNING]
    if bundle.is_mac and sum(other.home.endswith(".macvm") for other in others) >= MOST_RUNNING_MACS:
        raise Refused("Failed to start the VM: Only two macOS virtual machines can run on a Mac at the same time.")
    for image in bundle.images():
        if not is_writable(image):
            raise Refused(f"Failed to start the VM: The disk image {image} is read-only.")
    bundle.mark_in_use(True)
    machine.state = RUNNING
    machine.started_at = time.time()


def power_off(machine: Machine, state: str) -> None:
    bundle = machine.bundle
    if bundle is not None:
        bundle.mark_in_use(False)
    machine.state = state


def require_running(machine: Machine, attempted: str) -> None:
    if machine.present_state != RUNNING:
        raise Refused(f"{attempted}: The virtual machine is {machine.present_state}.")


def refuse_unless_at_rest(machine: Machine, attempted: str) -> None:
    if machine.state in {RUNNING, PAUSED}:
        raise Refused(f"{attempted}: {BUSY.format(state=machine.state)}")


def checked_uuid(text: str) -> str:
    try:
        return str(uuids.UUID(text.strip("{}")))
    except ValueError as error:
        raise Refused(f"Failed to register the VM: Invalid UUID {text}.") from error


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
                "Startup view": "headless",
                "On shutdown": "close",
                "On window close": "keep-running",
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


# prlsrvctl


def server_info(words: t.Sequence[str]) -> str:
    arguments = Arguments(words, dict.fromkeys(("--json", "--license"), False), (0, 0))
    identity = "{" + str(uuids.uuid5(uuids.NAMESPACE_DNS, socket.gethostname())) + "}"
    licence = {"state": "valid", "key": "000000-000000-000000-000000-000000", "restricted": "false"}
    if arguments.has("--license"):
        document: JsonObject = {"status": "ACTIVE", "edition": "business", **licence}
    else:
        document = {
            "ID": identity.strip("{}"),
            "Hostname": "127.0.0.1",
            "Version": f"Desktop {VERSION}-{BUILD}",
            "OS": "macOS 26.1(25B78)",
            "Started as service": "off",
            "VM home": vm_home(),
            "Memory limit": {"mode": "auto"},
            "Minimal security level": "low",
            "Require password to": [],
            "License": licence,
            "Hardware Id": identity,
            "Signed In": "yes",
        }
    if arguments.has("--json"):
        return as_json(document)
    return "".join(f"{key}: {value}\n" for key, value in document.items())


def server_user(words: t.Sequence[str]) -> str:
    arguments = Arguments(words, {"--json": False}, (1, 1))
    if arguments.operands != ["list"]:
        raise Refused(f"Incorrect usage: user {' '.join(words)}\n{USAGE}", USAGE_ERROR)
    user = {"NAME": f"{getpass.getuser()}@{socket.gethostname()}", "MNG_SETTINGS": "allow", "DEF_VM_HOME": vm_home()}
    return as_json([user]) if arguments.has("--json") else f"{'NAME':<20} MNG_SETTINGS DEF_VM_HOME\n"


PRLSRVCTL_VERBS = {"info": server_info, "user": server_user}


def vm_home() -> str:
    return os.path.join(os.path.expanduser("~"), "Parallels")


def as_json(document: t.Any) -> str:
    return json.dumps(document, indent="\t").replace("/", "\\/") + "\n"


# Faults and the life of a call


@contextlib.contextmanager
def locked(directory: str) -> t.Iterator[None]:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def next_fault(directory: str, verb: str) -> JsonObject:
    """The first fault for this verb, one of its times used up."""
    path = os.environ.get("PRLCTL_SIM_FAULTS") or os.path.join(directory, "faults.json")
    try:
        with open(path, encoding="utf-8") as stream:
            faults: t.List[JsonObject] = json.load(stream)
    except FileNotFoundError:
        return {}
    for fault in faults:
        if fault.get("verb", verb) != verb or fault.get("times", 1) < 1:
            continue
        if "times" in fault:
            fault["times"] -= 1
            temporary = f"{path}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump(faults, stream)
            os.rename(temporary, path)
        return fault
    return {}


def log_call(directory: str, argv: t.Sequence[str]) -> None:
    with open(os.path.join(directory, "calls.jsonl"), "a", encoding="utf-8") as stream:
        stream.write(json.dumps(list(argv)) + "\n")


def suffer(fault: JsonObject, moment: str) -> None:
    if not fault or fault.get("when", "before") != moment:
        return
    time.sleep(fault.get("hang_seconds", 0))
    if "returncode" in fault:
        sys.stdout.write(fault.get("stdout", ""))
        raise Refused(fault.get("stderr", ""), fault["returncode"])


def act(directory: str, program: str, verb: str, words: t.Sequence[str], fault: JsonObject) -> str:
    if program == "prlsrvctl":
        if verb not in PRLSRVCTL_VERBS:
            raise Refused(f"Unrecognized action: {verb}\n{USAGE}", USAGE_ERROR)
        return PRLSRVCTL_VERBS[verb](words)
    if verb not in PRLCTL_VERBS:
        raise Refused(f"Unrecognized action: {verb}\n{USAGE}", USAGE_ERROR)
    with locked(directory):
        dispatcher = Dispatcher(directory)
        output = PRLCTL_VERBS[verb](dispatcher, words, fault)
        dispatcher.save()
    return output


def main(argv: t.Sequence[str]) -> int:
    program = "prlsrvctl" if os.path.basename(argv[0]).startswith("prlsrvctl") else "prlctl"
    if argv[1:] == ["--version"]:
        sys.stdout.write(f"{program} version {VERSION} ({BUILD})\n")
        return 0
    if len(argv) < 2:
        sys.stderr.write(USAGE + "\n")
        return USAGE_ERROR
    directory = os.path.join(os.path.expanduser("~"), ".parallels-simulator")
    verb, words = argv[1], argv[2:]
    with locked(directory):
        log_call(directory, [program, *argv[1:]])
        fault = next_fault(directory, verb)
    try:
        suffer(fault, "before")
        output = act(directory, program, verb, words, fault)
        suffer(fault, "after")
    except Refused as refusal:
        sys.stderr.write(refusal.text.rstrip("\n") + "\n" if refusal.text else "")
        return refusal.code
    sys.stdout.write(fault.get("garbage_before", "") + output + fault.get("garbage_after", ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
