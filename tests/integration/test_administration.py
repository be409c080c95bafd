# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules for the server's own objects, run by Ansible against the real server."""

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Server, Stage, User, task, thrice

NAMES = ("role", "user", "user edited", "user disabled", "user enabled", "catalog id", "catalog id edited", "api key")
GONE = ("api key gone", "user gone", "role gone", "catalog id gone")
RECORDS = {"role": "role", "user": "user", "catalog": "settings", "api": "api_key"}
# Nobody else has these names: the tests of other files leave what they make on the same server.
ANN = {"username": "administered"}
IMAGE = {"catalog_id": "administered-image"}
KEY = {"username": "administered", "name": "ci"}


@pytest.fixture(scope="module")
def results(stage: Stage, reader: User) -> Results:
    password = {"password": "{{ ann_password }}"}
    as_reader = {"catalog_token": "{{ reader_token }}"}
    settings = {"push_roles": ["team of ours"], "retention": {"keep_versions": 3}, "quota_bytes": 1000}
    return stage.play(
        "localhost",
        [
            *thrice("role", "catalog_role", {"name": "overseer", "claims": ["READ_AUDIT"], "description": "audits"}),
            *thrice("user", "catalog_user", {**ANN, "roles": ["reader", "overseer"], **password}),
            *thrice(
                "user edited", "catalog_user", {**ANN, "roles": ["READER", "TEAM_OF_OURS"], "name": "Ann", **password}
            ),
            *thrice("user disabled", "catalog_user", {**ANN, "disabled": True}),
            *thrice("user enabled", "catalog_user", {**ANN, "disabled": False}),
            *thrice("catalog id", "catalog_id", {**IMAGE, **settings}),
            *thrice("catalog id edited", "catalog_id", {**IMAGE, "push_roles": [], "quota_bytes": -1, "retention": {}}),
            *thrice("api key", "catalog_api_key", {**KEY, "expires_days": 1}),
            task("info", "catalog_server_info", {"gather": ["users", "roles", "claims", "catalog_ids"]}),
            task("info as reader", "catalog_server_info", {"gather": ["catalog_ids"], **as_reader}),
            task("users as reader", "catalog_server_info", {"gather": ["users"], **as_reader}, may_fail=True),
            task("user as reader", "catalog_user", {**ANN, "roles": ["SUPER_USER"], **as_reader}, may_fail=True),
            task("internal role", "catalog_role", {"name": "READER", "state": "absent"}, may_fail=True),
            task("no expiry", "catalog_api_key", KEY, may_fail=True),
            *thrice("api key gone", "catalog_api_key", {**KEY, "state": "absent"}),
            *thrice("user gone", "catalog_user", {**ANN, "state": "absent"}),
            *thrice("role gone", "catalog_role", {"name": "overseer", "state": "absent"}),
            *thrice("catalog id gone", "catalog_id", {**IMAGE, "state": "absent"}),
        ],
        {"reader_token": reader.token, "ann_password": reader.password},
    )


@pytest.mark.parametrize("name", [*NAMES, *GONE])
def test_check_mode_tells_it_and_the_second_run_changes_nothing(results: Results, name: str) -> None:
    check, done, again = (results[text].result for text in (f"{name}, check", name, f"{name}, again"))
    assert (check["changed"], done["changed"], again["changed"]) == (True, True, False)
    assert again["diff"] == []
    record = RECORDS[name.split()[0]]
    if name == "api key":
        return
    assert check["diff"] == done["diff"] and len(done["diff"]) == 1
    assert again[record] == done[record]
    if name in GONE:
        assert done[record] is None
    else:
        assert {key: value for key, value in (done[record]).items() if key in check[record]} == {
            **check[record],
            **({"updated_at": done[record]["updated_at"]} if "updated_at" in check[record] else {}),
        }


def test_fields_are_as_wanted(results: Results) -> None:
    assert results["user"].result["user"]["roles"] == ["OVERSEER", "READER"]
    edited = results["user edited"].result
    assert (edited["user"]["name"], edited["user"]["roles"]) == ("Ann", ["READER", "TEAM_OF_OURS"])
    assert edited["created"] == {"roles": ["TEAM_OF_OURS"], "claims": []}
    assert results["catalog id"].result["settings"]["push_roles"] == ["TEAM_OF_OURS"]
    cleared = results["catalog id edited"].result["settings"]
    assert (cleared["push_roles"], cleared["quota_bytes"], cleared["retention"]) == ([], None, None)


def test_the_server_is_described(results: Results) -> None:
    info = results["info"].result
    assert "identity" in info["server"]["features"]
    assert "SUPER_USER" in info["me"]["roles"]
    assert "administered" in {user["username"] for user in info["users"]}
    assert {"OVERSEER", "READER", "PUBLISHER", "MANAGER"} <= {role["name"] for role in info["roles"]}
    assert "READ_AUDIT" in info["claims"]
    assert IMAGE["catalog_id"] in {row["name"] for row in info["catalog_ids"]}
    assert results["info as reader"].result["me"]["username"] == "reader"


def test_the_secret_of_a_key_is_in_no_output(results: Results, server: Server) -> None:
    again = results["api key, again"].result
    assert "secret" not in again
    log = results.log.read_text(encoding="utf-8")
    assert '"secret": "' not in log.replace("\\", "")
    status, reply = server.ask("GET", "/audit?subject=api_key&limit=2", server.admin_token)
    assert (status, [entry["action"] for entry in reply["entries"]]) == (200, ["api_key.revoke", "api_key.add"])


def test_refusals(results: Results) -> None:
    assert_refused(results["users as reader"], "forbidden", "MANAGE_USERS")
    assert_refused(results["user as reader"], "forbidden", "administered")
    assert_refused(results["internal role"], "internal_role", "READER")
    assert_refused(results["no expiry"], "invalid_option", "expire")
