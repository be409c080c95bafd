# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import stat
import threading
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import FactsTooLarge, FactsUnsafe
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.tests.unit.support.hostile_facts import HOSTILE
from ansible_collections.macfleet.parallels.tests.unit.support.macs import (
    ADDRESS,
    DIGEST,
    UUID,
    fill,
    make_receipt,
    make_record,
    needs_root,
)

NOW = "2026-11-24T08:00:00Z"
CACHE = {"owner": "ci", "entries": []}


@pytest.fixture
def published(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "facts/ci").mkdir(parents=True)
    return tmp_path / "facts"


def test_cache_is_described_whole(cache: Cache) -> None:
    fill(pathlib.Path(cache.partial(DIGEST).bundle_path))
    cache.publish(DIGEST, make_record())
    cache.mark_manifest_state(
        DIGEST, type(ADDRESS)("https://u:hunter2@catalog.example.com", "macos-15", "1.4.0", "arm64", "tainted")
    )
    pathlib.Path(cache.partial("cd" * 32).bundle_path, "half").write_bytes(os.urandom(70000))
    os.sync()
    document = facts.cache_document(cache, "ci", NOW)
    assert document["totals"]["entries"] == document["totals"]["partials"] == 1
    assert document["totals"]["logical_bytes"] == 3 << 20
    assert document["totals"]["partial_bytes"] >= 70000
    assert document["free_bytes"] > 0
    assert document["updated_at"] == NOW
    entry = document["entries"][0]
    assert entry["digest"] == DIGEST
    assert [address["state"] for address in entry["addresses"]] == ["active", "tainted"]
    assert "files" not in entry
    assert "hunter2" not in json.dumps(document)


def test_empty_cache_is_described(tmp_path: pathlib.Path) -> None:
    document = facts.cache_document(Cache.open(str(tmp_path / "none"), create=False), "ci", NOW)
    assert document["entries"] == document["damaged"] == []
    assert document["totals"]["entries"] == 0


def test_machines_have_their_receipt_and_state() -> None:
    receipt = make_receipt(state="ready")
    machine = VirtualMachine(UUID, "renamed", "running", "/moved/renamed.macvm")
    (found,) = facts.vm_documents([receipt], [machine])
    assert (found["uuid"], found["name"], found["state"], found["home"]) == (
        UUID,
        "renamed",
        "running",
        "/moved/renamed.macvm",
    )
    assert found["receipt"]["version"] == "1.4.0"
    assert facts.vm_documents([receipt], [])[0]["state"] == "missing"
    assert facts.vm_documents([receipt], None)[0]["state"] == "unknown"


def test_published_facts_are_read_by_everybody(published: pathlib.Path) -> None:
    path = facts.publish(str(published), "ci", "/cache", CACHE, [{"uuid": UUID, "cache_path": "/cache"}])
    assert path == str(published / "ci/facts.json")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    assert facts.read_published(str(published)) == {
        "caches": {"/cache": CACHE},
        "vms": [{"uuid": UUID, "cache_path": "/cache"}],
        "owners": {"ci": {"readable": True}},
    }


def test_other_caches_of_the_owner_stay(published: pathlib.Path) -> None:
    first, second = {"uuid": "1", "cache_path": "/one"}, {"uuid": "2", "cache_path": "/two"}
    facts.publish(str(published), "ci", "/one", CACHE, [first])
    facts.publish(str(published), "ci", "/two", CACHE, [second])
    facts.publish(str(published), "ci", "/one", {"owner": "ci", "entries": [1]}, [])
    document = facts.read_published(str(published))
    assert document["caches"] == {"/one": {"owner": "ci", "entries": [1]}, "/two": CACHE}
    assert document["vms"] == [second]


def test_tasks_that_publish_together_lose_nothing(published: pathlib.Path) -> None:
    paths = [f"/cache-{number}" for number in range(8)]
    threads = [threading.Thread(target=facts.publish, args=(str(published), "ci", path, CACHE, [])) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(facts.read_published(str(published))["caches"]) == paths


def test_host_without_a_directory_for_facts_publishes_none(tmp_path: pathlib.Path) -> None:
    assert facts.publish(str(tmp_path / "facts"), "ci", "/cache", CACHE, []) is None
    assert list(tmp_path.iterdir()) == []
    assert facts.read_published(str(tmp_path / "facts")) == {"caches": {}, "vms": [], "owners": {}}


def refused(published: pathlib.Path) -> FactsUnsafe:
    with pytest.raises(FactsUnsafe) as caught:
        facts.publish(str(published), "ci", "/cache", CACHE, [])
    assert caught.value.code == "facts_unsafe"
    return caught.value


def test_facts_file_that_is_a_link(published: pathlib.Path) -> None:
    victim = published / "victim"
    victim.write_text("precious")
    (published / "ci/facts.json").symlink_to(victim)
    assert "symbolic link" in refused(published).message
    assert victim.read_text() == "precious"
    assert (published / "ci/facts.json").is_symlink()


def test_directory_for_facts_that_is_a_link(published: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (published / "ci").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (published / "ci").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(published).message
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_directory_for_facts_that_others_can_write(published: pathlib.Path) -> None:
    (published / "ci").chmod(0o777)
    assert "0777" in refused(published).message


@needs_root
def test_directory_for_facts_of_somebody_else(published: pathlib.Path) -> None:
    os.chown(published / "ci", 12345, -1)
    assert "belongs to user id 12345" in refused(published).message


@pytest.mark.parametrize(
    "content",
    HOSTILE,
    ids=lambda content: repr(content[:16]),
)
def test_what_cannot_be_read_says_so(published: pathlib.Path, content: bytes) -> None:
    (published / "eve").mkdir()
    (published / "eve/facts.json").write_bytes(content)
    facts.publish(str(published), "ci", "/cache", CACHE, [])
    document = facts.read_published(str(published))
    assert document["owners"] == {"ci": {"readable": True}, "eve": {"readable": False}}
    assert list(document["caches"]) == ["/cache"]


def _link(path: pathlib.Path) -> None:
    path.symlink_to("/etc/hostname")


def _large(path: pathlib.Path) -> None:
    path.write_bytes(b'{"vms": [' + b" " * (1 << 20) + b"]}")


@pytest.mark.parametrize("make", [_link, os.mkfifo, pathlib.Path.mkdir, _large])
def test_what_is_no_small_regular_file_is_not_read(
    published: pathlib.Path, make: t.Callable[[pathlib.Path], None]
) -> None:
    make(published / "ci/facts.json")
    assert facts.read_published(str(published))["owners"] == {"ci": {"readable": False}}


def test_linked_directory_of_an_owner_is_not_read(published: pathlib.Path) -> None:
    (published / "ci").rename(published.parent / "elsewhere")
    (published.parent / "elsewhere/facts.json").write_text("{}")
    (published / "ci").symlink_to(published.parent / "elsewhere")
    assert facts.read_published(str(published))["owners"] == {"ci": {"readable": False}}


@needs_root
def test_of_two_who_publish_a_path_the_owner_of_the_directory_counts(
    published: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    for owner, uid in (("ci", 12345), ("zed", 12346)):
        (published / owner).mkdir(exist_ok=True)
        forged = {"caches": {str(directory): {"owner": owner}}, "vms": [{"uuid": owner, "cache_path": str(directory)}]}
        (published / owner / "facts.json").write_text(json.dumps(forged))
        os.chown(published / owner, uid, -1)
    os.chown(directory, 12345, -1)
    document = facts.read_published(str(published))
    assert document["caches"] == {str(directory): {"owner": "ci"}}
    assert [vm["uuid"] for vm in document["vms"]] == ["ci"]
    directory.rmdir()
    document = facts.read_published(str(published))
    assert document["caches"] == {} and document["vms"] == []
    assert document["owners"] == {"ci": {"readable": True}, "zed": {"readable": True}}


def test_more_facts_than_a_reader_takes_do_not_replace_what_is_there(published: pathlib.Path) -> None:
    facts.publish(str(published), "ci", "/one", CACHE, [])
    before = (published / "ci/facts.json").read_bytes()
    with pytest.raises(FactsTooLarge, match="more than 1048576"):
        facts.publish(str(published), "ci", "/two", {"owner": "ci", "entries": []}, [{"name": "x" * (1 << 20)}])
    assert (published / "ci/facts.json").read_bytes() == before
    assert sorted(os.listdir(published / "ci")) == [".facts.lock", "facts.json"]
    facts.publish(str(published), "ci", "/two", CACHE, [])
    assert list(facts.read_published(str(published))["caches"]) == ["/one", "/two"]


@pytest.mark.parametrize("count", [1100, 3000, 10_000])
def test_of_too_many_entries_those_used_longest_ago_are_left_out(published: pathlib.Path, count: int) -> None:
    entries = [{"digest": f"{number:064d}", "text": "x" * 1024} for number in range(count)]
    facts.publish(str(published), "ci", "/cache", {"owner": "ci", "entries": entries, "entries_omitted": 0}, [])
    assert 900_000 < (published / "ci/facts.json").stat().st_size <= 1 << 20
    cache = facts.read_published(str(published))["caches"]["/cache"]
    shown = len(cache["entries"])
    assert cache["entries"] == entries[:shown]
    assert cache["entries_omitted"] == count - shown > 0


def test_damaged_facts_are_replaced(published: pathlib.Path) -> None:
    (published / "ci/facts.json").write_bytes(b"{half")
    facts.publish(str(published), "ci", "/cache", CACHE, [])
    assert facts.read_published(str(published))["caches"] == {"/cache": CACHE}


def test_what_cannot_be_published_is_known_before(published: pathlib.Path) -> None:
    assert facts.check_publishable(str(published), "ci")
    assert not facts.check_publishable(str(published), "nobody")
    (published / "ci/facts.json").symlink_to(published / "elsewhere")
    with pytest.raises(FactsUnsafe, match="symbolic link"):
        facts.check_publishable(str(published), "ci")
    assert os.listdir(published / "ci") == ["facts.json"]
