# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks and roles of the collection, each run twice: the second run changes nothing."""

from __future__ import annotations

import getpass
import re
import shlex
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.stage import (
    ARCHITECTURE,
    BUILDER,
    DEADLINE_SECONDS,
    MACS,
    Mac,
    Results,
    Stage,
    User,
    task,
)
from ansible_collections.macfleet.parallels.tests.support import documents, server_environment
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import RunFailed

IMAGE = "playbook-image"
SERVER_README = "roles/catalog_server/README.md"
# A line in the head of a playbook that names variables.
VARIABLES = re.compile(r"^#   (\w+(?:, \w+)*),?(?: |$)", re.MULTILINE)


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
    absent, _again = twice(stage, "pull", {**wanted, "pull_state": "absent", "pull_version": ""})
    assert all(row.result["changed"] for row in absent.of("Pull the image").values())


def test_empty_answers_of_a_survey_are_not_set(stage: Stage, pushed: tuple[Results, Results]) -> None:
    bundle = small_bundle(stage.builder.home / "survey", "Survey")
    names = variables_of("push") | variables_of("pull")
    empty = dict.fromkeys(names - {"push_hosts", "pull_hosts"}, "")
    address = {"push_path": str(bundle), "push_catalog_id": "survey-image", "push_version": "1.0.0"}
    done = stage.playbook("push", {**empty, **address, "push_tags": "stable\nbeta\n"})["Push the bundle"].result
    assert done["manifest"]["tags"] == ["beta", "latest", "stable"]
    rows = stage.playbook("pull", {**empty, "pull_catalog_id": "survey-image", "pull_hosts": "mac01"})
    assert rows["Pull the image"].result["vm"]["version"] == "1.0.0"
    stage.playbook("pull", {"pull_catalog_id": "survey-image", "pull_hosts": "mac01", "pull_state": "absent"})


@pytest.mark.parametrize("name", ["push", "pull"])
def test_what_is_undefined_inside_of_a_parameter_is_named(stage: Stage, name: str) -> None:
    variables = {f"{name}_catalog_id": IMAGE, f"{name}_version": "1.0.0", "catalog_token": "{{ vault_not_loaded }}"}
    with pytest.raises(RunFailed, match="vault_not_loaded"):
        stage.playbook(name, {**variables, **({"push_path": "/nowhere.pvm"} if name == "push" else {})})


@pytest.mark.parametrize("name", ["push", "pull"])
def test_a_version_that_yaml_made_a_number_is_refused(stage: Stage, name: str) -> None:
    variables = {f"{name}_catalog_id": IMAGE, f"{name}_version": 1.1}
    with pytest.raises(RunFailed, match="Quote .*_version"):
        stage.playbook(name, {**variables, **({"push_path": "/nowhere.pvm"} if name == "push" else {})})


def test_a_wrong_password_is_tried_once(stage: Stage) -> None:
    wrong = {"catalog_username": "nobody-at-all", "catalog_password": "wrong"}
    wanted = {**wrong, "catalog_id": IMAGE, "state": "cached"}
    before = stage.server.process.requests()
    results = stage.play("macs", [task("pull", "catalog_pull", wanted, may_fail=True)]).of("pull")
    assert {row.result["error_code"] for row in results.values()} == {"invalid_credentials"}
    asked = stage.server.process.requests()[len(before) :]
    assert [request for request in asked if "auth/token" in request] == ["POST /api/v1/auth/token"]


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
    returned = done["pull"].result["parallels_catalog"]
    assert "ansible_facts" not in done["pull"].result
    asked = done["asked"].result["ansible_facts"]["parallels_catalog"]
    for document in (returned, asked):
        assert document["vms"] == local["vms"]
        assert document["caches"].keys() == local["caches"].keys()
    (cache,) = local["caches"].values()
    assert IMAGE in [address["catalog_id"] for entry in cache["entries"] for address in entry["addresses"]]
    assert [vm["name"] for vm in local["vms"]] == ["With facts"]


@pytest.fixture(scope="module")
def server_settings(stage: Stage) -> t.Iterator[dict[str, t.Any]]:
    """Parameters of the playbook ``server``: below a directory of its own, with packages that are there already."""
    place = stage.work / "deployed"
    server_environment.make(place / "program", sys.executable)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "server_hosts": BUILDER,
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


@dataclass(frozen=True)
class Deployed:
    """A server that the play of the role's README has deployed, and what the playbook found to do afterwards.

    ``said`` are the parameters in that play, ``settings`` the example of docs/settings.md.
    """

    said: dict[str, t.Any]
    settings: dict[str, t.Any]
    parameters: dict[str, t.Any]
    first: Results
    second: Results

    def path(self, text: str) -> Path:
        """``<install>/…``, ``<config>/…`` or ``<data>/…`` of the README."""
        root, _slash, name = text.partition("/")
        return Path(self.parameters[f"catalog_server_{root.strip('<>')}_directory"], name)


@pytest.fixture(scope="module")
def deployed(stage: Stage, server_settings: dict[str, t.Any]) -> Deployed:
    url = {"https://catalog.example.com": server_settings["catalog_server_public_url"]}
    readme = documents.play(SERVER_README, {"hosts: catalog_servers": f"hosts: {BUILDER}", **url})
    said = readme["roles"][0]["vars"]
    (example,) = documents.blocks("docs/settings.md", "yaml")
    settings = yaml.safe_load(example)
    others = {name: value for name, value in server_settings.items() if name not in said}
    run = stage.ansible.start("readme", [readme], {**others, **settings, "ansible_become": False})
    first = Results(run.wait(DEADLINE_SECONDS), run.log)
    second = stage.playbook("server", {**server_settings, **said, **settings})
    return Deployed(said, settings["catalog_server_settings"], server_settings, first, second)


def test_server(deployed: Deployed, stage: Stage) -> None:
    assert deployed.first.changed()
    assert deployed.second.changed() == []
    assert [row for row in deployed.second.rows if row.task.endswith("Wait until the server is ready")]
    password = deployed.path("<config>/secrets/admin-password").read_text("utf-8").strip()
    credentials = {"username": "admin", "password": password}
    url = deployed.said["catalog_server_public_url"]
    status, reply = stage.server.ask("POST", "/auth/token", None, credentials, url)
    assert status == 200, reply
    assert reply["expires_at"] <= time.time() + deployed.settings["token_seconds"]
    written = deployed.path("<config>/settings.env").read_text("utf-8").splitlines()
    settings = {**deployed.settings, "host": deployed.said["catalog_server_bind_address"], "public_url": url}
    for name, value in settings.items():
        assert f"CATALOG_{name.upper()}={value}" in written


def test_server_lies_where_its_readme_says(deployed: Deployed) -> None:
    # A command is a path and its arguments.
    names = [name.partition(" ")[0] for name in documents.inline(SERVER_README, "<")]
    assert {"<install>/current", "<config>/settings.env", "<data>/catalog-server.log"} <= set(names)
    # It is there if the database is another one than the server's own.
    assert not deployed.path("<config>/secrets/database-url").exists()
    for name in set(names) - {"<config>/secrets/database-url"}:
        pattern = deployed.path(name.replace("<digest>", "*"))
        assert list(pattern.parent.glob(pattern.name)), name


@pytest.mark.parametrize(
    ("document", "command", "rest"),
    [
        (SERVER_README, "catalog-server user --help", ""),
        ("docs/native-api.md", "catalog-server user", "list"),
        ("docs/settings.md", "catalog-server --settings FILE", "user list"),
    ],
)
def test_documented_commands_of_the_server(deployed: Deployed, document: str, command: str, rest: str) -> None:
    documented = documents.inline(document, "catalog-server ")
    assert command in documented
    for one in documented:
        # What is written in capitals is for the reader to fill in.
        known = [word for word in shlex.split(one)[1:] if word.islower() and word != "--settings"]
        done = subprocess.run(
            [deployed.path("<install>/bin/catalog-server"), *known, "--help"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, one
    program, *words = shlex.split(f"{command} {rest}")
    words = [str(deployed.path("<config>/settings.env")) if word == "FILE" else word for word in words]
    done = subprocess.run(
        [deployed.path("<install>/bin") / program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("admin@example.com" if rest else "set-password") in done.stdout


def variables_of(playbook: str) -> set[str]:
    """The variables that the first lines of a playbook name."""
    lines = VARIABLES.findall(documents.read(f"playbooks/{playbook}.yml"))
    return {name for line in lines for name in line.split(", ")}


def test_playbooks_take_the_variables_that_they_name(stage: Stage, pusher: User, reader: User, tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    # The server speaks plain HTTP here: nothing is signed by them.
    authorities.write_text("-----BEGIN CERTIFICATE-----\nTm9ib2R5\n-----END CERTIFICATE-----\n", encoding="ascii")
    place = stage.mac("mac03").home / "every-variable"
    bundle = small_bundle(stage.builder.home / "every-variable", "Playbook")
    server = {"catalog_url": stage.server.url, "catalog_ca_path": str(authorities)}
    push = {
        **server,
        "catalog_api_key": pusher.api_key,
        "push_hosts": BUILDER,
        "push_path": str(bundle),
        "push_catalog_id": "every-variable-playbook",
        "push_version": "2.0.0",
        "push_architecture": ARCHITECTURE,
        "push_description": "By a playbook",
        "push_tags": ["nightly"],
        "push_required_roles": ["USER"],
        "push_required_claims": ["LIST_CATALOG_MANIFEST"],
        "push_minimum_requirements": {"cpu": 1},
        "push_force": True,
    }
    pull = {
        **server,
        "catalog_username": reader.name,
        "catalog_password": reader.password,
        "pull_hosts": "mac03",
        "pull_catalog_id": "every-variable-playbook",
        "pull_version": "nightly",
        "pull_state": "started",
        "pull_purge_cache": True,
        "pull_name": "By a playbook",
        "pull_path": str(place / "machines"),
        "pull_architecture": ARCHITECTURE,
        "pull_headless": False,
        "pull_stop_timeout": 60,
        "pull_force_stop": True,
        "pull_verify": True,
        "pull_cache_path": str(place / "cache"),
        "pull_prlctl_path": str(stage.work / "hosts/bin/prlctl"),
        "pull_owner": stage.user,
    }
    credentials = {"catalog_api_key", "catalog_token", "catalog_username", "catalog_password"}
    assert push.keys() | credentials == variables_of("push")
    assert pull.keys() | credentials == variables_of("pull")

    pushed = stage.playbook("push", push)["Push the bundle"].result
    pulled = stage.playbook("pull", pull)["Pull the image as its owner"].result
    by_token = {name: value for name, value in pull.items() if name not in credentials}
    # Only the server knows what a tag names, and it is not asked.
    by_token = {**by_token, "catalog_token": reader.token, "pull_version": ""}
    absent = stage.playbook("pull", {**by_token, "pull_state": "absent"})
    manifest = pushed["manifest"]
    assert (manifest["created_by"], manifest["tags"]) == (pusher.name, ["latest", "nightly"])
    assert (manifest["required_roles"], manifest["required_claims"]) == (["USER"], ["LIST_CATALOG_MANIFEST"])
    assert (manifest["description"], manifest["minimum_requirements"]["cpu"]) == ("By a playbook", 1)
    assert pulled["vm"]["home"] == str(place / "machines/By a playbook.pvm")
    assert pulled["vm"]["state"] == "running"
    calls = stage.mac("mac03").parallels.calls()
    assert [call[1] for call in calls if pulled["vm"]["uuid"] in call and call[1] in ("set", "start")] == ["start"]
    assert absent["Pull the image as its owner"].result["changed"]
    (there,) = stage.server.manifests("every-variable-playbook")
    assert there["last_downloaded_user"] == reader.name
    assert variables_of("server") == {"server_hosts", "server_become"}
    assert {path.stem for path in (documents.ROOT / "playbooks").iterdir()} == {"push", "pull", "server"}
