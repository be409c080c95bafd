# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documents show is run as they show it, and what a module returns is what it documents.

The texts are taken from the documents themselves; nothing but the names that a reader puts in place is replaced.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.macfleet.parallels.tests.integration.images import small_bundle
from ansible_collections.macfleet.parallels.tests.integration.returned import assert_returned, source
from ansible_collections.macfleet.parallels.tests.integration.stage import (
    BUILDER,
    DEADLINE_SECONDS,
    MACS,
    Results,
    Stage,
    Task,
    task,
)
from ansible_collections.macfleet.parallels.tests.support import bundles, documents

ADMINISTRATION = ("catalog_role", "catalog_user", "catalog_api_key", "catalog_id", "catalog_server_info")
# What the example registers that makes a secret, since no output shows it.
KEY_FILE = "key.json"
MODULES = sorted(path.stem for path in (documents.ROOT / "plugins/modules").glob("*.py"))
HOST_README = "roles/catalog_host/README.md"

# What readers put something of their own in place of.
URL = "https://catalog.example.com"
BUNDLE = "/Users/build/Parallels/macOS 15 runner.macvm"
OTHER_BUNDLE = "/Users/build/Parallels/Windows 11.pvm"

# What the examples speak of.
IMAGE = "macos-15-runner"
# A directory on each host for these tests alone.
PLACE = "{{ places[inventory_hostname] }}"

Play = t.Dict[str, t.Any]


def examples_of(module: str, values: t.Mapping[str, str]) -> dict[str, Task]:
    """The examples of a module by their names."""
    tasks = yaml.safe_load(documents.filled(source(module).EXAMPLES, values))
    return {one["name"]: one for one in tasks}


def play(hosts: str, *tasks: Task, **defaults: str) -> Play:
    """A play of examples, with a cache and facts that other tests do not see."""
    own = {"cache_path": f"{PLACE}/cache", "facts_directory": f"{PLACE}/facts"}
    group = {"group/macfleet.parallels.catalog": {**own, **defaults}}
    return {"hosts": hosts, "gather_facts": False, "module_defaults": group, "tasks": list(tasks)}


@dataclass(frozen=True)
class Story:
    """All examples that need nothing but a catalog and its hosts, in an order in which each has something to do."""

    results: Results
    examples: dict[str, dict[str, Task]]

    def of(self, module: str, number: int) -> dict[str, dict[str, t.Any]]:
        """What an example of a module has returned, by host."""
        name = list(self.examples[module])[number]
        return {host: row.result for host, row in self.results.of(name).items()}

    def single(self, module: str, number: int) -> dict[str, t.Any]:
        """The same, of the only host."""
        (result,) = self.of(module, number).values()
        return result


@pytest.fixture(scope="module")
def story(stage: Stage) -> Story:
    builder = stage.builder.home
    bundle = bundles.make_bundle(
        str(builder / "Parallels"), b"a guest " * 99_999, Path(BUNDLE).stem, bundles.MACVM, bundles.PLAIN
    )
    other = str(small_bundle(builder / "Parallels", Path(OTHER_BUNDLE).stem))
    old, new = (small_bundle(builder / "documented", name) for name in ("Old", "New"))
    url = {URL: stage.server.url}
    examples = {
        "catalog_cache": examples_of("catalog_cache", {}),
        "catalog_cache_facts": examples_of("catalog_cache_facts", {}),
        "catalog_manifest": examples_of("catalog_manifest", url),
        "catalog_manifest_info": examples_of("catalog_manifest_info", url),
        "catalog_pull": examples_of("catalog_pull", url),
        "catalog_push": examples_of("catalog_push", {**url, BUNDLE: bundle, OTHER_BUNDLE: other}),
    }
    # The administrator of the tests has another name.
    named = {"catalog_api_key": {**url, "catalog_username: admin": "catalog_username: bench"}}
    administration = {module: examples_of(module, named.get(module, url)) for module in ADMINISTRATION}
    examples.update(administration)
    administered = [one for tasks in administration.values() for one in tasks.values()]
    key = next(one for one in administered if "register" in one)
    keep = {"content": f"{{{{ {key['register']} | to_json }}}}", "dest": f"{PLACE}/{KEY_FILE}", "mode": "0600"}
    administered.insert(
        administered.index(key) + 1, task("keep the key", "ansible.builtin.copy", keep, no_log=True, diff=False)
    )
    started, filled, preview, stopped, absent, purged, facts = examples["catalog_pull"].values()
    verified, emptied, dropped = examples["catalog_cache"].values()
    owners = {f"owner: {owner}": f"owner: {stage.user}" for owner in ("build", "qa")}
    volume = {"/Volumes/Images/qa-cache": f'"{PLACE}/qa-cache"', "volume: /Volumes/Images": f'volume: "{PLACE}"'}
    role = documents.play(HOST_README, {"hosts: macs": "hosts: mac01", **owners, **volume})
    readme = documents.play("README.md", url)
    (defaults,) = readme["module_defaults"].values()
    (runner,) = readme["tasks"]
    gather = {"fact_path": f"{PLACE}/facts.d", "gather_subset": ["!all", "local"]}
    (local_facts,) = yaml.safe_load(documents.blocks(HOST_README, "yaml")[1])
    plays = [
        role,
        play(
            "mac01",
            task("gather", "ansible.builtin.setup", gather),
            task("prepared", "ansible.builtin.debug", {"var": local_facts}),
        ),
        play(
            BUILDER,
            *examples["catalog_push"].values(),
            task("old", "catalog_push", {"path": str(old), "catalog_id": IMAGE, "version": "1.3.0"}),
            task("new", "catalog_push", {"path": str(new), "catalog_id": IMAGE, "version": "1.4.1"}),
        ),
        play("mac02", preview, facts, filled),
        play("mac01:mac02", *examples["catalog_cache_facts"].values()),
        play(readme["hosts"], {**runner, "name": "readme"}, **defaults),
        play(
            "mac01",
            started,
            task("old on the host", "catalog_pull", {"catalog_id": IMAGE, "version": "1.3.0", "state": "cached"}),
            task("facts", "catalog_cache_facts"),
            verified,
            dropped,
            task("gather again", "ansible.builtin.setup", gather),
            task("published", "ansible.builtin.debug", {"var": local_facts}),
        ),
        play("macs", stopped, absent, purged, *examples["catalog_manifest"].values()),
        play("mac02", emptied),
        play("mac01", *examples["catalog_manifest_info"].values()),
        {
            "hosts": "mac01",
            "gather_facts": False,
            "tasks": [
                task("somebody", "catalog_user", {"username": "ann"}),
                *administered,
            ],
        },
    ]
    homes = {BUILDER: builder, **{name: stage.mac(name).home for name in MACS}}
    variables = {
        "vault_catalog_api_key": stage.server.process.command("user", "key", "bench", "--never-expires").strip(),
        "vault_catalog_password": stage.server.process.password,
        "places": {host: str(home / "documented") for host, home in homes.items()},
        # The role's play works as root, and keeps to directories of the machine.
        "ansible_become": False,
        "catalog_host_cache_path": f"{PLACE}/cache",
        "catalog_host_facts_directory": f"{PLACE}/facts",
        "catalog_host_local_facts_directory": f"{PLACE}/facts.d",
    }
    run = stage.ansible.start("documentation", plays, variables)
    return Story(Results(run.wait(DEADLINE_SECONDS), run.log), examples)


# Modules


def test_every_example_is_run(story: Story) -> None:
    assert sorted(story.examples) == MODULES
    for tasks in story.examples.values():
        assert [name for name in tasks if not story.results.of(name)] == []
    assert {row.status for row in story.results.rows} == {"ok"}


def test_examples_of_catalog_push(story: Story, stage: Stage) -> None:
    published, preview = story.single("catalog_push", 0), story.single("catalog_push", 1)
    assert published["changed"] and published["bytes"]["encoded"] > 0
    assert "stable" in published["manifest"]["tags"]
    assert preview["changed"] and preview["encoded_is_estimate"]
    for_one_role, updated, replaced = (story.single("catalog_push", number) for number in (2, 3, 4))
    assert for_one_role["manifest"]["required_roles"] == updated["manifest"]["required_roles"] == ["FINANCE"]
    assert updated["changed"] and updated["bases"] == [for_one_role["manifest"]["version"]]
    # The content is that of the first one.
    assert not replaced["changed"] and replaced["bases"] == []
    assert preview["manifest"]["version"] not in [there["version"] for there in stage.server.manifests(IMAGE)]


def test_examples_of_catalog_pull(story: Story) -> None:
    filled, preview = story.single("catalog_pull", 1), story.single("catalog_pull", 2)
    assert preview["changed"] and filled["changed"]
    assert preview["bytes"] == filled["bytes"] and filled["bytes"]["downloaded"] > 0
    # The play of the README is the same, and came before.
    started = story.single("catalog_pull", 0)
    assert not started["changed"] and started["vm"]["state"] == "running"
    stopped, absent = story.of("catalog_pull", 3), story.of("catalog_pull", 4)
    assert sorted(stopped) == sorted(absent) == list(MACS)
    assert all(result["changed"] and result["vm"]["state"] == "stopped" for result in stopped.values())
    assert all(result["changed"] and not result["vm"] for result in absent.values())
    assert not story.of("catalog_pull", 5)["mac01"]["changed"]
    assert story.single("catalog_pull", 6)["ansible_facts"]["parallels_catalog"] == preview["parallels_catalog"]


def test_examples_of_catalog_cache(story: Story) -> None:
    verified, emptied, dropped = (story.single("catalog_cache", number) for number in range(3))
    assert emptied["changed"] and emptied["removed"]
    assert not verified["changed"] and len(verified["entries"]) == 2
    assert dropped["changed"] and len(dropped["removed"]) == 1
    assert [address["version"] for entry in dropped["entries"] for address in entry["addresses"]] == ["1.3.0"]


def test_examples_of_catalog_cache_facts(story: Story) -> None:
    groups = {host: result["add_group"] for host, result in story.of("catalog_cache_facts", 1).items()}
    assert groups == {"mac01": "lacks_macos_15_runner", "mac02": "has_macos_15_runner"}


def test_examples_of_catalog_manifest(story: Story, stage: Stage) -> None:
    assert [story.single("catalog_manifest", number)["changed"] for number in range(3)] == [True] * 3
    there = {manifest["version"]: manifest for manifest in stage.server.manifests(IMAGE)}
    assert sorted(there) == ["1.4.0", "1.4.1"]
    assert there["1.4.0"]["tainted"] and not there["1.4.1"]["tainted"]
    assert there["1.4.0"]["tags"] == [] and there["1.4.1"]["tags"] == ["latest", "stable"]
    assert there["1.4.1"]["minimum_requirements"]["memory_mb"] == 8192


def test_examples_of_catalog_manifest_info(story: Story) -> None:
    runners, favourites, shown = (story.single("catalog_manifest_info", number) for number in range(3))
    assert [manifest["version"] for manifest in runners["manifests"]] == ["1.4.1"]
    assert len(favourites["result"]) == min(len(favourites["manifests"]), 5)
    assert {"catalog_id": IMAGE, "version": "1.4.1"} in favourites["result"]
    assert shown["favourites.result"] == favourites["result"]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_returned_is_what_is_documented(module: str, story: Story, stage: Stage) -> None:
    results = [row.result for row in story.results.rows if row.action == f"macfleet.parallels.{module}"]
    shown = [result for result in results if "censored" not in result]
    assert len(results) - len(shown) == (module == "catalog_api_key")
    if len(shown) < len(results):
        kept = json.loads((stage.mac("mac01").home / "documented" / KEY_FILE).read_text(encoding="utf-8"))
        shown.append({name: value for name, value in kept.items() if name != "failed"})
    assert_returned(module, shown)


# Plays


def test_play_of_the_readme(story: Story) -> None:
    made = story.results.of("readme")
    assert sorted(made) == list(MACS)
    for row in made.values():
        assert row.result["changed"]
        assert (row.result["vm"]["version"], row.result["vm"]["state"]) == ("1.4.1", "running")


def test_role_catalog_host(story: Story, stage: Stage) -> None:
    ((expression, expected),) = yaml.safe_load(documents.blocks(HOST_README, "yaml")[1]).items()
    assert story.results["prepared"].result[expression] == expected
    published = story.results["published"].result[expression]
    assert published.keys() == expected.keys()
    assert published["owners"] == {stage.user: {"readable": True}}
    assert [vm["name"] for vm in published["vms"]] == ["runner-01"]
    assert (stage.mac("mac01").home / "documented/qa-cache").stat().st_mode & 0o777 == 0o700


def test_recipes(story: Story, stage: Stage) -> None:
    newer = small_bundle(stage.builder.home / "documented", "Newer")
    stage.play(BUILDER, [task("push", "catalog_push", {"path": str(newer), "catalog_id": IMAGE, "version": "1.5.0"})])
    older = {"catalog_id": IMAGE, "version": "1.4.1", "name": "runner-01", "state": "started"}
    stage.play("macs", [task("older", "catalog_pull", older)])
    recipes = [play for text in documents.blocks("docs/recipes.md", "yaml") for play in yaml.safe_load(text)]
    run = stage.ansible.start("recipes", recipes, {})
    results = Results(run.wait(DEADLINE_SECONDS), run.log)
    compared = results.of("Compare the virtual machine with the catalog")
    assert sorted(compared) == list(MACS)
    assert all(row.result["update_available"] and not row.result["changed"] for row in compared.values())
    for name, state in (("Stop it politely", "stopped"), ("Make it of the new version", "running")):
        rows = results.of(name)
        assert sorted(rows) == list(MACS)
        assert {row.result["vm"]["state"] for row in rows.values()} == {state}
    assert {row.result["vm"]["version"] for row in rows.values()} == {"1.5.0"}
    for row in results.of("Remove the runner and what is cached of its image").values():
        assert row.result["changed"] and not row.result["vm"]
        (cache,) = row.result["parallels_catalog"]["caches"].values()
        assert cache["entries"] == []
    assert {row.result["msg"] for row in results.of("Show how many images there are").values()} == {"1 images"}


def test_storage_is_laid_out_as_the_format_says(story: Story, stage: Stage) -> None:
    layouts = re.findall(r"^    <prefix>/(.+?) {2,}\S", documents.read("docs/pack-format.md"), re.MULTILINE)
    texts = (re.escape(layout) for layout in layouts)
    texts = (text.replace(re.escape("<upload id>"), "[0-9a-f]{32}") for text in texts)
    patterns = {re.compile(text.replace(re.escape("<sha256>"), "[0-9a-f]{64}")) for text in texts}
    storage = stage.server.process.storage
    names = [path.relative_to(storage).as_posix() for path in (storage / "packs").rglob("*") if path.is_file()]
    fitting = [[pattern for pattern in patterns if pattern.fullmatch(name)] for name in names]
    assert {len(found) for found in fitting} == {1}
    assert {found[0] for found in fitting} == patterns
