# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_cache_facts from its options to its result."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.modules import catalog_cache_facts
from ansible_collections.macfleet.parallels.tests.unit.support.hosts import Host
from ansible_collections.macfleet.parallels.tests.unit.support.images import Image, image_of, make_bundle


@pytest.fixture(name="image")
def image_fixture(tmp_path: Path) -> Image:
    return image_of(make_bundle(tmp_path / "source", 1))


def gather(host: Host, *, check_mode: bool = True) -> dict[str, t.Any]:
    """The document of a host. Check mode is no other: nothing may be written in either."""
    result = host.run(catalog_cache_facts.main, host.cache_options(), check_mode=check_mode)
    assert set(result) - {"warnings"} == {"changed", "ansible_facts"}
    assert not result["changed"]
    (name,) = result["ansible_facts"]
    assert name == "parallels_catalog"
    return {**result["ansible_facts"][name], "warnings": result.get("warnings", [])}


def fill(host: Host, image: Image, **options: t.Any) -> dict[str, t.Any]:
    host.expect_pull(image)
    return host.pull(image, name="runner", **options)


def test_a_host_without_a_cache(host: Host) -> None:
    document = gather(host)
    assert (document["caches"], document["vms"]) == ({}, [])
    assert not host.cache.exists()


def test_what_the_cache_holds(host: Host, image: Image) -> None:
    fill(host, image)
    document = gather(host)
    cache = document["caches"][str(host.cache)]
    (entry,) = cache["entries"]
    assert (entry["digest"], entry["bundle_name"]) == (image.digest, "sample.pvm")
    assert [(address["catalog_id"], address["version"]) for address in entry["addresses"]] == [("macos-15", "1.4")]
    assert cache["totals"]["logical_bytes"] == image.manifest["logical_bytes"]
    assert cache["free_bytes"] > 0
    without_moment = {**cache, "updated_at": "", "free_bytes": 0}
    again = gather(host, check_mode=False)["caches"][str(host.cache)]
    assert {**again, "updated_at": "", "free_bytes": 0} == without_moment


def test_vms_as_they_are_now(host: Host, image: Image) -> None:
    host.install_parallels()
    made = fill(host, image, state="started")["vm"]
    (vm,) = gather(host)["vms"]
    assert (vm["uuid"], vm["name"], vm["state"], vm["home"]) == (made["uuid"], "runner", "running", made["home"])
    assert (vm["receipt"]["version"], vm["receipt"]["digest"]) == ("1.4", image.digest)
    host.prlctl("stop", "runner", "--kill")
    host.prlctl("delete", "runner")
    (vm,) = gather(host)["vms"]
    assert vm["state"] == "missing"


def test_a_parallels_that_does_not_answer_is_only_warned_of(host: Host, image: Image) -> None:
    host.install_parallels()
    fill(host, image, state="present")
    host.simulated.fail({"verb": "list", "returncode": 1, "stderr": "Out of order."})
    document = gather(host)
    assert [vm["state"] for vm in document["vms"]] == ["unknown"]
    assert ["Out of order" in warning for warning in document["warnings"]] == [True]


def test_a_receipt_that_cannot_be_read_is_only_warned_of(host: Host, image: Image) -> None:
    fill(host, image)
    (host.cache / "receipts/00000000-0000-4000-8000-000000000000.json").write_text("{")
    document = gather(host)
    assert document["vms"] == []
    assert ["cannot be read" in warning for warning in document["warnings"]] == [True]


def test_caches_of_other_users_are_shown_as_they_published_them(host: Host, image: Image) -> None:
    fill(host, image)
    for owner, text in (("ci", json.dumps({"caches": {"/ci": {"entries": []}}, "vms": []})), ("broken", "{")):
        (host.facts / owner).mkdir()
        (host.facts / owner / "facts.json").write_text(text)
    document = gather(host)
    assert set(document["caches"]) == {str(host.cache), "/ci"}
    assert (document["owners"]["ci"], document["owners"]["broken"]) == ({"readable": True}, {"readable": False})
