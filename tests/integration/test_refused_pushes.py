# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pushes that must not happen: bad bundles, bad addresses, bad credentials."""

from __future__ import annotations

import os
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
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

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
    (bundle / "harddisk.hdd/harddisk.lock").touch()
    return bundle


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
    """A bundle, the error word of its refusal, and words that the message must have."""

    make: t.Callable[[Path], Path]
    code: str
    words: tuple[str, ...] = ()


BAD_BUNDLES = {
    "no bundle": BadBundle(_no_bundle, "invalid_bundle", ("Nothing.pvm",)),
    "an empty directory": BadBundle(_empty_directory, "invalid_bundle", ("config.pvs",)),
    "a disk in use": BadBundle(_marked_in_use, "bundle_in_use", (".hds", "in use")),
    "a lock file": BadBundle(_locked, "bundle_in_use", ("harddisk.lock",)),
    "suspended": BadBundle(_suspended, "bundle_in_use", ("memory.mem", "allow_suspended")),
    "an image outside": BadBundle(_image_outside, "invalid_bundle", ("/elsewhere/", "DiskDescriptor.xml")),
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


@pytest.fixture(scope="module")
def bad_bundles(stage: Stage) -> Results:
    place = stage.builder.home / "bad bundles"
    tasks: list[Task] = []
    for name, bad in BAD_BUNDLES.items():
        wanted = {"path": str(bad.make(place / name)), "catalog_id": IMAGE, "version": "1.0.0"}
        tasks.append(task(name, "catalog_push", wanted, may_fail=True))
    running = small_bundle(place / "running", "Running", disk=bundles.PLAIN)
    for words in (["register", str(running)], ["start", "Running"]):
        tasks.append(task(words[0], "ansible.builtin.command", {"argv": ["prlctl", *words]}))
    wanted = {"path": str(running), "catalog_id": IMAGE, "version": "1.0.0"}
    tasks.append(task("running", "catalog_push", wanted, may_fail=True))
    tasks.append(task("running, check", "catalog_push", wanted, may_fail=True, check=True))
    for words in (["stop", "Running", "--kill"], ["unregister", "Running"]):
        tasks.append(task(words[0], "ansible.builtin.command", {"argv": ["prlctl", *words]}))
    return stage.play("builder", tasks)


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused(bad_bundles: Results, name: str) -> None:
    assert_refused(bad_bundles[name], BAD_BUNDLES[name].code, *BAD_BUNDLES[name].words)


def test_a_running_vm_is_refused(bad_bundles: Results) -> None:
    for name in ("running", "running, check"):
        assert_refused(bad_bundles[name], "bundle_in_use", "Running.pvm", "running")


def test_no_bad_bundle_left_anything(bad_bundles: Results, server: Server) -> None:
    assert server.manifests(IMAGE) == []


@pytest.fixture(scope="module")
def bad_requests(stage: Stage, variables: dict[str, str]) -> Results:
    bundle = small_bundle(stage.builder.home / "bad requests", "Good")
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0"}
    tasks = [task(name, "catalog_push", {**wanted, **bad.options}, may_fail=True) for name, bad in BAD_REQUESTS.items()]
    return stage.play("builder", tasks, variables)


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused(bad_requests: Results, variables: dict[str, str], name: str) -> None:
    bad = BAD_REQUESTS[name]
    words = [word.replace("{{ nowhere }}", variables["nowhere"]) for word in bad.words]
    message = assert_refused(bad_requests[name], bad.code, *words)
    assert variables["wrong"] not in message


def test_no_bad_request_left_anything(bad_requests: Results, server: Server) -> None:
    assert server.manifests(IMAGE) == []


def test_a_bundle_that_changes_is_refused_or_was_cloned(stage: Stage, server: Server, gate: Gate) -> None:
    bundle = small_bundle(stage.builder.home / "changing", "Changing", 24 * MIB)
    before = tree(bundle)
    wanted = {"path": str(bundle), "catalog_id": "changing", "version": "1.0.0", "catalog_url": gate.url}
    gate.hold(UP, lambda total: total > 8 * MIB)
    run = stage.start("builder", [task("push", "catalog_push", wanted, may_fail=True)])
    assert gate.wait_until_held(60)
    with open(bundles.image_path(str(bundle)), "r+b") as stream:
        stream.seek(16 * MIB)
        stream.write(b"changed while it was read")
    gate.release()
    done = Results(run.wait(120), run.log)["push"]
    if done.result.get("cloned"):
        assert done.result["changed"] and before != tree(bundle)
        return
    assert_refused(done, "bundle_changed", str(bundle))
    assert server.manifests("changing") == []
