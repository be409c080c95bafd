# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator refuses what prlctl refuses, and fails as it is told."""

from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
import sys
import typing as t
from xml.etree import ElementTree

import pytest
from ansible_collections.macfleet.parallels.tests.simulators.prlctl.control import Simulated, install
from ansible_collections.macfleet.parallels.tests.support import bundles, documents

UUID = "0b9a6f3e-5a6c-4f0e-9b7e-3a1d2c4b5e6f"
OTHER = "1" + UUID[1:]


class User:
    """Somebody with a home and the simulator in the PATH."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.home = directory
        self.programs = pathlib.Path(install(directory / "bin", sys.executable)).parent
        self.simulated = Simulated(directory)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.programs / argv[0]), *argv[1:]],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": str(self.home), "PATH": os.environ.get("PATH", "")},
        )

    def prlctl(self, *words: str) -> str:
        done = self.run("prlctl", *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def refused(self, *words: str) -> str:
        done = self.run("prlctl", *words)
        assert (done.returncode, done.stdout) == (255, "")
        return done.stderr

    def bundle(self, name: str = "sample", kind: str = "pvm") -> str:
        disk = bundles.PLAIN if kind == "macvm" else bundles.EXPANDABLE
        return bundles.make_bundle(str(self.home), b"x" * (1 << 20), name=name, kind=kind, disk=disk)

    def state(self, uuid: str = UUID) -> str:
        return str(json.loads(self.prlctl("list", uuid, "-a", "-i", "--json"))[0]["State"])


@pytest.fixture
def user(tmp_path: pathlib.Path) -> User:
    return User(tmp_path)


def in_use(image: str) -> bool:
    with open(image, "rb") as stream:
        return bool(struct.unpack_from("<I", stream.read(64), 44)[0] == 0x746F6E59)


def test_listing_has_the_shape_of_the_real_one(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID, "--regenerate-src-uuid")
    output = user.prlctl("list", "-a", "-i", "--json")
    assert "\\/sample.pvm\\/" in output
    (document,) = json.loads(output)
    assert {key: document[key] for key in ("ID", "Name", "Type", "State", "OS", "Template", "Home", "Home path")} == {
        "ID": UUID,
        "Name": "sample",
        "Type": "VM",
        "State": "stopped",
        "OS": "debian",
        "Template": "no",
        "Home": bundle + "/",
        "Home path": bundle + "/config.pvs",
    }
    assert document["Hardware"]["cpu"]["cpus"] == 2
    assert document["Hardware"]["memory"]["size"] == "4096Mb"
    assert document["Hardware"]["hdd0"]["image"] == bundle + "/harddisk.hdd"
    assert len(document["Hardware"]["net0"]["mac"]) == 12
    assert json.loads(user.prlctl("list", "-a", "-f", "-j")) == [
        {"uuid": UUID, "status": "stopped", "ip_configured": "-", "name": "sample"}
    ]
    assert json.loads(user.prlctl("list", "-i", "-j")) == []
    assert "sample" in user.prlctl("list", "-a")


def test_users_have_their_own_machines(user: User, tmp_path: pathlib.Path) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    (tmp_path / "another").mkdir()
    assert json.loads(User(tmp_path / "another").prlctl("list", "-a", "-j")) == []


def test_registering_changes_the_identity_in_the_bundle(user: User) -> None:
    bundle = user.bundle()
    config = pathlib.Path(bundle, "config.pvs")
    before = ElementTree.parse(config).find("Identification")
    user.prlctl("register", bundle, "--uuid", UUID, "--regenerate-src-uuid")
    after = ElementTree.parse(config).find("Identification")
    assert before is not None
    assert after is not None
    assert after.findtext("VmUuid") == f"{{{UUID}}}"
    assert after.findtext("SourceVmUuid") != before.findtext("SourceVmUuid")


def test_registering_without_a_uuid_keeps_the_own_one(user: User) -> None:
    bundle = user.bundle()
    own = str(ElementTree.parse(os.path.join(bundle, "config.pvs")).findtext("Identification/VmUuid")).strip("{}")
    user.prlctl("register", bundle, "--preserve-uuid")
    assert list(user.simulated.machines()) == [own]


@pytest.mark.parametrize(
    "kind, missing",
    [("pvm", name) for name in ("config.pvs", "NVRAM.dat", "harddisk.hdd")]
    + [("macvm", name) for name in ("config.pvs", "aux.bin", "machw.bin", "macid.bin", "disk0.hdd")],
)
def test_bundle_that_is_not_whole_is_refused(user: User, kind: str, missing: str) -> None:
    bundle = user.bundle(kind=kind)
    os.rename(os.path.join(bundle, missing), os.path.join(user.home, "away"))
    assert user.refused("register", bundle, "--uuid", UUID).startswith("Failed to register the VM: ")
    assert user.simulated.machines() == {}


def test_read_only_bundle_is_refused(user: User) -> None:
    bundle = user.bundle()
    os.chmod(os.path.join(bundle, "config.pvs"), 0o444)
    assert "enough rights" in user.refused("register", bundle, "--uuid", UUID)


@pytest.mark.parametrize("content", [b"", b"<Other/>", b"<ParallelsVirtualMachine>"])
def test_configuration_that_is_none_is_refused(user: User, content: bytes) -> None:
    bundle = user.bundle()
    pathlib.Path(bundle, "config.pvs").write_bytes(content)
    assert "configuration is invalid" in user.refused("register", bundle, "--uuid", UUID)


def test_uuid_and_path_are_registered_once(user: User) -> None:
    first, second = user.bundle("first"), user.bundle("second")
    user.prlctl("register", first, "--uuid", UUID)
    assert user.refused("register", second, "--uuid", UUID.upper()) == (
        'Failed to register the VM: "first" is already registered.\n'
    )
    assert "already registered" in user.refused("register", first + "/", "--uuid", OTHER)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("explode",),
        ("register",),
        ("register", "/a", "/b"),
        ("register", "/a", "--name", "x"),
        ("register", "/a", "--uuid"),
        ("register", "/a", "--uuid", UUID, "--preserve-uuid"),
        ("list", "--verbose"),
        ("start",),
        ("start", UUID, "--kill"),
        ("delete", UUID, "--force"),
        ("set", UUID),
        ("set", UUID, "--mac", "auto"),
        ("set", UUID, "--device-set", "net0"),
    ],
    ids=" ".join,
)
def test_wrong_usage(user: User, words: t.Tuple[str, ...]) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    assert "Usage: prlctl" in user.refused(*words)


@pytest.mark.parametrize("verb", ["list", "start", "stop", "delete", "unregister", "set"])
def test_unknown_machine(user: User, verb: str) -> None:
    options = ["--name", "x"] if verb == "set" else []
    assert "The virtual machine could not be found" in user.refused(verb, UUID, *options)


def test_running_machine_is_busy(user: User) -> None:
    bundle = user.bundle()
    image = bundles.image_path(bundle)
    user.prlctl("register", bundle, "--uuid", UUID)
    user.prlctl("start", UUID)
    assert user.state() == "running"
    assert in_use(image)
    for words in (["delete"], ["unregister"]):
        assert "currently running" in user.refused(*words, UUID)
    for words in (["--name", "x"], ["--device-set", "net0", "--mac", "auto"]):
        assert "currently running" in user.refused("set", UUID, *words)
    user.refused("start", UUID)
    assert "forcibly" in user.prlctl("stop", UUID, "--kill")
    assert not in_use(image)
    user.refused("stop", UUID)
    user.prlctl("delete", UUID)
    assert not os.path.exists(bundle)


def test_machine_that_is_suspended(user: User) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.refused("suspend", UUID)
    user.prlctl("start", UUID)
    user.prlctl("suspend", UUID)
    assert user.state() == "suspended"
    user.refused("stop", UUID, "--kill")
    user.prlctl("resume", UUID)
    assert user.state() == "running"
    user.prlctl("suspend", UUID)
    user.prlctl("stop", UUID, "--drop-state")
    assert user.state() == "stopped"


def test_two_mac_machines_run_and_no_third(user: User) -> None:
    for number in range(3):
        user.prlctl("register", user.bundle(f"mac{number}", "macvm"), "--uuid", f"{number}{UUID[1:]}")
    user.prlctl("start", "mac0")
    user.prlctl("start", "mac1")
    assert "Only two macOS" in user.refused("start", "mac2")
    user.prlctl("stop", "mac0")
    user.prlctl("start", "mac2")


def test_read_only_disk_does_not_start(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    os.chmod(bundles.image_path(bundle), 0o444)
    assert "read-only" in user.refused("start", UUID)


def test_bundle_that_vanished(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    os.rename(bundle, bundle + ".away")
    assert user.state() == "invalid"
    user.refused("start", UUID)
    user.refused("delete", UUID)
    user.prlctl("unregister", UUID)


def test_configuring(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    user.prlctl("register", user.bundle("other"), "--uuid", OTHER)
    user.prlctl("set", UUID, "--name", "new <name>")
    user.prlctl("set", "new <name>", "--device-set", "net0", "--mac", "00:1c:42:01:02:03")
    config = ElementTree.parse(os.path.join(bundle, "config.pvs"))
    assert config.findtext("Identification/VmName") == "new <name>"
    assert config.findtext("Hardware/NetworkAdapter/MAC") == "001C42010203"
    assert "already in use" in user.refused("set", UUID, "--name", "other")
    assert "does not exist" in user.refused("set", UUID, "--device-set", "net7", "--mac", "auto")
    assert "Invalid MAC" in user.refused("set", UUID, "--device-set", "net0", "--mac", "xyz")


def test_server_tells_where_machines_are_made(user: User) -> None:
    info = json.loads(user.run("prlsrvctl", "info", "--json").stdout)
    assert info["VM home"] == str(user.home / "Parallels")
    assert info["License"]["state"] == "valid"
    assert json.loads(user.run("prlsrvctl", "info", "--license", "--json").stdout)["edition"] == "business"
    (account,) = json.loads(user.run("prlsrvctl", "user", "list", "--json").stdout)
    assert account["DEF_VM_HOME"] == info["VM home"]
    assert user.run("prlsrvctl", "list").returncode == 255
    assert user.run("prlctl", "--version").stdout.startswith("prlctl version ")


def test_faults_are_used_up_in_their_order(user: User) -> None:
    user.simulated.fail(
        {"verb": "register", "returncode": 1, "stderr": "never for list\n"},
        {"verb": "list", "times": 1, "returncode": 3, "stdout": "half", "stderr": "first\n"},
        {"verb": "list", "times": 1, "garbage_before": "<<", "garbage_after": ">>"},
        {"times": 1, "when": "after", "returncode": 4},
    )
    runs = [user.run("prlctl", "list", "-j") for _number in range(4)]
    assert [(run.returncode, run.stdout, run.stderr) for run in runs] == [
        (3, "half", "first\n"),
        (0, "<<[]\n>>", ""),
        (4, "", ""),
        (0, "[]\n", ""),
    ]


def test_example_of_its_document(user: User) -> None:
    (text,) = documents.blocks("tests/simulators/prlctl/README.md", "json")
    login, register = json.loads(text)
    user.simulated.fail(login, register)
    assert user.refused("list", "-a") == login["stderr"]
    assert "sample" not in user.prlctl("list", "-a")
    assert user.refused("register", user.bundle()) == register["stderr"]
    assert "sample" in user.prlctl("list", "-a")


def test_faults_from_a_file_of_the_environment(user: User, tmp_path: pathlib.Path) -> None:
    (tmp_path / "my-faults").write_text(json.dumps([{"returncode": 9}]))
    done = subprocess.run(
        [str(user.programs / "prlctl"), "list"],
        check=False,
        env={"HOME": str(user.home), "PRLCTL_SIM_FAULTS": str(tmp_path / "my-faults")},
    )
    assert done.returncode == 9


def test_work_may_be_done_before_the_failure(user: User) -> None:
    user.simulated.fail({"verb": "register", "when": "after", "returncode": 255, "stderr": "lost\n"})
    assert user.refused("register", user.bundle(), "--uuid", UUID) == "lost\n"
    assert list(user.simulated.machines()) == [UUID]


def test_it_can_hang(user: User) -> None:
    user.simulated.fail({"verb": "list", "hang_seconds": 600})
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([str(user.programs / "prlctl"), "list"], env={"HOME": str(user.home)}, timeout=0.5, check=False)


def test_calls_at_the_same_time_lose_nothing(user: User) -> None:
    paths = [user.bundle(f"vm{number}") for number in range(6)]
    started = [
        subprocess.Popen(
            [str(user.programs / "prlctl"), "register", path, "--uuid", f"{number}{UUID[1:]}"],
            env={"HOME": str(user.home)},
            stdout=subprocess.DEVNULL,
        )
        for number, path in enumerate(paths)
    ]
    assert [process.wait(60) for process in started] == [0] * 6
    assert len(user.simulated.machines()) == len(user.simulated.calls()) == 6


def test_suspended_machine_keeps_its_memory_in_its_bundle(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    user.prlctl("start", UUID)
    user.prlctl("suspend", UUID)
    assert sorted(name[-4:] for name in os.listdir(bundle) if UUID in name) == [".mem", ".sav"]
    user.prlctl("unregister", UUID)
    user.prlctl("register", bundle, "--uuid", UUID)
    assert user.state() == "suspended"
    assert "currently suspended" in user.refused("set", UUID, "--device-set", "net0", "--mac", "auto")
    user.prlctl("start", UUID)
    user.prlctl("suspend", UUID)
    user.prlctl("stop", UUID, "--drop-state")
    assert [name for name in os.listdir(bundle) if UUID in name] == []


@pytest.mark.parametrize("refuses_kill", [False, True])
def test_paused_machine(user: User, refuses_kill: bool) -> None:
    user.simulated.behave(paused_refuses_kill=refuses_kill)
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.prlctl("start", UUID)
    user.prlctl("pause", UUID)
    user.refused("stop", UUID)
    assert "currently paused" in user.refused("delete", UUID)
    assert "currently paused" in user.refused("unregister", UUID)
    if refuses_kill:
        assert 'in the "paused" state' in user.refused("stop", UUID, "--kill")
        user.prlctl("resume", UUID)
    user.prlctl("stop", UUID, "--kill")
    assert user.state() == "stopped"


@pytest.mark.parametrize("damage", ["bundle", "config"])
def test_running_machine_that_is_lost(user: User, damage: str) -> None:
    bundle = pathlib.Path(user.bundle())
    user.prlctl("register", str(bundle), "--uuid", UUID)
    user.prlctl("start", UUID)
    if damage == "bundle":
        bundle.rename(f"{bundle}.away")
    else:
        (bundle / "config.pvs").write_text("<broken")
    assert user.state() == "invalid"
    user.refused("stop", UUID)
    user.refused("stop", UUID, "--kill")
    assert "busy" in user.refused("unregister", UUID)
    user.simulated.behave(lost_can_be_killed=True)
    user.prlctl("stop", UUID, "--kill")
    user.prlctl("unregister", UUID)


@pytest.mark.parametrize("leaves_lock", [True, False])
def test_lock_file_of_a_machine_that_ran(user: User, leaves_lock: bool) -> None:
    user.simulated.behave(leaves_lock=leaves_lock)
    bundle = pathlib.Path(user.bundle())
    user.prlctl("register", str(bundle), "--uuid", UUID)
    user.prlctl("start", UUID)
    assert (bundle / "vm.lock").exists()
    user.prlctl("stop", UUID)
    assert (bundle / "vm.lock").exists() == leaves_lock


def test_bundle_can_be_renamed_while_it_is_registered(user: User) -> None:
    user.simulated.behave(renames_bundle="{stem} (1)")
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    (machine,) = user.simulated.machines().values()
    assert machine["home"] == str(user.home / "sample (1).pvm")
    assert os.path.isdir(machine["home"])
    assert not os.path.exists(bundle)


def test_machine_of_which_little_is_known(user: User) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.simulated.behave(half_known=[UUID])
    assert json.loads(user.prlctl("list", "-a", "-i", "--json")) == [
        {"ID": UUID, "Name": "sample", "State": "invalid", "Home": ""}
    ]
    assert "cannot be opened" in user.refused("list", UUID, "-a", "-i", "--json")


def test_home_can_be_missing_from_the_list_of_all(user: User) -> None:
    bundle = user.bundle()
    user.prlctl("register", bundle, "--uuid", UUID)
    user.simulated.behave(empty_home=True)
    assert json.loads(user.prlctl("list", "-a", "-i", "--json"))[0]["Home"] == ""
    assert json.loads(user.prlctl("list", UUID, "-i", "--json"))[0]["Home"] == bundle + "/"


def test_noise_of_a_listing(user: User) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.simulated.behave(noise=["nul", "escape", "warning", "progress", "bom"])
    output = user.prlctl("list", "-a", "-i", "--json")
    assert output.startswith("\ufeffOperation progress")
    for piece in ('\0"State"', "\x1b[0;32m", '"OS": "\x1b[1m', "[WARNING]", "[done]"):
        assert piece in output


def test_stopping_takes_its_time(user: User) -> None:
    user.simulated.behave(stop_seconds=1.0)
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.prlctl("start", UUID)
    stop = subprocess.Popen(
        [str(user.programs / "prlctl"), "stop", UUID], env={"HOME": str(user.home)}, stdout=subprocess.DEVNULL
    )
    seen = {user.state()}
    while stop.poll() is None:
        seen.add(user.state())
    assert "stopping" in seen
    assert (stop.returncode, user.state()) == (0, "stopped")


def test_guest_that_does_not_shut_down(user: User) -> None:
    user.simulated.behave(ignores_acpi=True)
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.prlctl("start", UUID)
    assert "does not respond" in user.refused("stop", UUID)
    assert user.state() == "running"
    user.prlctl("stop", UUID, "--kill")


def test_machine_without_a_window(user: User) -> None:
    user.prlctl("register", user.bundle(), "--uuid", UUID)
    user.prlctl("register", user.bundle("mac", "macvm"), "--uuid", OTHER)
    headless = ("--startup-view", "headless", "--on-window-close", "keep-running")
    user.prlctl("set", UUID, *headless)
    view = json.loads(user.prlctl("list", UUID, "-i", "--json"))[0]["Startup and Shutdown"]
    assert (view["Startup view"], view["On window close"]) == ("headless", "keep-running")
    assert "not supported" in user.refused("set", OTHER, *headless)
    assert "Usage: prlctl" in user.refused("set", UUID, "--startup-view", "upside-down")
