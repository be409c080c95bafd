# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants that reach a host and must not open what they open there."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import (
    ARCHITECTURE,
    Mac,
    Results,
    Server,
    Stage,
    Task,
    User,
    task,
)
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

GRANTED = "granted-image"
OTHER = "other-image"
PULL = {"verb": "pull", "catalog_id": GRANTED, "version": "1.0.0"}
PUSH = {"verb": "push", "catalog_id": GRANTED, "version": "2.0.0"}

BAD_GRANTS = {
    "of another image": "grant_scope",
    "to push, for a pull": "grant_scope",
    "to pull, for a push": "grant_scope",
    "to push another version": "grant_scope",
    "to push another image": "grant_scope",
    "expired": "grant_expired",
    "expired, for a push": "grant_expired",
    "taken back": "grant_revoked",
    "made up": "unauthenticated",
}


@pytest.fixture(scope="module")
def mac(stage: Stage) -> Mac:
    return stage.mac("mac03")


@pytest.fixture(scope="module")
def bundle(stage: Stage) -> str:
    return str(small_bundle(stage.builder.home / "granted", "Granted"))


@pytest.fixture(scope="module")
def images(stage: Stage, bundle: str) -> Results:
    return stage.play(
        "builder",
        [
            task(name, "catalog_push", {"path": bundle, "catalog_id": name, "version": "1.0.0"})
            for name in (GRANTED, OTHER)
        ],
    )


def _mint(server: Server, user: User, what: t.Mapping[str, t.Any], url: str | None = None) -> dict[str, t.Any]:
    status, reply = server.ask("POST", "/grants", user.token, {"architecture": ARCHITECTURE, **what}, url=url)
    assert status == 200, reply
    return t.cast("dict[str, t.Any]", reply)


def _expired(server: Server, user: User, *wanted: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Grants of another process of the same server, where they live for a second."""
    settings = {"CATALOG_GRANT_SECONDS": "1", "CATALOG_LOG_LEVEL": "warning"}
    with ServerProcess(server.process.directory, server.process.python, settings) as replica:
        minted = [_mint(server, user, what, url=replica.url) for what in wanted]
    while time.time() <= max(grant["expires_at"] for grant in minted):
        time.sleep(0.1)
    return minted


@pytest.fixture(scope="module")
def held_before(mac: Mac) -> dict[str, list[str]]:
    """What the host holds before any grant is used."""
    return mac.holdings()


@pytest.fixture(scope="module")
def results(
    stage: Stage,
    server: Server,
    mac: Mac,
    pusher: User,
    images: Results,
    bundle: str,
    held_before: dict[str, list[str]],
) -> Results:
    other = images[OTHER].result["manifest"]
    wanted = images[GRANTED].result["manifest"]
    good_pull, good_push = _mint(server, pusher, PULL), _mint(server, pusher, PUSH)
    taken_back = _mint(server, pusher, PULL)
    assert server.ask("DELETE", f"/grants/{taken_back['id']}", pusher.token)[0] == 204
    expired_pull, expired_push = _expired(server, pusher, PULL, PUSH)
    variables = {
        "pull": good_pull["grant"],
        "push": good_push["grant"],
        "taken_back": taken_back["grant"],
        "expired_pull": expired_pull["grant"],
        "expired_push": expired_push["grant"],
    }

    def handover(grant: str, lifetime: int, manifests: list[dict[str, t.Any]]) -> dict[str, t.Any]:
        return {"url": server.url, "grant": grant, "lifetime_seconds": lifetime, "manifests": manifests, "bases": []}

    def pull(name: str, grant: str, manifest: dict[str, t.Any], lifetime: int = good_pull["expires_in"]) -> Task:
        args = {
            "catalog_id": manifest["catalog_id"],
            "version": "1.0.0",
            "state": "cached",
            "handover": handover(grant, lifetime, [manifest]),
        }
        return task(name, "hand_over", {"module": "macfleet.parallels.catalog_pull", "args": args}, may_fail=True)

    def push(name: str, grant: str, lifetime: int = good_push["expires_in"], **address: str) -> Task:
        args = {
            "path": bundle,
            "catalog_id": GRANTED,
            "version": "2.0.0",
            "handover": handover(grant, lifetime, []),
            **address,
        }
        return task(name, "hand_over", {"module": "macfleet.parallels.catalog_push", "args": args}, may_fail=True)

    return Results(
        [
            row
            for hosts, tasks in {
                "mac03": [
                    pull("of another image", "{{ pull }}", other),
                    pull("to push, for a pull", "{{ push }}", other),
                    pull("expired", "{{ expired_pull }}", wanted, 0),
                    pull("taken back", "{{ taken_back }}", wanted),
                    pull("made up", "not.a.grant", wanted),
                ],
                "builder": [
                    push("to pull, for a push", "{{ pull }}"),
                    push("to push another version", "{{ push }}", version="3.0.0"),
                    push("to push another image", "{{ push }}", catalog_id="new-image"),
                    push("expired, for a push", "{{ expired_push }}", 0),
                    # Were it refused, too, the others would tell nothing.
                    push("good", "{{ push }}"),
                ],
            }.items()
            for row in stage.play(hosts, tasks, variables).rows
        ],
        stage.logs,
    )


@pytest.mark.parametrize("name", BAD_GRANTS)
def test_a_grant_opens_nothing_else(results: Results, name: str) -> None:
    assert_refused(results[name], BAD_GRANTS[name])


def test_a_good_grant_opens_its_transfer(results: Results) -> None:
    assert results["good"].result["changed"]
    assert results["good"].result["manifest"]["version"] == "2.0.0"


def test_no_grant_left_anything(results: Results, server: Server, mac: Mac, held_before: dict[str, list[str]]) -> None:
    assert mac.holdings() == held_before
    assert [manifest["version"] for manifest in server.manifests(GRANTED)] == ["1.0.0", "2.0.0"]
    assert server.manifests("new-image") == []
