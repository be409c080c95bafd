# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No password, key, token or grant is anywhere but where it was given.

This test gives each of them in each way. What all other tests have left is looked through when the stage is cleared.
"""

from __future__ import annotations

from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.leaks import leaks
from ansible_collections.macfleet.parallels.tests.integration.stage import Stage, User, task

IMAGE = "discreet-image"


def test_no_secret_is_left_anywhere(stage: Stage, reader: User, pusher: User) -> None:
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

    logs = [path for path in stage.logs.iterdir() if path.suffix == ".log"]
    assert any("module_args" in path.read_text(encoding="utf-8") for path in logs)
    assert leaks(stage) == []
