# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""schemathesis on a server that has something of everything: no 5xx, and nothing but what the description says.

``MACFLEET_TEST_FUZZING_SECONDS`` says how long all callers together take; a busy machine takes longer.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from catalog_server.openapi.routes import FILE
from described import operations
from fuzzing_hooks import VALUES
from packs import make_pack
from rows import new_catalog_id, put_manifest, segments_of
from running import Server, Template, running
from transfer_client import FILES, Client, good

SECONDS = int(os.environ.get("MACFLEET_TEST_FUZZING_SECONDS", "60"))
# A short run, which every change must pass, makes the same requests each time.
SHORT_SECONDS = 60
SEED = ("--seed", "1") if SECONDS <= SHORT_SECONDS else ()
# A busy machine that does not come to every operation in its time gets so many times as much.
TIMES = (1, 4, 16)
GRACE_SECONDS = 240
PHASES = ("coverage", "fuzzing", "stateful")
# A super user, an ordinary one who may push, and nobody
CALLERS = ("admin", "pusher", None)
MANIFESTS = 30
OTHERS = 12
Values = dict[str, list[t.Any]]

SETTINGS = {
    # Logins are tried as often as everything else, and tokens last for the whole run.
    "CATALOG_LOGIN_BURST": "100000",
    "CATALOG_LOGINS_PER_MINUTE": "100000",
    "CATALOG_LOGIN_ATTEMPTS": "1000",
    "CATALOG_TOKEN_SECONDS": "7200",
    "CATALOG_LOG_LEVEL": "warning",
}


@pytest.fixture(name="fuzzed", scope="module")
def fuzzed_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(template, tmp_path_factory.mktemp("fuzzed") / "data", SETTINGS) as server:
        yield server


def values_of(server: Server, by: str) -> Values:
    """Make something of everything, and say by what names; grants, uploads and objects are those of one caller."""
    caller = Client.of(server, by)
    manifests = [put_manifest(server, tags=["stable"], roles=[], segments=3) for _number in range(MANIFESTS)]
    pushed = [Client.of(server, "pusher").push(new_catalog_id()) for _number in range(3)]
    values: Values = {
        "manifest_id": [*manifests, *(one.id for one in pushed)],
        "user": [],
        "role": [],
        "key": [],
        "catalog_id": [new_catalog_id() for _number in range(OTHERS)],
        "jti": [],
        "grant": [],
        "upload_id": [],
        "commit_upload": [],
        "catalog_id of a version": [one.manifest["catalog_id"] for one in pushed],
        "make_read_urls": [[one.id, _named(segments_of(server, one.id)), one.manifest["digest"]] for one in pushed],
    }
    for number in range(OTHERS):
        _add_people(server, values, f"user-{secrets.token_hex(6)}")
        _add_transfers(caller, values, pushed[number % len(pushed)].manifest["catalog_id"])
    for name in values["catalog_id"]:
        good(server.call("PUT", f"/catalog_ids/{name}", "admin", json={}))
    values["read_object"] = values["head_object"] = [
        _parts(url["url"])
        for one in pushed
        for url in good(caller.read_urls(one.id, segments_of(server, one.id)))["urls"]
    ]
    for name, path in (("manifests", "manifests"), ("users", "users"), ("catalog_ids", "catalog_ids")):
        values[f"cursor of list_{name}"] = [server.call("GET", f"/{path}?limit=1", "admin").json()["next"]]
    values["cursor of list_audit_entries"] = [server.call("GET", "/audit?limit=1", "admin").json()["next"]]
    return values


def _named(segments: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"pack": pack, "sha256": sha256} for pack, sha256 in segments]


def _add_people(server: Server, values: Values, name: str) -> None:
    user = good(server.call("POST", "/users", "admin", json={"username": name}))["id"]
    body = {"name": "fuzzing", "expires_in": None}
    values["user"].append(user)
    values["key"].append(good(server.call("POST", f"/users/{user}/api_keys", "admin", json=body))["key"])
    values["role"].append(good(server.call("PUT", f"/roles/ROLE-{name}", "admin", json={}))["name"])


def _add_transfers(caller: Client, values: Values, catalog_id: str) -> None:
    grant = caller.grant("pull", catalog_id)
    values["grant"].append(grant["grant"])
    values["jti"].append(grant["id"])
    values["upload_id"].append(good(caller.begin(new_catalog_id()))["id"])
    upload = good(caller.begin(new_catalog_id()))
    pack = make_pack(upload["id"], FILES)
    caller.store(upload["id"], pack)
    path, query = {"upload_id": upload["id"]}, {"revision": upload["revision"]}
    values["commit_upload"].append([path, query, pack.index.hex()])


def _parts(url: str) -> list[dict[str, str]]:
    """Parameters in the path and in the query of a signed URL."""
    parts = urlsplit(url)
    storage, _slash, key = parts.path.partition("/objects/")[2].partition("/")
    return [{"storage": storage, "key": key}, dict(parse_qsl(parts.query))]


def run(server: Server, values: Path, seconds: int) -> str:
    """Let schemathesis ask for so long whatever the values let it; returns what it said, which is no complaint."""
    words = ["--url", f"{server.url}/api/v1", "--max-time", str(seconds), "--no-color", "--phases", ",".join(PHASES)]
    words += ["--checks", "all", "--continue-on-failure", "--max-failures", "20", "--request-timeout", "60"]
    words += ["--generation-database", "none", "--warnings", "off", "--output-sanitize", "true"]
    words += ["--generation-with-security-parameters", "false", *SEED]
    hooks = Path(__file__).with_name("fuzzing_hooks.py")
    found = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", *words, str(FILE)],
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(hooks), VALUES: str(values)},
        cwd=values.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + GRACE_SECONDS,
        check=False,
    )
    # A body may be a line of hundreds of kilobytes.
    said = "\n".join(line[:500] for line in found.stdout.splitlines())
    assert found.returncode == 0, said[-20_000:] + found.stderr[-5_000:]
    return found.stdout


def has_tested_all(said: str) -> bool:
    """If it has come to all operations, and in a long run to all phases; without time for any it is content, too."""
    tested = re.search(r"^ +Tested: ([0-9]+)$", said, re.MULTILINE)
    phases = PHASES if SECONDS > SHORT_SECONDS else PHASES[:1]
    is_over = all(re.search(f"^ +✅ +{phase.capitalize()}$", said, re.MULTILINE) for phase in phases)
    return is_over and tested is not None and int(tested[1]) == len(operations())


@pytest.mark.timeout(sum(SECONDS * times + GRACE_SECONDS for times in TIMES))
@pytest.mark.parametrize("by", CALLERS, ids=lambda name: name or "nobody")
def test_nothing_but_what_the_description_says(fuzzed: Server, tmp_path: Path, by: str | None) -> None:
    values = tmp_path / "values.json"
    made = values_of(fuzzed, by or "pusher")
    made["token"] = [fuzzed.token(by)] if by is not None else []
    values.write_text(json.dumps(made), encoding="utf-8")
    for times in TIMES:
        said = run(fuzzed, values, times * SECONDS // len(CALLERS))
        if has_tested_all(said):
            break
    else:
        pytest.fail(f"there was no time for all operations:\n{said[-5_000:]}")
    me = fuzzed.call("GET", "/me", by) if by is not None else None
    assert me is None or me.status_code == 200, "the run has taken its own credentials away"
