# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of prlctl but ``list``: each returns what goes to standard output."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import typing as t
import uuid as uuids

from .arguments import USAGE, USAGE_ERROR, Arguments, JsonObject, Refused
from .bundle import Bundle, check_bundle, is_writable
from .listing import do_list
from .state import PAUSED, RUNNING, STOPPED, STOPPING, SUSPENDED, Dispatcher, Machine

MOST_RUNNING_MACS = 2
STOPPED_TEXT = "Stopping the VM...\nThe VM has been successfully stopped.\n"
BUSY = (
    "Unable to perform the action because the virtual machine is busy. The virtual machine is currently {state}. "
    "Please try again later."
)
# Where config.pvs keeps them, and what they may be.
VIEW_OPTIONS = {
    "--startup-view": (
        "Settings/Startup/StartupView",
        ("same", "window", "coherence", "fullscreen", "modality", "headless"),
    ),
    "--on-window-close": (
        "Settings/Shutdown/OnWindowClose",
        ("suspend", "shutdown", "stop", "ask", "keep-running"),
    ),
}


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
    state = SUSPENDED if bundle.saved_state else STOPPED
    if dispatcher.behaviour.renames_bundle:
        stem, extension = os.path.splitext(os.path.basename(home))
        renamed = dispatcher.behaviour.renames_bundle.format(stem=stem) + extension
        home = shutil.move(home, os.path.join(os.path.dirname(home), renamed))
    record = {"home": home, "state": state, "last_name": name, "started_at": 0}
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
    bundle = require_running(machine, "Failed to suspend the VM")
    bundle.save_memory(machine.uuid)
    dispatcher.power_off(machine, SUSPENDED)
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
        drop_state(machine)
        return STOPPED_TEXT
    if arguments.has("--kill"):
        return kill(dispatcher, machine)
    require_running(machine, "Failed to stop the VM")
    behaviour = dispatcher.behaviour
    if behaviour.ignores_acpi:
        raise Refused(
            "Failed to stop the VM: The operation timed out. The guest operating system does not respond.",
            wait_seconds=behaviour.acpi_wait_seconds,
        )
    if behaviour.stop_seconds:
        machine.state, machine.stops_at = STOPPING, time.time() + behaviour.stop_seconds
        dispatcher.wait_seconds = behaviour.stop_seconds
    else:
        dispatcher.power_off(machine, STOPPED)
    return STOPPED_TEXT


def kill(dispatcher: Dispatcher, machine: Machine) -> str:
    """``stop --kill``: end the process of a VM."""
    behaviour = dispatcher.behaviour
    allowed = {RUNNING, STOPPING} if behaviour.paused_refuses_kill else {RUNNING, STOPPING, PAUSED}
    if machine.state not in allowed or (machine.bundle is None and not behaviour.lost_can_be_killed):
        raise Refused(
            "Failed to stop the VM: Unable to complete the operation. This operation cannot be completed because the "
            f'virtual machine "{machine.name}" is in the "{machine.present_state}" state.'
        )
    dispatcher.power_off(machine, STOPPED)
    return "Stopping the VM...\nThe VM has been forcibly stopped\n"


def do_set(dispatcher: Dispatcher, words: t.Sequence[str], _fault: JsonObject) -> str:
    options = dict.fromkeys(("--name", "--description", "--device-set", "--mac", *VIEW_OPTIONS), True)
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
    for option in VIEW_OPTIONS:
        if arguments.has(option):
            set_view(bundle, option, arguments.options[option])
    bundle.save()
    return "The VM has been successfully configured.\n"


def set_view(bundle: Bundle, option: str, value: str) -> None:
    """Set how a VM shows itself on the screen of the Mac."""
    place, allowed = VIEW_OPTIONS[option]
    if value not in allowed:
        raise Refused(f"Invalid value for {option}: {value}\n{USAGE}", USAGE_ERROR)
    if bundle.is_mac:
        raise Refused("Failed to configure the VM: This option is not supported for macOS Arm virtual machines.")
    bundle.set_text(place, value)


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


def power_on(dispatcher: Dispatcher, machine: Machine) -> None:
    bundle = machine.bundle
    if bundle is None:
        raise Refused("Failed to start the VM: The virtual machine configuration file cannot be opened.")
    others = [
        other for other in dispatcher.machines.values() if other is not machine and other.state in {RUNNING, STOPPING}
    ]
    if bundle.is_mac and sum(other.home.endswith(".macvm") for other in others) >= MOST_RUNNING_MACS:
        raise Refused("Failed to start the VM: Only two macOS virtual machines can run on a Mac at the same time.")
    for image in bundle.images():
        if not is_writable(image):
            raise Refused(f"Failed to start the VM: The disk image {image} is read-only.")
    bundle.drop_memory()
    bundle.lock()
    bundle.mark_in_use(True)
    machine.state = RUNNING
    machine.started_at = time.time()


def drop_state(machine: Machine) -> None:
    """Make a suspended VM a stopped one."""
    if machine.bundle is not None:
        machine.bundle.drop_memory()
    machine.state = STOPPED


def require_running(machine: Machine, attempted: str) -> Bundle:
    """Refuse a VM that does not run, or whose bundle is gone."""
    bundle = machine.bundle
    if bundle is None or machine.state != RUNNING:
        raise Refused(f"{attempted}: The virtual machine is {machine.present_state}.")
    return bundle


def refuse_unless_at_rest(machine: Machine, attempted: str) -> None:
    if machine.state in {RUNNING, PAUSED, STOPPING}:
        raise Refused(f"{attempted}: {BUSY.format(state=machine.state)}")


def checked_uuid(text: str) -> str:
    try:
        return str(uuids.UUID(text.strip("{}")))
    except ValueError as error:
        raise Refused(f"Failed to register the VM: Invalid UUID {text}.") from error


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
