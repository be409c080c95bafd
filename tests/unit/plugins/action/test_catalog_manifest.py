# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.macfleet.parallels.plugins.module_utils._base import retry
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport
from ansible_collections.macfleet.parallels.tests.unit.support import actions
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest, refusal

TOKEN = "s3cr3t-t0k3n"
ID = "a1" * 32
CONNECTION = {"catalog_url": BASE_URL, "catalog_token": TOKEN}
ADDRESS = {"catalog_id": "macos-15", "version": "1.4"}
LISTED = {"query": {**ADDRESS, "limit": "200"}, "headers": {"Authorization": f"Bearer {TOKEN}"}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Recording]:
    recording = Recording()
    monkeypatch.setattr(Transport, "send", lambda transport, request: recording.send(request))
    for name in ("URL", "TOKEN", "API_KEY", "USERNAME", "PASSWORD", "CA_PATH"):
        monkeypatch.delenv(f"MACFLEET_CATALOG_{name}", raising=False)
    yield recording
    recording.finished()


def run(name: str, args: dict[str, t.Any], **how: t.Any) -> dict[str, t.Any]:
    result: dict[str, t.Any] = actions.make(name, args, **how).run(task_vars={})
    assert TOKEN not in repr(result)
    return result


def test_a_record_is_changed(server: Recording) -> None:
    server.expect("GET", "manifests", reply={"manifests": [manifest()]}, **LISTED)
    server.expect(
        "PATCH", f"manifests/{ID}", body={"tags": ["latest", "stable"]}, reply=manifest(tags=["latest", "stable"])
    )
    result = run("catalog_manifest", {**CONNECTION, **ADDRESS, "tags": ["stable"]}, diff=True)
    assert (result["changed"], len(result["diff"])) == (True, 1)
    assert result["manifests"][0]["tags"] == ["latest", "stable"]


def test_check_mode(server: Recording) -> None:
    server.expect("GET", "manifests", reply={"manifests": [manifest()]}, **LISTED)
    result = run("catalog_manifest", {**CONNECTION, **ADDRESS, "state": "absent"}, check_mode=True)
    assert result == {"changed": True, "manifests": []}


def test_options_arrive_in_any_form_that_ansible_allows(server: Recording) -> None:
    server.expect("GET", "manifests", reply={"manifests": [manifest()]}, **LISTED)
    server.expect("POST", f"manifests/{ID}/taint", body={}, reply=manifest(tainted=True))
    assert run("catalog_manifest", {**CONNECTION, "catalog_id": "macos-15", "version": "1.4", "tainted": "yes"})[
        "changed"
    ]


def test_defaults_of_the_group_that_are_not_for_this_module(server: Recording) -> None:
    server.expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": []})
    group = {**CONNECTION, "cache_path": "/cache", "lock_timeout": 5}
    assert run("catalog_manifest_info", group) == {"changed": False, "manifests": []}


@pytest.mark.parametrize(
    "args", [{"colour": "blue"}, {"timeout": "soon"}, {"state": "gone"}, {"minimum_requirements": {"gpu": 1}}]
)
def test_options_that_do_not_exist_or_fit(server: Recording, args: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleActionFail):
        run("catalog_manifest", {**CONNECTION, **ADDRESS, **args})


def test_a_refusal_is_a_result_with_a_code(server: Recording) -> None:
    server.expect("GET", "manifests", reply={"manifests": [manifest()]}, **LISTED)
    shared = refusal("shared_segments", 409, "Other versions share its segments; push it whole.")
    server.expect("PATCH", f"manifests/{ID}", body={"required_roles": ["X"]}, **shared)
    result = run("catalog_manifest", {**CONNECTION, **ADDRESS, "required_roles": ["X"]})
    assert (result["failed"], result["error_code"]) == (True, "shared_segments")
    assert result["msg"].startswith(f"Could not change required roles of the manifest {ID}")
    assert result["details"]["request_id"] == "r-1"


def test_a_server_that_is_down(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    delays = retry.delays
    # The longest pauses each time: their length decides how many attempts there are.
    monkeypatch.setattr(retry, "delays", lambda patience, _jitter: delays(patience, lambda: 1.0))
    for _attempt in range(4):
        server.expect("GET", "manifests", error=NotConnected("Connection refused"), **LISTED)
    result = run("catalog_manifest_info", {**CONNECTION, **ADDRESS})
    assert (result["failed"], result["error_code"]) == (True, "unreachable")
    assert "Connection refused (4 attempts)" in result["msg"]


def test_what_was_never_pushed(server: Recording) -> None:
    server.expect("GET", "manifests", reply={"manifests": []}, **LISTED)
    result = run("catalog_manifest", {**CONNECTION, **ADDRESS, "tainted": True})
    assert (result["failed"], result["error_code"]) == (True, "unknown_manifest")
    assert "A tag such as 'latest' is not accepted here" in result["msg"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"version": 1.1}, "version is 1.1, which is not a text"),
        ({"version": datetime.date(2026, 11, 27)}, "which is not a text"),
        ({"tags": ["stable", 15]}, "tags is 15, which is not a text"),
        ({"tags": ["stable", "2.0.0"]}, "The tag '2.0.0' looks like a version"),
        ({"tags": "stable, v2"}, "The tag 'v2' looks like a version"),
    ],
)
def test_what_yaml_has_made_of_a_text_is_refused(server: Recording, args: dict[str, t.Any], words: str) -> None:
    for name in ("catalog_manifest", "catalog_push", "catalog_pull"):
        if name == "catalog_pull" and "tags" in args:
            continue
        result = run(name, {**CONNECTION, **ADDRESS, **({"path": "/x"} if name == "catalog_push" else {}), **args})
        assert (result["failed"], result["error_code"]) == (True, "invalid_option")
        assert words in result["msg"]
    assert not server.requests


def test_a_stock_server_is_called_by_its_name(server: Recording) -> None:
    told = {"message": "resource /api/v1/manifests not found", "code": 404}
    server.expect("GET", "manifests", status=404, reply=told, **LISTED)
    result = run("catalog_manifest", {**CONNECTION, **ADDRESS, "tainted": True})
    assert (result["failed"], result["error_code"]) == (True, "stock_server")
    assert "a stock Parallels DevOps server answers there" in result["msg"]
    assert "catalog_server" in result["hint"]


def test_a_tag_in_place_of_a_version_is_explained(server: Recording) -> None:
    query = {"version": "latest", "limit": "200"}
    server.expect("GET", "manifests", query=query, reply={"manifests": []})
    result = run("catalog_manifest_info", {**CONNECTION, "version": "latest"})
    assert result["manifests"] == []
    assert result["warnings"] == [
        "There is no version 'latest'. If it is a tag, set the option tag instead of version."
    ]


# Queries


def test_a_query(server: Recording) -> None:
    records = [manifest(version="1.4", download_count=3), manifest(version="1.5", download_count=9)]
    server.expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": records})
    query = "reverse(sort_by(@, &download_count))[0].{v: version, first: tags[0]}"
    result = run("catalog_manifest_info", {**CONNECTION, "query": query})
    assert result["result"] == {"v": "1.5", "first": "latest"}
    assert [record["version"] for record in result["manifests"]] == ["1.4", "1.5"]


@pytest.mark.parametrize("query", ["[", "no_such_function(@)", "sort_by(@, &tags)", "abs('x')"])
def test_a_query_that_cannot_be_evaluated(server: Recording, query: str) -> None:
    server.expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": [manifest()]})
    result = run("catalog_manifest_info", {**CONNECTION, "query": query})
    assert (result["failed"], result["error_code"]) == (True, "invalid_option")
    assert query in result["msg"]


def test_a_query_without_its_library(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "ansible_collections.macfleet.parallels.plugins.plugin_utils._query.HAS_JMESPATH"
    monkeypatch.setattr(module, False)
    server.expect("GET", "manifests", query={"limit": "200"}, reply={"manifests": []})
    result = run("catalog_manifest_info", {**CONNECTION, "query": "[0]"})
    assert (result["failed"], result["error_code"]) == (True, "missing_library")
    assert "pip install jmespath" in result["hint"]
