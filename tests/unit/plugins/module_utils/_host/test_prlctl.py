# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    PrlctlError,
    PrlctlMissing,
    PrlctlTimeout,
    VmNotFound,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import (
    Adapter,
    Disk,
    VirtualMachine,
    normal_uuid,
    parse_machines,
    parse_vm_home,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult, Prlctl, find_prlctl
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.unit.support.macs import UUID, Mac
from hypothesis import given
from hypothesis import strategies as st

HOME = "/Users/ci/Parallels/runner-01.macvm"
LISTING = json.dumps(
    [
        {
            "ID": "{" + UUID.upper() + "}",
            "Name": "runner-01",
            "State": "stopped",
            "OS": "macosx",
            "Home": "/Users/ci/Parallels/runner-01.macvm/",
            "Hardware": {
                "cpu": {"cpus": 4},
                "memory": {"size": "8192Mb"},
                "hdd0": {"image": "/x/disk0.hdd", "size": "65536Mb"},
                "net0": {"type": "shared", "mac": "00:1c:42:aa:bb:cc"},
                "net10": {"type": "bridged"},
                "network": {},
            },
            "Network": {"ipAddresses": [{"type": "ipv4", "ip": "10.0.0.1"}], "unknown": []},
        }
    ],
    indent="\t",
)
MACHINE = VirtualMachine(
    UUID,
    "runner-01",
    "stopped",
    "/Users/ci/Parallels/runner-01.macvm",
    "macosx",
    4,
    8192,
    (Disk("hdd0", "/x/disk0.hdd", 65536),),
    (Adapter("net0", "shared", "001C42AABBCC"), Adapter("net10", "bridged", "")),
)


@pytest.mark.parametrize(
    "output",
    [
        LISTING,
        LISTING.replace("/", "\\/"),
        "\x1b[0;32mINFO\x1b[0m [1] starting {\n" + LISTING + "\nbye ] [2]\n",
        "[]\n" + LISTING,
        LISTING.replace("runner-01.macvm/", "runner-01.macvm\x07/"),
        LISTING.replace('"runner-01"', '"runner\x00-01"'),
        LISTING.replace(f'"Home": "{HOME}/"', f'"Home path": "{HOME}/config.pvs", "Home": ""'),
    ],
    ids=["plain", "slashes", "noise", "empty first", "bell", "nul", "home path"],
)
def test_listing_is_read_whatever_surrounds_it(output: str) -> None:
    assert parse_machines(output) == (MACHINE,)


@pytest.mark.parametrize("output", ["[]", "\n[\n]\n", "warning: old\n[]"])
def test_no_machines(output: str) -> None:
    assert parse_machines(output) == ()


@pytest.mark.parametrize(
    "output", ["", "nonsense", "{}", "[1]", '[{"Name": "x"}]', '[{"ID": 1}]', "[" * 5000, LISTING[: len(LISTING) // 2]]
)
def test_what_is_no_listing_is_one_clear_error(output: str) -> None:
    with pytest.raises(PrlctlError, match="Reading the list of virtual machines failed: prlctl printed"):
        parse_machines(output)


def test_truncated_listing_is_never_taken_for_a_shorter_one() -> None:
    for end in range(len(LISTING)):
        with pytest.raises(PrlctlError):
            parse_machines(LISTING[:end])


def test_machine_of_which_little_is_told() -> None:
    assert parse_machines('[{"ID": "x", "Hardware": null, "Home": 5}]') == (VirtualMachine("x", "", ""),)


@given(st.text())
def test_any_output_is_read_or_refused(output: str) -> None:
    try:
        parse_machines(output)
    except PrlctlError:
        pass
    parse_vm_home(output)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["ID", "Hardware", "cpu", "hdd0", "net0", "Home", "Home path", "memory", "size", "mac"]), x
)))  # fmt: skip
def test_any_document_is_read_or_refused(document: t.Any) -> None:
    try:
        parse_machines(json.dumps([{"ID": UUID, "Hardware": document}, document]))
    except PrlctlError:
        pass


def test_vm_home_is_found_in_what_is_not_quite_json() -> None:
    output = '{"VM home": "\\/Users\\/ci\\/My Parallels", "Require password to": [\\"remove-vm\\"]}'
    assert parse_vm_home(output) == "/Users/ci/My Parallels"
    assert parse_vm_home("{}") is None
    assert parse_vm_home('"VM home": ""') is None


def test_uuids_are_written_in_one_way() -> None:
    assert normal_uuid("{" + UUID.upper() + "} ") == UUID


def test_prlctl_is_found_in_the_path(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "prlctl"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert find_prlctl(str(tmp_path)) == str(program)


def test_missing_prlctl_is_one_clear_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(PrlctlMissing, match="Parallels Desktop is not installed") as caught:
        find_prlctl(str(tmp_path))
    assert caught.value.code == "prlctl_missing"


# Against the simulator


@pytest.fixture
def bundle(mac: Mac) -> str:
    return bundles.make_bundle(str(mac.home), b"x" * (1 << 20), kind="macvm", disk="plain")


def test_life_of_a_machine(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    machine = mac.prlctl.find(UUID)
    assert machine is not None
    assert (machine.uuid, machine.name, machine.state, machine.home) == (UUID, "sample", "stopped", bundle)
    assert machine.disks[0].image.startswith(bundle)
    mac.prlctl.rename(UUID, "an <odd> & name")
    renamed = mac.prlctl.find(UUID)
    assert renamed is not None
    assert renamed.name == "an <odd> & name"
    for action, state in [
        (mac.prlctl.start, "running"),
        (mac.prlctl.stop, "stopped"),
    ]:
        action(UUID)
        assert mac.prlctl.list_machines()[0].state == state
    mac.prlctl.delete(UUID)
    assert mac.prlctl.list_machines() == ()
    assert not pathlib.Path(bundle).exists()


def test_commands_are_exactly_these(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.prlctl.start(UUID)
    mac.prlctl.kill(UUID)
    mac.prlctl.list_machines()
    mac.prlctl.find(UUID)
    mac.prlctl.unregister(UUID)
    mac.prlctl.vm_home()
    assert mac.simulated.calls() == [
        ["prlctl", "register", bundle, "--uuid", UUID, "--regenerate-src-uuid"],
        ["prlctl", "start", UUID],
        ["prlctl", "stop", UUID, "--kill"],
        ["prlctl", "list", "-a", "-i", "--json"],
        ["prlctl", "list", UUID, "-a", "-i", "--json"],
        ["prlctl", "unregister", UUID],
        ["prlsrvctl", "info", "--json"],
    ]


def test_unknown_machine(mac: Mac) -> None:
    assert mac.prlctl.find(UUID) is None
    with pytest.raises(VmNotFound, match=rf"Running prlctl start {UUID} failed with exit code 255") as caught:
        mac.prlctl.start(UUID)
    assert caught.value.code == "vm_not_found"


def test_directory_for_new_machines(mac: Mac) -> None:
    assert mac.prlctl.vm_home() == str(mac.home / "Parallels")


def test_home_that_the_bulk_listing_leaves_out(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.simulated.fail({"verb": "list", "empty_home": True})
    machines = mac.prlctl.list_machines()
    assert [machine.home for machine in machines] == [""]
    assert [machine.home for machine in mac.prlctl.with_homes(machines, lambda one: one.name == "sample")] == [bundle]


def test_homes_are_asked_for_only_where_they_matter(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.simulated.behave(empty_home=True)
    machines = mac.prlctl.list_machines()
    before = len(mac.simulated.calls())
    assert mac.prlctl.with_homes(machines, lambda one: one.name == "other") == machines
    assert len(mac.simulated.calls()) == before


def test_all_homes_together_have_one_deadline(mac: Mac) -> None:
    ticking = iter(range(0, 1000, 25))
    asked = []

    def run(argv: t.Sequence[str], timeout_seconds: float) -> CommandResult:
        asked.append((argv[2], timeout_seconds))
        return CommandResult(255, "", "Failed: busy\n")

    prlctl = Prlctl(run, "/bin/prlctl", clock=lambda: next(ticking))
    machines = [VirtualMachine(str(number), "x", "stopped") for number in range(5)]
    assert list(prlctl.with_homes(machines, lambda _one: True)) == machines
    assert asked == [("0", 35.0), ("1", 10.0)]


@pytest.mark.parametrize("noise", ["nul", "escape", "warning", "progress", "bom"])
def test_noise_of_a_listing(mac: Mac, bundle: str, noise: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.simulated.behave(noise=[noise])
    (machine,) = mac.prlctl.list_machines()
    assert (machine.uuid, machine.state, machine.home, machine.os) == (UUID, "stopped", bundle, "macos")


def test_start_that_fails_says_that_somebody_may_have_to_be_logged_in(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.simulated.fail({"verb": "start", "returncode": 255, "stderr": "Failed to start the VM.\n"})
    with pytest.raises(PrlctlError, match="logged in at the screen"):
        mac.prlctl.start(UUID)


@pytest.mark.parametrize(
    ("home", "system", "is_macos"),
    [
        ("/vms/a.macvm", "", True),
        ("/vms/a.pvm", "macosx", False),
        ("", "macosx", True),
        ("", "macOS", True),
        ("", "win-11", False),
    ],
)
def test_macos_guest_is_known_by_its_home_or_its_system(home: str, system: str, is_macos: bool) -> None:
    assert VirtualMachine(UUID, "a", "running", home, system).is_macos == is_macos


def test_garbage_around_the_listing(mac: Mac, bundle: str) -> None:
    mac.prlctl.register(bundle, UUID)
    mac.simulated.fail({"verb": "list", "garbage_before": "\x1b[1m[warn] {old}\x07\n", "garbage_after": "\n[done]"})
    assert [machine.uuid for machine in mac.prlctl.list_machines()] == [UUID]


def test_failed_login_is_tried_again(mac: Mac, bundle: str) -> None:
    login_failed = {"returncode": 255, "stderr": "Login failed: The dispatcher is starting.\n"}
    mac.simulated.fail({"verb": "register", "times": 2, **login_failed})
    mac.prlctl.register(bundle, UUID)
    assert len(mac.naps) == 2
    assert mac.verbs() == ["register"] * 3


def test_failed_login_is_not_tried_for_ever(mac: Mac) -> None:
    mac.simulated.fail({"returncode": 255, "stderr": "Login failed: no\n"})
    with pytest.raises(PrlctlError, match="Login failed: no"):
        mac.prlctl.list_machines()
    assert len(mac.simulated.calls()) == 4
    assert len(mac.naps) == 3


def test_other_failures_are_not_repeated(mac: Mac, bundle: str) -> None:
    mac.simulated.fail({"verb": "register", "returncode": 7, "stderr": "Failed to register\n  the VM: no\n"})
    with pytest.raises(PrlctlError, match=r"exit code 7: Failed to register the VM: no\. See") as caught:
        mac.prlctl.register(bundle, UUID)
    assert caught.value.details == {"returncode": 7}
    assert mac.verbs() == ["register"]


def test_hanging_command_ends_at_its_deadline(mac: Mac) -> None:
    mac.timeout_seconds = 0.3
    mac.simulated.fail({"hang_seconds": 600})
    with pytest.raises(PrlctlTimeout, match=r"Running prlctl list -a -i --json failed") as caught:
        mac.prlctl.list_machines()
    assert caught.value.code == "prlctl_timeout"
    assert mac.naps == []
