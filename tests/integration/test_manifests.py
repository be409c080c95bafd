# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of a catalog: wanted states, and questions."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.refusals import assert_refused
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Server, Stage, User, task, thrice

IMAGE = "recorded-image"
LONELY = "lonely-image"

FIRST = {"catalog_id": IMAGE, "version": "1.0.0"}
SECOND = {"catalog_id": IMAGE, "version": "1.1.0"}


@pytest.fixture(scope="module")
def images(stage: Stage) -> Results:
    bundle = str(small_bundle(stage.builder.home / "recorded", "Recorded"))
    return stage.play(
        "builder",
        [
            task("first", "catalog_push", {"path": bundle, **FIRST, "tags": ["stable"]}),
            task("second", "catalog_push", {"path": bundle, **SECOND}),
            task("lonely", "catalog_push", {"path": bundle, "catalog_id": LONELY, "version": "1.0.0"}),
        ],
    )


@pytest.fixture(scope="module")
def results(stage: Stage, images: Results, reader: User, pusher: User) -> Results:
    edited = {
        "description": "Now with a description",
        "tags": ["stable", "tested"],
        "minimum_requirements": {"memory_mb": 4096},
    }
    as_reader, as_pusher = {"catalog_token": "{{ reader_token }}"}, {"catalog_token": "{{ pusher_token }}"}
    return stage.play(
        # Nothing of this needs a host.
        "localhost",
        [
            *thrice("edit", "catalog_manifest", {**SECOND, **edited}),
            task("first, later", "catalog_manifest_info", FIRST),
            *thrice(
                "restrict", "catalog_manifest", {"catalog_id": LONELY, "version": "1.0.0", "required_roles": ["OPS"]}
            ),
            *thrice("taint", "catalog_manifest", {**FIRST, "tainted": True}),
            *thrice("untaint", "catalog_manifest", {**FIRST, "tainted": False}),
            *thrice("revoke", "catalog_manifest", {**FIRST, "revoked": True}),
            task("all", "catalog_manifest_info", {"catalog_id": IMAGE}),
            task("not revoked", "catalog_manifest_info", {"catalog_id": IMAGE, "revoked": False}),
            task("range", "catalog_manifest_info", {"catalog_id": IMAGE, "version": ">=1.1"}),
            task("tag", "catalog_manifest_info", {"catalog_id": IMAGE, "tag": "stable"}),
            task("latest", "catalog_manifest_info", {"catalog_id": IMAGE, "tag": "latest"}),
            task(
                "query",
                "catalog_manifest_info",
                {"catalog_id": IMAGE, "query": "[?revoked].{version: version, by: revoked_by}"},
            ),
            task("as reader", "catalog_manifest_info", {"catalog_id": LONELY, **as_reader}),
            task("bad query", "catalog_manifest_info", {"catalog_id": IMAGE, "query": "[?"}, may_fail=True),
            task("unknown", "catalog_manifest", {**FIRST, "version": "9", "tainted": True}, may_fail=True),
            task("undo revocation", "catalog_manifest", {**FIRST, "revoked": False}, may_fail=True),
            task("taint as pusher", "catalog_manifest", {**SECOND, "tainted": True, **as_pusher}, may_fail=True),
            task("edit as reader", "catalog_manifest", {**SECOND, "description": "!", **as_reader}, may_fail=True),
            task("hidden", "catalog_manifest", {**FIRST, "catalog_id": LONELY, **as_pusher}, may_fail=True),
            *thrice("narrow", "catalog_manifest", {**SECOND, "required_roles": ["OPS"]}),
            task("widen", "catalog_manifest", {**SECOND, "required_roles": []}, may_fail=True),
            *thrice("delete", "catalog_manifest", {**FIRST, "state": "absent"}),
            task("left", "catalog_manifest_info", {"catalog_id": IMAGE}),
        ],
        {"reader_token": reader.token, "pusher_token": pusher.token},
    )


def _versions(done: dict[str, t.Any]) -> list[str]:
    return [manifest["version"] for manifest in done["manifests"]]


@pytest.mark.parametrize("name", ["edit", "restrict", "taint", "untaint", "revoke", "narrow", "delete"])
def test_a_record_is_made_as_wanted(results: Results, name: str) -> None:
    check, done, again = (results[text].result for text in (f"{name}, check", name, f"{name}, again"))
    assert check["changed"] and done["changed"] and not again["changed"]
    assert check["diff"] == done["diff"] and len(done["diff"]) == 1
    assert again["diff"] == []
    assert done["manifests"] == again["manifests"]
    moving = {"updated_at", "tainted_at", "tainted_by", "untainted_by", "revoked_at", "revoked_by"}
    for predicted, made in zip(check["manifests"], done["manifests"]):
        assert {key: value for key, value in predicted.items() if key not in moving} == {
            key: value for key, value in made.items() if key not in moving
        }


def test_fields_are_set(results: Results) -> None:
    (edited,) = results["edit"].result["manifests"]
    assert edited["description"] == "Now with a description"
    assert sorted(edited["tags"]) == ["latest", "stable", "tested"]
    assert edited["minimum_requirements"] == {"cpu": 0, "memory_mb": 4096, "disk_mb": 0}
    # A tag names one version.
    assert results["first, later"].result["manifests"][0]["tags"] == []


def test_questions_are_answered(results: Results) -> None:
    assert _versions(results["all"].result) == ["1.0.0", "1.1.0"]
    for name in ("not revoked", "range", "tag", "latest"):
        assert _versions(results[name].result) == ["1.1.0"], name
    assert results["query"].result["result"] == [{"version": "1.0.0", "by": "bench"}]
    assert _versions(results["as reader"].result) == []


def test_a_deleted_record_is_gone(results: Results, server: Server) -> None:
    assert results["delete"].result["manifests"] == []
    assert _versions(results["left"].result) == ["1.1.0"]


def test_refusals(results: Results) -> None:
    assert_refused(results["bad query"], "invalid_option", "[?")
    assert_refused(results["unknown"], "unknown_manifest", IMAGE, "9")
    assert_refused(results["undo revocation"], "revoked", IMAGE, "1.0.0")
    assert_refused(results["taint as pusher"], "forbidden", "taint", "TAINT_CATALOG_MANIFEST")
    assert_refused(results["edit as reader"], "forbidden", "description")
    assert_refused(results["hidden"], "unknown_manifest", LONELY)
    assert_refused(results["widen"], "shared_segments", IMAGE)
