# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/native-api.md says what the code does: words, routes, and every example, which a real server is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.tests.support.documents import assert_alike
from catalog_server import access, errors
from catalog_server.openapi.examples import EXAMPLES
from delta_packs import update
from packs import make_pack
from routes import all_routes
from rows import new_catalog_id
from running import Server, Template, command, running, wait_until
from transfer_client import FILES, Client, good

DOCUMENT = (Path(__file__).parents[2] / "docs/native-api.md").read_text(encoding="utf-8")
WORD = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (.+) \|$", re.MULTILINE)
ROUTE = re.compile(r"`(GET|HEAD|PUT|POST|PATCH|DELETE) (/[^`?]*)`")
ROUTES = DOCUMENT.partition("## Routes")[2].partition("### ")[0]
EXAMPLE = re.compile(r"(?:<!-- (\w+) -->\n)?```json\n(.*?)```", re.DOTALL)


def test_every_word_stands_in_the_table_with_its_status() -> None:
    rows = {word: (int(status), f"{text[0].upper()}{text[1:]}.") for word, status, text in WORD.findall(DOCUMENT)}
    assert rows == errors.WORDS


def test_every_error_of_the_server_has_a_word_of_the_table() -> None:
    def classes(base: type[errors.ServerError]) -> list[type[errors.ServerError]]:
        return [base] + [one for child in base.__subclasses__() for one in classes(child)]

    assert {one.code for one in classes(errors.ServerError)} <= errors.STATUSES.keys()


def test_every_claim_is_named_as_one_that_is_asked_for_or_not() -> None:
    known = "|".join(access.CLAIMS)
    asked, not_asked = DOCUMENT.partition("## Authentication and rights")[2].partition(
        "A user who may see a manifest may pull it."
    )[::2]
    found = [set(re.findall(f"`({known})`", text)) for text in (asked, not_asked.partition("The role")[0])]
    needs = {claim for need in vars(access).values() if isinstance(need, access.Needs) for claim in need.claims}
    # Of the catalog id, which may say otherwise.
    needs.add(access.PUSH_MANIFESTS)
    needs |= {*access.pulling("m").claims, *access.reading_content_of("m").claims}
    assert found == [needs, set(access.CLAIMS) - needs]


def test_every_route_stands_in_the_table() -> None:
    assert set(ROUTE.findall(ROUTES)) == all_routes()


@pytest.mark.parametrize(("name", "text"), EXAMPLE.findall(DOCUMENT), ids=lambda part: part[:20])
def test_every_example_is_one(name: str, text: str) -> None:
    """The same as in the description of the API, whose examples are checked in test_openapi.py."""
    assert json.loads(text) == EXAMPLES[name or "Error"]


# The examples as requests and answers. An answer is like its example: the same keys, values of the same types.

TEXTS = dict(EXAMPLE.findall(DOCUMENT))
# Which examples are sent, and which are compared with what comes back
REQUESTS = {"LoginRequest", "PullGrantRequest", "PushGrantRequest", "ManifestEdit"}
REQUESTS |= {"BeginUpload", "NewObjects", "WantedObjects"}
ADMINISTRATION = {"NewUser", "UserEdit", "NewApiKeyRequest", "RoleEdit", "CatalogIdEdit"}
ANSWERS = {"", "LoginReply", "MintedGrant", "ManifestRecord", "ReadUrls", "UploadRecord", "StoreUrls"}
ANSWERS |= {"DeltaRecords", "FreedSpace", "JobRecord", "GcPlan", "RetentionPlan"}
Json = dict[str, Any]


def example(name: str) -> Json:
    data: Json = json.loads(TEXTS[name])
    return data


@pytest.fixture(name="documented", scope="module")
def documented_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the user of the examples."""
    with running(template, tmp_path_factory.mktemp("documented") / "data") as server:
        login = example("LoginRequest")
        rights = ["--role", "USER", "--role", "BUILD"]
        rights += ["--claim", "PUSH_CATALOG_MANIFEST", "--claim", "UPDATE_CATALOG_MANIFEST"]
        words = ["user", "add", "ci", "--email", login["email"], "--password-stdin", *rights]
        assert command(server.data_dir, *words, stdin=login["password"], settings=server.settings).returncode == 0
        yield server


@pytest.fixture(name="ci", scope="module")
def ci_fixture(documented: Server) -> Client:
    """That user, logged in as the example says."""
    reply = good(documented.call("POST", "/auth/token", json=example("LoginRequest")))
    assert_alike(example("LoginReply"), reply, "LoginReply")
    assert reply["email"] == example("LoginReply")["email"]
    return Client(documented, reply["token"])


@pytest.fixture(name="manifest", scope="module")
def manifest_fixture(ci: Client) -> Json:
    """The version that the examples pull, edit and build upon."""
    wanted = example("ManifestRecord")
    names = ("architecture", "type", "name", "chunk_size", "description", "required_roles", "minimum_requirements")
    upload = good(ci.begin(wanted["catalog_id"], wanted["version"], **{name: wanted[name] for name in names}))
    pack = make_pack(upload["id"], FILES, chunk_size=wanted["chunk_size"], segment_bytes=4 * wanted["chunk_size"])
    ci.store(upload["id"], pack)
    made: Json = good(ci.commit(upload["id"], pack.index))
    return made


def test_every_example_is_sent_or_compared() -> None:
    assert TEXTS.keys() == REQUESTS | ADMINISTRATION | ANSWERS
    assert len(TEXTS) == len(EXAMPLE.findall(DOCUMENT))


def test_examples_of_administration(documented: Server) -> None:
    user = good(documented.call("POST", "/users", "admin", json=example("NewUser")))
    assert user["roles"] == example("NewUser")["roles"]
    edited = good(documented.call("PATCH", f"/users/{user['id']}", "admin", json=example("UserEdit")))
    assert edited["created"]["roles"] == ["TEAM_A"]
    path = f"/users/{user['username']}/api_keys"
    assert good(documented.call("POST", path, "admin", json=example("NewApiKeyRequest")))["secret"]
    role = good(documented.call("PUT", "/roles/auditor", "admin", json=example("RoleEdit")))
    assert role["claims"] == example("RoleEdit")["claims"]
    saved = good(documented.call("PUT", "/catalog_ids/documented", "admin", json=example("CatalogIdEdit")))
    assert {name: saved[name] for name in example("CatalogIdEdit")} == example("CatalogIdEdit")


def test_example_of_an_error(ci: Client) -> None:
    assert ci.http.get("/manifests/00").json() == example("")


def test_example_of_a_manifest(ci: Client, manifest: Json) -> None:
    assert_alike(example("ManifestRecord"), manifest, "ManifestRecord")
    same = (
        "catalog_id",
        "version",
        "architecture",
        "type",
        "name",
        "required_roles",
        "format",
        "chunk_size",
        "storage",
    )
    for name in same:
        assert manifest[name] == example("ManifestRecord")[name], name


def test_example_of_a_pull(ci: Client, manifest: Json) -> None:
    minted = good(ci.http.post("/grants", json=example("PullGrantRequest")))
    assert_alike(example("MintedGrant"), minted, "MintedGrant")
    assert_alike([example("ManifestRecord")], minted["manifests"], "MintedGrant.manifests")
    assert [found["id"] for found in minted["manifests"]] == [manifest["id"]]

    (segment, *_others) = _segments(ci, manifest)
    asked, answer = example("WantedObjects"), example("ReadUrls")
    (placeholder,) = asked["segments"]
    assert placeholder == {name: answer["urls"][0][name] for name in placeholder}
    made = good(ci.http.post(f"/manifests/{manifest['id']}/urls", json={"segments": [segment]}))
    assert_alike(answer, made, "ReadUrls")
    assert segment.keys() == placeholder.keys()
    assert_same_url(answer["urls"][0]["url"], made["urls"][0]["url"])
    assert ci.anybody.get(made["urls"][0]["url"], headers={"Range": "bytes=0-6"}).content == b"MFSEGM1"
    # As it stands, it names a segment, and a content, of somebody else.
    mine = {**asked, "digest": manifest["digest"]}
    assert ci.http.post(f"/manifests/{manifest['id']}/urls", json=mine).json()["error"] == "unknown_segment"
    assert ci.http.post(f"/manifests/{manifest['id']}/urls", json=asked).json()["error"] == "replaced"


def test_example_of_deltas(ci: Client) -> None:
    catalog_id = new_catalog_id()
    updated = update(ci, catalog_id, "1.1", ci.push(catalog_id))
    told = good(ci.http.get(f"/manifests/{updated.id}/deltas"))
    assert_alike(example("DeltaRecords"), told, "DeltaRecords")


def _segments(ci: Client, manifest: Json) -> list[Json]:
    answers = [ci.http.get(f"/manifests/{manifest['id']}/{name}").content for name in ("listing", "locator")]
    listing = decode_listing(answers[0])
    locator = decode_locator(answers[1], listing, chunk_rows(listing))
    return [{"pack": segment.pack, "sha256": segment.sha256} for segment in locator.segments]


def assert_same_url(wanted: str, found: str) -> None:
    """Two signed URLs differ in host, key and numbers alone."""
    assert urlsplit(found).path.startswith(urlsplit(wanted).path.partition("packs/")[0] + "packs/")
    queries = [parse_qs(urlsplit(url).query) for url in (wanted, found)]
    assert list(queries[0]) == list(queries[1])
    assert queries[0]["method"] == queries[1]["method"]


def test_example_of_a_push(ci: Client, manifest: Json) -> None:
    minted = good(ci.http.post("/grants", json=example("PushGrantRequest")))
    assert_alike(example("MintedGrant"), minted, "MintedGrant")
    assert [base["id"] for base in minted["bases"]] == [manifest["id"]]

    begin = {**example("BeginUpload"), "bases": [manifest["id"]]}
    assert example("BeginUpload")["bases"] == [example("ManifestRecord")["id"]]
    upload = good(ci.http.post("/uploads", json=begin))
    assert_alike(example("UploadRecord"), upload, "UploadRecord")
    assert [base["id"] for base in upload["bases"]] == [manifest["id"]]
    assert (upload["storage"], upload["chunk_size"]) == ("local", begin["chunk_size"])
    made = good(ci.http.post(f"/uploads/{upload['id']}/urls", json=example("NewObjects")))
    assert_alike(example("StoreUrls"), made, "StoreUrls")
    assert_same_url(example("StoreUrls")["urls"][0]["url"], made["urls"][0]["url"])


def test_example_of_an_edit(ci: Client, manifest: Json) -> None:
    edit = example("ManifestEdit")
    edited = good(ci.http.patch(f"/manifests/{manifest['id']}", json=edit))
    assert edited["description"] == edit["description"]
    assert set(edit["tags"]) <= set(edited["tags"])
    assert edited["minimum_requirements"] == {**manifest["minimum_requirements"], **edit["minimum_requirements"]}


def test_example_of_a_deletion(documented: Server, ci: Client) -> None:
    pushed = ci.push("an-image-to-delete")
    freed = good(documented.call("DELETE", f"/manifests/{pushed.id}", "admin"))
    assert_alike(example("FreedSpace"), freed, "FreedSpace")


def test_examples_of_jobs(documented: Server, ci: Client) -> None:
    retention = {"keep_versions": 1}
    for version in ("1.0", "2.0"):
        ci.push("an-image-that-ages", version)
    good(documented.call("PUT", "/catalog_ids/an-image-that-ages", "admin", json={"retention": retention}))
    plan = good(documented.call("GET", "/jobs/retention/plan", "admin"))
    (mine,) = [one for one in plan["catalog_ids"] if one["catalog_id"] == "an-image-that-ages"]
    assert_alike(example("RetentionPlan"), {"catalog_ids": [mine]}, "RetentionPlan")
    assert [one["version"] for one in mine["versions"]] == ["1.0"]
    assert_alike(example("GcPlan"), good(documented.call("GET", "/jobs/gc/plan", "admin")), "GcPlan")
    asked = documented.call("POST", "/jobs/gc/run", "admin")
    assert asked.status_code == 202

    def ended() -> bool:
        job = good(documented.call("GET", "/jobs/gc", "admin"))
        return job["started_at"] is not None and job["started_at"] >= job["requested_at"] and not job["running"]

    wait_until(ended)
    job = good(documented.call("GET", "/jobs/gc", "admin"))
    assert_alike({**example("JobRecord"), "result": {}}, {**job, "result": {}}, "JobRecord")
