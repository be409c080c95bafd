# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes that must not happen: bad bundles, bad addresses, bad credentials."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.gate import UP, Gate
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Server, Stage, Task, User, task
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import TaskResult
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess
from ansible_collections.macfleet.parallels.tests.support.volume import make_reflink_image

IMAGE = "refused-push"

_IN_USE = 0x746F6E59


def _no_bundle(place: Path) -> Path:
    return place / "Nothing.pvm"


def _empty_directory(place: Path) -> Path:
    bundle = place / "Empty.pvm"
    bundle.mkdir(parents=True)
    return bundle


def _marked_in_use(place: Path) -> Path:
    bundle = small_bundle(place, "Marked")
    with open(bundles.image_path(str(bundle)), "r+b") as stream:
        stream.seek(44)
        stream.write(_IN_USE.to_bytes(4, "little"))
    return bundle


def _locked(place: Path) -> Path:
    bundle = small_bundle(place, "Locked")
    (bundle / "vm.lock").touch()
    return bundle


def _image_missing(place: Path) -> Path:
    bundle = small_bundle(place, "Renamed image")
    image = Path(bundles.image_path(str(bundle)))
    image.rename(image.with_suffix(""))
    return bundle


def _descriptor_missing(place: Path) -> Path:
    bundle = small_bundle(place, "No descriptor")
    Path(bundles.image_path(str(bundle))).with_name("DiskDescriptor.xml").unlink()
    return bundle


def _image_cut_short(place: Path) -> Path:
    bundle = small_bundle(place, "Half an image")
    image = bundles.image_path(str(bundle))
    os.truncate(image, os.path.getsize(image) // 2)
    return bundle


def _physical_disk(place: Path) -> Path:
    bundle = small_bundle(place, "Boot Camp")
    _add_device(bundle, "<Hdd><EmulatedType>0</EmulatedType><SystemName>disk0</SystemName></Hdd>")
    return bundle


def _add_device(bundle: Path, xml: str) -> None:
    text = (bundle / "config.pvs").read_text(encoding="utf-8")
    (bundle / "config.pvs").write_text(text.replace("</Hardware>", xml + "</Hardware>"), encoding="utf-8")


def _suspended(place: Path) -> Path:
    bundle = small_bundle(place, "Suspended")
    (bundle / "memory.mem").write_bytes(b"memory")
    return bundle


def _image_outside(place: Path) -> Path:
    bundle = small_bundle(place, "Linked clone")
    descriptor = bundle / "harddisk.hdd/DiskDescriptor.xml"
    image = os.path.basename(bundles.image_path(str(bundle)))
    text = descriptor.read_text(encoding="utf-8")
    descriptor.write_text(text.replace(f"<File>{image}", f"<File>/elsewhere/{image}"), encoding="utf-8")
    return bundle


def _link_outside(place: Path) -> Path:
    bundle = small_bundle(place, "Link")
    (bundle / "shared").symlink_to("../../somewhere")
    return bundle


def _hard_link(place: Path) -> Path:
    bundle = small_bundle(place, "Hard link")
    os.link(bundle / "NVRAM.dat", place / "NVRAM.dat")
    return bundle


def _one_name_twice(place: Path) -> Path:
    bundle = small_bundle(place, "Names")
    (bundle / "Readme").touch()
    (bundle / "README").touch()
    return bundle


def _pipe(place: Path) -> Path:
    bundle = small_bundle(place, "Pipe")
    os.mkfifo(bundle / "pipe")
    return bundle


@dataclass(frozen=True)
class BadBundle:
    """A bundle, the error word of its refusal, and words that the message must have.

    ``held`` is a file of the bundle on which a process holds a lock.
    """

    make: t.Callable[[Path], Path]
    code: str
    words: tuple[str, ...] = ()
    held: str = ""


BAD_BUNDLES = {
    "no bundle": BadBundle(_no_bundle, "invalid_bundle", ("Nothing.pvm",)),
    "an empty directory": BadBundle(_empty_directory, "invalid_bundle", ("config.pvs",)),
    "a disk in use": BadBundle(_marked_in_use, "bundle_in_use", (".hds", "in use")),
    "a lock that is held": BadBundle(_locked, "bundle_in_use", ("vm.lock", "holds the lock"), "vm.lock"),
    "suspended": BadBundle(_suspended, "bundle_in_use", ("memory.mem", "allow_suspended")),
    "an image outside": BadBundle(_image_outside, "invalid_bundle", ("/elsewhere/", "DiskDescriptor.xml")),
    "an image missing": BadBundle(_image_missing, "invalid_bundle", (".hds", "is missing")),
    "a descriptor missing": BadBundle(_descriptor_missing, "invalid_bundle", (".hdd", "has no DiskDescriptor.xml")),
    "an image cut short": BadBundle(_image_cut_short, "invalid_bundle", (".hds", "is cut short")),
    "a physical disk": BadBundle(_physical_disk, "invalid_bundle", ("disk0", "Boot Camp")),
    "a link outside": BadBundle(_link_outside, "unsafe_path", ("shared",)),
    "a hard link outside": BadBundle(_hard_link, "invalid_bundle", ("NVRAM.dat",)),
    "one name twice": BadBundle(_one_name_twice, "unsafe_path", ("README",)),
    "a pipe": BadBundle(_pipe, "invalid_bundle", ("pipe",)),
}


@dataclass(frozen=True)
class BadRequest:
    """Options of a task, the error word of its refusal, and words that the message must have."""

    options: dict[str, t.Any]
    code: str
    words: tuple[str, ...] = ()


BAD_REQUESTS = {
    "a wrong password": BadRequest(
        {"catalog_username": "{{ pusher }}", "catalog_password": "{{ wrong }}"}, "invalid_credentials"
    ),
    "a wrong API key": BadRequest({"catalog_api_key": "{{ wrong }}:{{ wrong }}"}, "invalid_credentials"),
    "no token": BadRequest({"catalog_token": "{{ wrong | replace(' ', '') }}"}, "unauthenticated"),
    "an expired token": BadRequest({"catalog_token": "{{ expired }}"}, "token_expired"),
    "no right to push": BadRequest({"catalog_token": "{{ reader_token }}"}, "forbidden", ("PUSH_CATALOG_MANIFEST",)),
    "no server": BadRequest({"catalog_url": "{{ nowhere }}"}, "unreachable", ("{{ nowhere }}",)),
    "no such base": BadRequest({"bases": ["0.0.1"]}, "unknown_manifest", ("0.0.1",)),
    "no version": BadRequest({"version": "latest"}, "bad_request", ("latest",)),
    "a strange version": BadRequest({"version": "1.0/../2"}, "bad_request", ("'/'",)),
    "a strange architecture": BadRequest({"architecture": "m68k"}, "bad_request", ("m68k",)),
    "a chunk of a strange size": BadRequest({"chunk_size": 100000}, "invalid_option", ("100000", "65536")),
}


@pytest.fixture(scope="module")
def variables(server: Server, reader: User, pusher: User, nowhere: str) -> dict[str, str]:
    return {
        "nowhere": nowhere,
        "wrong": "this is not the password",
        "pusher": pusher.name,
        "reader_token": reader.token,
        "expired": _expired_token(server, pusher),
    }


def _expired_token(server: Server, user: User) -> str:
    """A token of another process of the same server, whose tokens live for a second."""
    settings = {"CATALOG_TOKEN_SECONDS": "1", "CATALOG_LOG_LEVEL": "warning"}
    with ServerProcess(server.process.directory, server.process.python, settings) as replica:
        body = {"username": user.name, "password": user.password}
        status, reply = server.ask("POST", "/auth/token", None, body, url=replica.url)
    assert status == 200, reply
    while time.time() <= reply["expires_at"]:
        time.sleep(0.1)
    return str(reply["token"])


def leavings(server: Server, place: Path) -> list[t.Any]:
    """What a push that goes wrong could leave: manifests, uploads, objects, files beside the bundles."""
    with contextlib.closing(sqlite3.connect(server.process.directory / "catalog.db")) as database:
        uploads = database.execute("select id from uploads where state = 'open'").fetchall()
    # A virtual machine that ran leaves its lock file by itself.
    files = sorted(str(path) for path in place.rglob("*") if path.name != "vm.lock")
    return [server.manifests(IMAGE), uploads, server.segments(), files]


@dataclass(frozen=True)
class Refusals:
    """What came of the tasks, and what there was before and after them."""

    results: Results
    before: list[t.Any]
    after: list[t.Any]


@pytest.fixture(scope="module")
def bad_bundles(stage: Stage, server: Server) -> Refusals:
    place = stage.builder.home / "bad bundles"
    tasks: list[Task] = []
    holders = contextlib.ExitStack()
    for name, bad in BAD_BUNDLES.items():
        bundle = bad.make(place / name)
        if bad.held:
            fcntl.flock(holders.enter_context(open(bundle / bad.held, "r+b")), fcntl.LOCK_EX)
        wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0"}
        tasks.append(task(name, "catalog_push", wanted, may_fail=True))
    running = small_bundle(place / "running", "Running", disk=bundles.PLAIN)
    for words in (["register", str(running)], ["start", "Running"]):
        tasks.append(task(words[0], "ansible.builtin.command", {"argv": ["prlctl", *words]}))
    wanted = {"path": str(running), "catalog_id": IMAGE, "version": "1.0.0"}
    tasks.append(task("running", "catalog_push", wanted, may_fail=True))
    tasks.append(task("running, check", "catalog_push", wanted, may_fail=True, check=True))
    for words in (["stop", "Running", "--kill"], ["unregister", "Running"]):
        tasks.append(task(words[0], "ansible.builtin.command", {"argv": ["prlctl", *words]}))
    before = leavings(server, place)
    with holders:
        return Refusals(stage.play("builder", tasks), before, leavings(server, place))


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused(bad_bundles: Refusals, name: str) -> None:
    assert_refused(bad_bundles.results[name], BAD_BUNDLES[name].code, *BAD_BUNDLES[name].words)


def test_a_running_vm_is_refused(bad_bundles: Refusals) -> None:
    for name in ("running", "running, check"):
        assert_refused(bad_bundles.results[name], "bundle_in_use", "Running.pvm", "running")


def test_no_bad_bundle_left_anything(bad_bundles: Refusals) -> None:
    assert bad_bundles.after == bad_bundles.before
    assert bad_bundles.after[0] == []


@pytest.fixture(scope="module")
def bad_requests(stage: Stage, server: Server, variables: dict[str, str]) -> Refusals:
    place = stage.builder.home / "bad requests"
    bundle = small_bundle(place, "Good")
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0"}
    tasks = [task(name, "catalog_push", {**wanted, **bad.options}, may_fail=True) for name, bad in BAD_REQUESTS.items()]
    before = leavings(server, place)
    return Refusals(stage.play("builder", tasks, variables), before, leavings(server, place))


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused(bad_requests: Refusals, variables: dict[str, str], name: str) -> None:
    bad = BAD_REQUESTS[name]
    words = [word.replace("{{ nowhere }}", variables["nowhere"]) for word in bad.words]
    message = assert_refused(bad_requests.results[name], bad.code, *words)
    assert variables["wrong"] not in message


def test_no_bad_request_left_anything(bad_requests: Refusals) -> None:
    assert bad_requests.after == bad_requests.before
    assert bad_requests.after[0] == []


def test_what_belongs_to_the_build_mac_stays_there(stage: Stage) -> None:
    bundle = small_bundle(stage.builder.home / "used", "Used")
    before = tree(bundle)
    # A virtual machine of Windows that ran, was shut down, and has an ISO of the build in its drive.
    for name in ("vm.lock", "{5fbaabe3}.mem.sh", "statistic.log", "config.pvs.backup", "Icon\r", "._config.pvs"):
        (bundle / name).touch()
    (bundle / "Windows Disks").mkdir()
    (bundle / "Windows Disks/C").symlink_to("/Volumes/[C] Windows 11")
    (bundle / "Windows 11.app/Contents/MacOS").mkdir(parents=True)
    (bundle / "Windows 11.app/Contents/MacOS/WinAppHelper").touch()
    _add_device(bundle, "<CdRom><SystemName>/Users/build/Downloads/win.iso</SystemName></CdRom>")
    wanted = {"path": str(bundle), "catalog_id": "used", "version": "1.0.0"}
    pushed = stage.play("builder", [task("push", "catalog_push", wanted)])["push"]
    assert ["win.iso" in str(warning) for warning in pushed.result["warnings"]] == [True]
    pulled = stage.play("mac03", [task("pull", "catalog_pull", {"catalog_id": "used", "state": "cached"})])["pull"]
    after = tree(stage.mac("mac03").cached(pulled.result["manifest"]["digest"]))
    assert after.keys() == before.keys()


CHANGE = b"changed while it was read"


def push_held(stage: Stage, gate: Gate, path: str, catalog_id: str, change: t.Callable[[], None]) -> TaskResult:
    """What comes of a push when ``change`` happens in the middle of it."""
    wanted = {"path": path, "catalog_id": catalog_id, "version": "1.0.0", "catalog_url": gate.url}
    gate.hold(UP, lambda total: total > 8 * MIB)
    run = stage.start("builder", [task("push", "catalog_push", wanted, may_fail=True)])
    assert gate.wait_until_held(60)
    change()
    gate.release()
    return Results(run.wait(120), run.log)["push"]


def test_a_bundle_that_changes_is_refused(stage: Stage, server: Server, gate: Gate) -> None:
    bundle = small_bundle(stage.builder.home / "changing", "Changing", 24 * MIB)

    def change() -> None:
        with open(bundles.image_path(str(bundle)), "r+b") as stream:
            stream.seek(16 * MIB)
            stream.write(CHANGE)

    done = push_held(stage, gate, str(bundle), "changing", change)
    if done.result.get("cloned"):
        # The disk of this host has clones, which the next test is about.
        return
    assert_refused(done, "bundle_changed", str(bundle))
    assert server.manifests("changing") == []


def test_of_a_bundle_on_a_disk_with_clones_a_clone_is_pushed(stage: Stage, gate: Gate) -> None:
    if os.geteuid() != 0 or stage.missing_ssh:
        pytest.skip("a disk with clones can be mounted by root only, in the mount namespace of a host")
    disk = stage.builder.home / "disk with clones"
    bundle = small_bundle(stage.builder.home / "cloned", "Cloned", 24 * MIB)
    before, there = tree(bundle), disk / bundle.name
    make_reflink_image(disk.with_suffix(".img"), 512 * MIB, stage.work / "packages")
    left = f".push-{'0123456789abcdef' * 2}-{bundle.name}"
    stage.play(
        "builder",
        [
            command("mkdir", str(disk)),
            command("mount", "-o", "loop", f"{disk}.img", str(disk)),
            command("cp", "-a", str(bundle), str(disk)),
            # What a push left that was killed.
            command("mkdir", f"{disk}/{left}", f"{disk}/.{left}.incomplete"),
        ],
    )
    write = f"printf '{CHANGE.decode()}' | dd of='{bundles.image_path(str(there))}' bs=1M seek=16 conv=notrunc"
    seen: list[Results] = []

    def change() -> None:
        seen.append(stage.play("builder", [command("sh", "-c", write), command("ls", "-A", str(disk), name="during")]))

    try:
        done = push_held(stage, gate, str(there), "cloned", change)
        after = stage.play("builder", [command("ls", "-A", str(disk), name="after")])
    finally:
        stage.play("builder", [command("umount", str(disk))])
    assert done.result["cloned"] and done.result["changed"]
    (cloned,) = {*seen[0]["during"].result["stdout_lines"]} - {bundle.name}
    assert cloned.startswith(".push-") and cloned != left
    assert after["after"].result["stdout_lines"] == [bundle.name]
    pulled = stage.play("mac03", [task("pull", "catalog_pull", {"catalog_id": "cloned", "state": "cached"})])
    assert tree(stage.mac("mac03").cached(pulled["pull"].result["manifest"]["digest"])) == before


def command(*words: str, name: str = "command") -> Task:
    """A task that runs a command."""
    return task(name, "ansible.builtin.command", {"argv": list(words)})
