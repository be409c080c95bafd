# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks and roles of the collection, each run twice: the second run changes nothing."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import sys
import typing as t
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.stage import COLLECTIONS, MACS, Mac, Results, Stage, task

IMAGE = "playbook-image"


def twice(stage: Stage, name: str, variables: t.Mapping[str, t.Any]) -> tuple[Results, Results]:
    """A playbook of the collection, and the same again."""
    first = stage.playbook(name, variables)
    second = stage.playbook(name, variables)
    assert second.changed() == []
    return first, second


def host_role(mac: Mac, user: str) -> t.Any:
    """The role that prepares a host, in its home."""
    return {
        **task(f"prepare {mac.name}", "ansible.builtin.include_role", {"name": "macfleet.parallels.catalog_host"}),
        "when": f"inventory_hostname == {mac.name!r}",
        "vars": {
            "catalog_host_caches": [{"owner": user}],
            "catalog_host_facts_directory": str(mac.home / "facts"),
            "catalog_host_local_facts_directory": str(mac.home / "facts.d"),
        },
    }


@pytest.fixture(scope="module")
def pushed(stage: Stage) -> tuple[Results, Results]:
    bundle = small_bundle(stage.builder.home / "playbook", "Playbook")
    wanted = {
        "push_path": str(bundle),
        "push_catalog_id": IMAGE,
        "push_version": "1.0.0",
        "push_description": "By a playbook",
        "push_tags": ["stable"],
        "push_minimum_requirements": {"memory_mb": 64},
    }
    return twice(stage, "push", wanted)


def test_push(pushed: tuple[Results, Results]) -> None:
    first, second = (results["Push the bundle"].result for results in pushed)
    assert first["changed"]
    assert first["manifest"]["description"] == "By a playbook"
    assert first["manifest"]["minimum_requirements"] == {"cpu": 0, "memory_mb": 64, "disk_mb": 0}
    assert second["manifest"] == first["manifest"]


def test_pull_to_all_hosts(stage: Stage, pushed: tuple[Results, Results]) -> None:
    wanted = {"pull_catalog_id": IMAGE, "pull_version": "stable", "pull_name": "By playbook", "pull_state": "started"}
    first, second = twice(stage, "pull", wanted)
    for results in (first, second):
        rows = results.of("Pull the image")
        assert sorted(rows) == list(MACS)
        assert {row.result["vm"]["state"] for row in rows.values()} == {"running"}
    assert all(row.result["changed"] for row in first.of("Pull the image").values())
    absent, _again = twice(stage, "pull", {**wanted, "pull_state": "absent"})
    assert all(row.result["changed"] for row in absent.of("Pull the image").values())


def test_a_prepared_host_has_facts(stage: Stage, pushed: tuple[Results, Results]) -> None:
    mac = stage.mac("mac01")
    role = host_role(mac, stage.user)
    assert stage.play("mac01", [role]).changed()
    facts_directory = {"facts_directory": str(mac.home / "facts")}
    pull = {"catalog_id": IMAGE, "version": "1.0.0", "name": "With facts", **facts_directory}
    gathered = {"fact_path": str(mac.home / "facts.d"), "gather_subset": ["!all", "local"]}
    done = stage.play(
        "mac01",
        [
            role,
            task("nothing yet", "ansible.builtin.setup", gathered),
            task("pull", "catalog_pull", pull),
            task("gathered", "ansible.builtin.setup", gathered),
            task("asked", "catalog_cache_facts", facts_directory),
            task("absent", "catalog_pull", {**pull, "state": "absent"}),
        ],
    )
    assert [name for name in done.changed() if "pull" not in name and "absent" not in name] == []
    nothing = done["nothing yet"].result["ansible_facts"]["ansible_local"]["parallels_catalog"]
    assert nothing["caches"] == {} and nothing["vms"] == []
    local = done["gathered"].result["ansible_facts"]["ansible_local"]["parallels_catalog"]
    assert local["owners"] == {stage.user: {"readable": True}}
    returned, asked = (done[name].result["ansible_facts"]["parallels_catalog"] for name in ("pull", "asked"))
    for document in (returned, asked):
        assert document["vms"] == local["vms"]
        assert document["caches"].keys() == local["caches"].keys()
    (cache,) = local["caches"].values()
    assert IMAGE in [address["catalog_id"] for entry in cache["entries"] for address in entry["addresses"]]
    assert [vm["name"] for vm in local["vms"]] == ["With facts"]


@pytest.fixture
def server_settings(stage: Stage) -> t.Iterator[dict[str, t.Any]]:
    """Parameters of the playbook ``server``: below a directory of its own, with packages that are there already."""
    place = stage.work / "deployed"
    role_files = COLLECTIONS / "ansible_collections/macfleet/parallels/roles/catalog_server/files"
    environment = place / "program/venv"
    (environment / "bin").mkdir(parents=True)
    # What a virtual environment is, with the packages of the one that runs this.
    (environment / "bin/python").symlink_to(os.path.realpath(sys.executable))
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment / "pyvenv.cfg")
    (environment / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(role_files / "requirements.txt", environment / "requirements.txt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "server_hosts": "builder",
        "server_become": False,
        "catalog_server_service_manager": "none",
        "catalog_server_user": getpass.getuser(),
        "catalog_server_manage_user": False,
        "catalog_server_install_directory": str(place / "program"),
        "catalog_server_config_directory": str(place / "config"),
        "catalog_server_data_directory": str(place / "data"),
        "catalog_server_python": sys.executable,
        "catalog_server_port": port,
        "catalog_server_public_url": f"http://127.0.0.1:{port}",
    }
    yield settings
    stage.playbook("server", {**settings, "catalog_server_state": "absent"})


def test_server(stage: Stage, server_settings: dict[str, t.Any]) -> None:
    first, _second = twice(stage, "server", server_settings)
    assert first.changed()
    with urllib.request.urlopen(
        f"{server_settings['catalog_server_public_url']}/api/health/ready", timeout=10
    ) as reply:
        assert reply.status == 200
