# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess
import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import power
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines.waiting import Patience
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    MacosLimit,
    PrlctlError,
    VmBusy,
    VmStillRuns,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult, Prlctl
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._cases.machines.helpers import Host
from ansible_collections.macfleet.parallels.tests.unit.support.macs import Mac


@pytest.fixture(name="host")
def host_fixture(mac: Mac, tmp_path: pathlib.Path) -> Host:
    return Host(mac, tmp_path)


# Starting


def test_started_vm_runs_and_is_not_started_again(host: Host) -> None:
    vm = host.create()
    assert host.vms.start(vm)
    vm = host.look()
    assert vm.runs
    assert not host.vms.start(vm)
    assert host.mac.verbs() == ["register", "set", "start"]


@pytest.mark.parametrize("state", ["suspended", "paused"])
def test_sleeping_vm_is_resumed(host: Host, state: str) -> None:
    vm = host.put(host.create(), state)
    assert not vm.runs
    assert host.vms.start(vm)
    assert host.look().runs
    assert host.mac.verbs()[-1] == "resume"


def view(host: Host) -> t.List[t.List[str]]:
    return [call[3:] for call in host.mac.simulated.calls() if call[1] == "set"]


def test_vm_starts_without_a_window(host: Host) -> None:
    host.vms.start(host.create())
    assert view(host) == [["--startup-view", "headless", "--on-window-close", "keep-running"]]


def test_what_somebody_set_later_stays(host: Host) -> None:
    host.vms.start(host.create())
    host.vms.stop(host.look())
    host.prlctl("set", host.look().machine.uuid, "--startup-view", "window")
    host.vms.start(host.look())
    assert len(view(host)) == 2


def test_vm_starts_in_a_window_if_that_is_wanted(host: Host) -> None:
    host.vms.start(host.create(), headless=False)
    assert view(host) == []


def test_macos_vm_has_no_such_setting(host: Host, tmp_path: pathlib.Path) -> None:
    bundle = host.make_bundle(tmp_path, "mac", "macvm")
    vm = host.vms.create(bundle, host.draft(kind="macvm")).vm
    assert host.vms.start(vm)
    assert view(host) == []


# Stopping


@pytest.mark.parametrize("state", ["running", "suspended", "paused"])
def test_stopped_vm_has_shut_down(host: Host, state: str) -> None:
    vm = host.put(host.create(), state)
    assert host.vms.stop(vm)
    assert host.state(vm) == "stopped"
    assert not any("--kill" in call or "--drop-state" in call for call in host.mac.simulated.calls())
    assert not host.vms.stop(host.look())


def test_guest_may_take_its_time(host: Host) -> None:
    """At its deadline prlctl is ended; the guest goes on to shut down, and is waited for."""
    vm = host.put(host.create(), "running")
    host.mac.simulated.behave(stop_seconds=1.5)

    def run(argv: t.Sequence[str], timeout_seconds: float) -> CommandResult:
        if argv[1] != "stop":
            return host.mac.run(argv, timeout_seconds)
        with subprocess.Popen(argv, env={**os.environ, "HOME": str(host.mac.home)}, stdout=subprocess.DEVNULL) as stop:
            while host.state(vm) != "stopping":
                time.sleep(0.02)
            stop.kill()
        return CommandResult(-1, "", "", timed_out=True)

    # The guest goes by the real clock.
    assert power.stop(vm, Prlctl(run, host.mac.program), Patience())
    assert host.look().machine.state == "stopped"


def test_guest_that_does_not_shut_down(host: Host) -> None:
    vm = host.put(host.create(), "running")
    host.mac.simulated.behave(ignores_acpi=True)
    with pytest.raises(VmStillRuns, match=r"had not shut down after 6 s.*does not respond.*force_stop") as caught:
        host.vms.stop(vm, timeout_seconds=6.0)
    assert caught.value.code == "vm_still_runs"
    assert "more time with stop_timeout" in str(caught.value.hint)
    assert host.watch.now == 6.0
    assert host.state(vm) == "running"
    assert host.vms.stop(vm, timeout_seconds=6.0, force=True)
    assert host.state(vm) == "stopped"


def test_guest_that_shuts_down_is_not_ended_by_force(host: Host) -> None:
    warnings: t.List[str] = []
    vm = host.put(host.create(), "running")
    assert power.stop(vm, host.mac.prlctl, host.vms.patience, force=True, warn=warnings.append)
    assert not any("--kill" in call for call in host.mac.simulated.calls()) and not warnings
    vm = host.put(host.look(), "running")
    host.mac.simulated.behave(ignores_acpi=True)
    assert power.stop(vm, host.mac.prlctl, host.vms.patience, timeout_seconds=6.0, force=True, warn=warnings.append)
    (warning,) = warnings
    assert "was ended by force: its guest had not shut down after 6 s" in warning


def test_vm_that_stopped_meanwhile(host: Host) -> None:
    vm = host.put(host.create(), "running")
    host.prlctl("stop", vm.machine.uuid)
    assert host.vms.stop(vm)


def test_whoever_watches_can_end_the_waiting(host: Host) -> None:
    class Cancelled(Exception):
        pass

    def cancel() -> None:
        raise Cancelled

    vm = host.put(host.create(), "running")
    host.mac.simulated.behave(ignores_acpi=True)
    with pytest.raises(Cancelled):
        power.stop(vm, host.mac.prlctl, Patience(alive=cancel))


@pytest.mark.parametrize("refuses_kill", [False, True])
@pytest.mark.parametrize("state", ["stopped", "running", "suspended", "paused"])
def test_process_of_a_vm_is_ended(host: Host, state: str, refuses_kill: bool) -> None:
    vm = host.put(host.create(), state)
    host.mac.simulated.behave(paused_refuses_kill=refuses_kill)
    power.stop_for_good(vm.machine.uuid, host.mac.prlctl, host.vms.patience)
    assert host.state(vm) == "stopped"


def test_process_that_does_not_end(host: Host) -> None:
    vm = host.put(host.create(), "running")
    host.mac.simulated.fail({"verb": "stop", "returncode": 255, "stderr": "Failed: no\n"})
    with pytest.raises(VmBusy, match=r"it is still running .*Failed: no") as caught:
        power.stop_for_good(vm.machine.uuid, host.mac.prlctl, host.vms.patience)
    assert caught.value.code == "vm_busy"


# How many macOS VMs run


def machine(number: int, state: str = "running", kind: str = "macvm") -> VirtualMachine:
    return VirtualMachine(str(number), f"vm{number}", state, f"/vms/vm{number}.{kind}")


def test_third_macos_vm_is_refused() -> None:
    running = [machine(1), machine(2, "paused"), machine(3, kind="pvm"), machine(4, "stopped"), machine(5, "suspended")]
    with pytest.raises(MacosLimit, match=r"vm1, vm2 run on this Mac.*2 at a time") as caught:
        power.check_macos_limit(running, "/vms/new.macvm")
    assert caught.value.code == "macos_limit"
    assert caught.value.details == {"running": ["1", "2"]}
    power.check_macos_limit(running, "/vms/new.pvm")
    power.check_macos_limit(running[1:], "/vms/new.macvm")
    power.check_macos_limit(running, "/vms/vm2.macvm", "2")


def test_simulator_has_the_same_limit(host: Host, tmp_path: pathlib.Path) -> None:
    bundle = host.make_bundle(tmp_path, "mac", "macvm")
    made = [host.vms.create(bundle, host.draft(f"mac{number}", "macvm")).vm for number in range(3)]
    for vm in made[:2]:
        power.check_macos_limit(host.mac.prlctl.list_machines(), vm.home, vm.machine.uuid)
        host.vms.start(vm)
    with pytest.raises(MacosLimit):
        power.check_macos_limit(host.mac.prlctl.list_machines(), made[2].home, made[2].machine.uuid)
    with pytest.raises(PrlctlError, match="Only two macOS"):
        host.vms.start(made[2])
