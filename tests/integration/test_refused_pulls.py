# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls that must not happen, and what they leave: nothing."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import (
    ARCHITECTURE,
    OTHER_ARCHITECTURE,
    Mac,
    Results,
    Stage,
    Task,
    User,
    task,
)

OPEN = "open-image"
SECRET = "secret-image"
FOREIGN = "foreign-image"
HUNGRY = "hungry-image"
TAINTED = "tainted-image"
REVOKED = "revoked-image"


@dataclass(frozen=True)
class BadPull:
    """Options of a pull, the error word of its refusal, and words that the message must have."""

    options: dict[str, t.Any]
    code: str
    words: tuple[str, ...] = ()


BAD_PULLS = {
    "unknown id": BadPull({"catalog_id": "no-image"}, "unknown_manifest", ("no-image",)),
    "unknown version": BadPull({"catalog_id": OPEN, "version": "7.0.0"}, "unknown_manifest", (OPEN, "7.0.0")),
    "unknown range": BadPull({"catalog_id": OPEN, "version": ">=7"}, "unknown_manifest", (OPEN, ">=7")),
    "unknown architecture": BadPull(
        {"catalog_id": OPEN, "architecture": OTHER_ARCHITECTURE}, "unknown_manifest", (OPEN, OTHER_ARCHITECTURE)
    ),
    "for other hardware": BadPull({"catalog_id": FOREIGN}, "unknown_manifest", (FOREIGN,)),
    "no access": BadPull({"catalog_id": SECRET, "catalog_token": "{{ reader_token }}"}, "unknown_manifest", (SECRET,)),
    "no such image": BadPull(
        {"catalog_id": "public-image", "catalog_token": "{{ reader_token }}"}, "unknown_manifest", ("public-image",)
    ),
    "tainted": BadPull({"catalog_id": TAINTED, "version": "1.0.0"}, "tainted", (TAINTED, "1.0.0")),
    "tainted, by tag": BadPull({"catalog_id": TAINTED}, "tainted", (TAINTED,)),
    "tainted, by range": BadPull({"catalog_id": TAINTED, "version": "1.*"}, "unknown_manifest", (TAINTED, "1.*")),
    "revoked": BadPull({"catalog_id": REVOKED, "version": "1.0.0"}, "revoked", (REVOKED, "1.0.0")),
    "cached, tainted": BadPull({"catalog_id": TAINTED, "version": "1.0.0", "state": "cached"}, "tainted", (TAINTED,)),
    "hungry": BadPull({"catalog_id": HUNGRY}, "requirements_unmet", (HUNGRY, "4096 processor cores", "MiB of memory")),
    "foreign name": BadPull({"catalog_id": OPEN, "name": "Foreign"}, "vm_name_taken", ("Foreign",)),
    "taken path": BadPull({"catalog_id": OPEN, "name": "Taken"}, "path_taken", ("Taken.pvm",)),
    "no server": BadPull({"catalog_id": OPEN, "catalog_url": "{{ nowhere }}"}, "unreachable", ("http://127.0.0.1:",)),
    "bad name": BadPull({"catalog_id": OPEN, "name": "../escape"}, "vm_name_invalid", ("../escape",)),
    "bad range": BadPull({"catalog_id": OPEN, "version": ">=one"}, "bad_request", (">=one",)),
    "unsafe cache": BadPull(
        {"catalog_id": OPEN, "state": "cached", "cache_path": "{{ unsafe }}"}, "cache_unsafe", ("0777",)
    ),
    "cache below an unsafe directory": BadPull(
        {"catalog_id": OPEN, "state": "cached", "cache_path": "{{ unsafe }}/cache"}, "cache_unsafe", ("0777",)
    ),
    "a link as cache": BadPull(
        {"catalog_id": OPEN, "state": "cached", "cache_path": "{{ linked }}"}, "cache_unsafe", ("symbolic link",)
    ),
    "no Parallels": BadPull(
        {"catalog_id": OPEN, "prlctl_path": "/nonexistent/prlctl"}, "prlctl_missing", ("/nonexistent/prlctl",)
    ),
}


@pytest.fixture(scope="module")
def mac(stage: Stage) -> Mac:
    return stage.mac("mac02")


@pytest.fixture(scope="module")
def variables(mac: Mac, reader: User, nowhere: str) -> dict[str, str]:
    unsafe = mac.home / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    (mac.home / "linked").symlink_to(mac.home / "elsewhere")
    return {"nowhere": nowhere, "reader_token": reader.token, "unsafe": str(unsafe), "linked": str(mac.home / "linked")}


@pytest.fixture(scope="module")
def images(stage: Stage) -> Results:
    """The images that are refused, and one that is not."""
    bundle = small_bundle(stage.builder.home / "refused pulls", "Image")
    common = {"path": str(bundle), "version": "1.0.0", "architecture": "{{ omit }}"}
    special: dict[str, dict[str, t.Any]] = {
        OPEN: {},
        SECRET: {"required_roles": ["OPERATORS"]},
        FOREIGN: {"architecture": OTHER_ARCHITECTURE},
        HUNGRY: {"minimum_requirements": {"cpu": 4096, "memory_mb": 1 << 30}},
        TAINTED: {},
        REVOKED: {},
    }
    tasks = [task(name, "catalog_push", {**common, "catalog_id": name, **more}) for name, more in special.items()]
    return stage.play("builder", tasks)


@pytest.fixture(scope="module")
def pulls(stage: Stage, mac: Mac, images: Results, variables: dict[str, str]) -> tuple[Results, list[t.Any]]:
    """All refusals, and what the host held before and after them."""
    foreign = small_bundle(mac.home / "Other", "Foreign")
    (mac.vm_home("Taken")).mkdir(parents=True)
    prepared: list[Task] = [
        task("register", "ansible.builtin.command", {"argv": ["prlctl", "register", str(foreign)]}),
        task("taint", "catalog_manifest", {"catalog_id": TAINTED, "version": "1.0.0", "tainted": True}),
        task("revoke", "catalog_manifest", {"catalog_id": REVOKED, "version": "1.0.0", "revoked": True}),
    ]
    stage.play("mac02", prepared)
    before = mac.holdings(Path(variables["unsafe"]), mac.home)
    tasks = [task(name, "catalog_pull", bad.options, may_fail=True) for name, bad in BAD_PULLS.items()]
    tasks += [
        task(f"{name}, check", "catalog_pull", bad.options, may_fail=True, check=True)
        for name, bad in BAD_PULLS.items()
        if name in ("hungry", "foreign name", "unsafe cache", "tainted")
    ]
    results = stage.play("mac02", tasks, variables)
    return results, [before, mac.holdings(Path(variables["unsafe"]), mac.home)]


@pytest.mark.parametrize("name", BAD_PULLS)
def test_a_bad_pull_is_refused(pulls: tuple[Results, list[t.Any]], name: str) -> None:
    bad = BAD_PULLS[name]
    results, _holdings = pulls
    message = assert_refused(results[name], bad.code, *bad.words)
    if f"{name}, check" in {row.task for row in results.rows}:
        assert assert_refused(results[f"{name}, check"], bad.code) == message


def test_no_access_looks_like_unknown(pulls: tuple[Results, list[t.Any]]) -> None:
    hidden, unknown = (pulls[0][name].result for name in ("no access", "no such image"))
    assert hidden["msg"].replace(SECRET, "public-image") == unknown["msg"]
    assert hidden["details"]["status"] == unknown["details"]["status"]


def test_no_bad_pull_left_anything(pulls: tuple[Results, list[t.Any]]) -> None:
    before, after = pulls[1]
    assert after == before


def test_a_vm_outlives_its_version(stage: Stage, mac: Mac, images: Results) -> None:
    wanted = {"catalog_id": "outlived", "version": "1.0.0", "name": "Outlived"}
    bundle = small_bundle(stage.builder.home / "outlived", "Outlived")
    stage.play("builder", [task("push", "catalog_push", {**wanted, "name": "{{ omit }}", "path": str(bundle)})])
    address = {"catalog_id": "outlived", "version": "1.0.0"}
    done = stage.play(
        "mac02",
        [
            task("made", "catalog_pull", wanted),
            task("taint", "catalog_manifest", {**address, "tainted": True}),
            task("tainted", "catalog_pull", wanted),
            task("revoke", "catalog_manifest", {**address, "revoked": True}),
            task("revoked, check", "catalog_pull", {**wanted, "state": "started"}, check=True),
            task("revoked", "catalog_pull", {**wanted, "state": "started"}),
            task("another VM", "catalog_pull", {**wanted, "name": "Late"}, may_fail=True),
            task("absent", "catalog_pull", {**wanted, "state": "absent"}),
        ],
    )
    for name, state in (("tainted", "tainted"), ("revoked, check", "revoked"), ("revoked", "revoked")):
        result = done[name].result
        assert not result["changed"]
        assert result["manifest_state"] == state
        assert result["vm"]["state"] == "stopped" and result["vm"]["uuid"] == done["made"].result["vm"]["uuid"]
        assert any("Outlived" in warning and state in warning for warning in result["warnings"])
    assert_refused(done["another VM"], "revoked", "outlived")
    # Whoever wants to be rid of it needs nobody's leave.
    assert done["absent"].result["changed"]
    assert not mac.vm_home("Outlived").exists()


def test_one_architecture_of_two_is_tainted(stage: Stage, mac: Mac, images: Results) -> None:
    bundle = small_bundle(stage.builder.home / "two kinds", "Two kinds")
    address = {"catalog_id": "two-kinds", "version": "1.0.0"}
    ours, theirs = ({**address, "architecture": name} for name in (ARCHITECTURE, OTHER_ARCHITECTURE))
    done = stage.play(
        "mac02",
        [
            task("push ours", "catalog_push", {**ours, "path": str(bundle)}, delegate_to="builder"),
            task("push theirs", "catalog_push", {**theirs, "path": str(bundle)}, delegate_to="builder"),
            task("made", "catalog_pull", {**address, "name": "Two kinds"}),
            task("taint", "catalog_manifest", {**ours, "tainted": True}),
            task("stays", "catalog_pull", {**address, "name": "Two kinds", "state": "started"}),
            task("another VM", "catalog_pull", {**address, "name": "Late"}, may_fail=True),
            task("absent", "catalog_pull", {**address, "name": "Two kinds", "state": "absent"}),
        ],
    )
    stays = done["stays"].result
    assert not stays["changed"] and stays["manifest_state"] == "tainted"
    assert stays["vm"]["state"] == "stopped" and stays["vm"]["uuid"] == done["made"].result["vm"]["uuid"]
    assert any("Two kinds" in warning and "tainted" in warning for warning in stays["warnings"])
    assert_refused(done["another VM"], "tainted", "two-kinds", ARCHITECTURE)


def test_facts_are_not_published_through_a_link(stage: Stage, mac: Mac, images: Results) -> None:
    target = mac.home / "precious"
    target.write_text("precious", encoding="utf-8")
    facts = mac.home / "facts"
    owned = facts / stage.user
    owned.mkdir(parents=True)
    (owned / "facts.json").symlink_to(target)
    wanted = {"catalog_id": OPEN, "name": "Linked", "facts_directory": str(facts)}
    before = mac.holdings()
    refused = stage.play("mac02", [task("pull", "catalog_pull", wanted, may_fail=True)])
    assert_refused(refused["pull"], "facts_unsafe", "facts.json", "symbolic link")
    assert target.read_text(encoding="utf-8") == "precious"
    assert mac.holdings() == before
    gathered = stage.play("mac02", [task("facts", "catalog_cache_facts", {"facts_directory": str(facts)})])
    owners = gathered["facts"].result["ansible_facts"]["parallels_catalog"]["owners"]
    assert owners == {stage.user: {"readable": False}}


def test_a_full_disk_is_told_before_the_transfer(stage: Stage, images: Results) -> None:
    if os.geteuid() != 0 or stage.missing_ssh:
        pytest.skip("a small file system can be mounted by root only, in the mount namespace of a host")
    mac = stage.mac("mac03")
    small = mac.home / "small"
    small.mkdir()
    mount = {"argv": ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(small)]}
    wanted = {"catalog_id": OPEN, "state": "cached", "cache_path": str(small / "cache")}
    asked = len(stage.server.process.requests())
    done = stage.play(
        "mac03",
        [
            task("mount", "ansible.builtin.command", mount),
            task("check", "catalog_pull", wanted, may_fail=True, check=True),
            task("after the check", "ansible.builtin.command", {"argv": ["find", str(small)]}),
            task("pull", "catalog_pull", wanted, may_fail=True),
            task("after the pull", "ansible.builtin.command", {"argv": ["find", str(small)]}),
            task("unmount", "ansible.builtin.command", {"argv": ["umount", str(small)]}),
        ],
    )
    for name in ("check", "pull"):
        assert_refused(done[name], "disk_full", OPEN, str(small / "cache"), "bytes")
        assert done[name].result["details"]["needed_bytes"] > done[name].result["details"]["free_bytes"]
        assert done[f"after the {name}"].result["stdout_lines"] == [str(small)]
    assert not [line for line in stage.server.process.requests()[asked:] if "/objects/" in line]


def test_room_for_a_copy_is_counted_before_the_transfer(stage: Stage) -> None:
    """Without clones the image lies there twice: 24 MiB once more, and a margin of 64 MiB."""
    if os.geteuid() != 0 or stage.missing_ssh:
        pytest.skip("a small file system can be mounted by root only, in the mount namespace of a host")
    bundle = small_bundle(stage.builder.home / "refused pulls", "Large", 24 * MIB)
    stage.play("builder", [task("push", "catalog_push", {"path": str(bundle), "catalog_id": "large", "version": "1"})])
    mac = stage.mac("mac03")
    places = {"once": 104, "tiny": 16}
    for name in places:
        (mac.home / name).mkdir()
    once, tiny = (str(mac.home / name) for name in places)
    cached = {"catalog_id": "large", "cache_path": f"{once}/cache", "state": "cached"}
    here = {**cached, "state": "present", "name": "Full", "path": f"{once}/vms"}
    there = {**here, "path": f"{tiny}/vms"}
    mounts = [
        task(
            f"mount {name}",
            "ansible.builtin.command",
            {"argv": ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", str(mac.home / name)]},
        )
        for name, mib in places.items()
    ]
    asked = len(stage.server.process.requests())
    before = mac.holdings()
    refused = stage.play(
        "mac03",
        [
            *mounts,
            task("here, check", "catalog_pull", here, may_fail=True, check=True),
            task("here", "catalog_pull", here, may_fail=True),
            task("there", "catalog_pull", there, may_fail=True),
            task("what is there", "ansible.builtin.command", {"argv": ["find", once, tiny]}),
        ],
    )
    assert not [line for line in stage.server.process.requests()[asked:] if "/objects/" in line]
    done = stage.play(
        "mac03",
        [
            task("cached", "catalog_pull", cached),
            task("copy, check", "catalog_pull", here, may_fail=True, check=True),
            task("copy", "catalog_pull", here, may_fail=True),
            task("copy there", "catalog_pull", there, may_fail=True),
            task("what is there", "ansible.builtin.command", {"argv": ["find", once, tiny, "-maxdepth", "1"]}),
            task("unmount", "ansible.builtin.command", {"argv": ["umount", once, tiny]}),
        ],
    )
    for results, name, words in (
        (refused, "here, check", (f"Pulling large 1 into {once}/cache and copying large 1 to {once}/vms/Full.pvm",)),
        (refused, "here", (f"Pulling large 1 into {once}/cache and copying large 1 to {once}/vms/Full.pvm",)),
        (refused, "there", (f"Copying large 1 to {tiny}/vms/Full.pvm",)),
        (done, "copy, check", (f"Copying large 1 to {once}/vms/Full.pvm",)),
        (done, "copy", (f"Copying large 1 to {once}/vms/Full.pvm",)),
        (done, "copy there", (f"Copying large 1 to {tiny}/vms/Full.pvm",)),
    ):
        assert_refused(results[name], "disk_full", "bytes", *words)
        assert results[name].result["details"]["needed_bytes"] > results[name].result["details"]["free_bytes"]
    # Nothing at all, and then the image alone, for which there was room.
    assert refused["what is there"].result["stdout_lines"] == [once, tiny]
    assert done["cached"].result["changed"]
    assert sorted(done["what is there"].result["stdout_lines"]) == sorted([once, f"{once}/cache", tiny])
    assert mac.holdings() == before
