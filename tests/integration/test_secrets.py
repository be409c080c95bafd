# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No password, key, token or grant is anywhere but where it was given; all runs were as talkative as ``-vvv``."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.stage import Stage, User, task

IMAGE = "discreet-image"
# The beginning of every token and grant, and the end of every signed URL.
TELLTALES = (b"eyJhbGciOi", b"signature=")
# What tests give to a play, and the disks of sample machines, which hold files of this machine.
OURS = (".vars.json", ".hds", ".raw")


@pytest.fixture
def secrets(stage: Stage, reader: User, pusher: User) -> list[bytes]:
    """Every secret of these tests."""
    texts = [stage.server.admin_token, stage.server.process.password]
    for user in (reader, pusher):
        key, _colon, secret = base64.b64decode(user.api_key).decode().partition(":")
        assert key and secret
        texts += [user.password, user.token, user.api_key, secret]
    return [text.encode() for text in texts]


def places(directory: Path, needles: t.Sequence[bytes]) -> list[str]:
    """Files below a directory, and what of the needles is in them."""
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.name.endswith(OURS):
            continue
        content = path.read_bytes()
        found += [f"{path}: {needle[:12]!r}" for needle in needles if needle in content]
    return found


@pytest.mark.at_the_end
def test_no_secret_is_left_anywhere(stage: Stage, secrets: list[bytes], reader: User, pusher: User) -> None:
    bundle = small_bundle(stage.builder.home / "discreet", "Discreet")
    address = {"catalog_id": IMAGE, "version": "1.0.0"}
    by_password = {"catalog_username": pusher.name, "catalog_password": "{{ password }}"}
    by_key, by_token = {"catalog_api_key": "{{ api_key }}"}, {"catalog_token": "{{ token }}"}
    variables = {"password": pusher.password, "api_key": pusher.api_key, "token": reader.token}
    tasks = [
        {**task("push", "catalog_push", {"path": str(bundle), **address, **by_password}), "register": "pushed"},
        task("show", "ansible.builtin.debug", {"var": "pushed"}),
        task("push again", "catalog_push", {"path": str(bundle), **address, **by_key}),
        task("push other", "catalog_push", {"path": str(bundle), "catalog_id": IMAGE, **by_token}, may_fail=True),
        task("forbidden", "catalog_manifest", {**address, "description": "!", **by_token}, may_fail=True),
        task("pull", "catalog_pull", {**address, "state": "cached", **by_key}),
        task("ask", "catalog_manifest_info", {**address, **by_password}),
    ]
    results = stage.play("builder", tasks, variables)
    assert results["push"].result["changed"] and results["pull"].result["changed"]

    needles = [*secrets, *TELLTALES]
    logs = [path for path in stage.logs.iterdir() if path.suffix == ".log"]
    assert any("module_args" in path.read_text(encoding="utf-8") for path in logs)
    for directory in (stage.logs, stage.work / "hosts/homes", stage.left, stage.work / "controller"):
        assert places(directory, needles) == []
    # The server keeps hashes; of what it signs it keeps nothing.
    for name in ("server.log", "catalog.db", "catalog.db-wal"):
        path = stage.server.process.directory / name
        content = path.read_bytes() if path.exists() else b""
        assert [needle for needle in needles if needle in content] == [], name
