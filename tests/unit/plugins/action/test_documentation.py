# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation beside code: options of modules and roles, the action group, what fails, what the README lists."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary, options
from ansible_collections.macfleet.parallels.tests.support import documents
from ansible_collections.macfleet.parallels.tests.unit.support.actions import COLLECTION

ROOT = Path(boundary.__file__).absolute().parents[3]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
PLAYBOOKS = sorted(f"macfleet.parallels.{path.stem}" for path in (ROOT / "playbooks").iterdir())
GROUP_FRAGMENT = "macfleet.parallels._attributes.action_group"


def documentation(name: str) -> dict[str, t.Any]:
    """A module's own documentation."""
    text = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").DOCUMENTATION
    return t.cast("dict[str, t.Any]", yaml.safe_load(text))


def fragments(own: dict[str, t.Any]) -> list[str]:
    return t.cast("list[str]", own["extends_documentation_fragment"])


def documented_options(name: str) -> dict[str, t.Any]:
    """The documented options of a module, those of its fragments included."""
    own = documentation(name)
    found = dict(own["options"])
    for fragment in fragments(own):
        file, _dot, part = fragment.removeprefix("macfleet.parallels.").partition(".")
        holder = importlib.import_module(f"{COLLECTION}.plugins.doc_fragments.{file}").ModuleDocFragment
        found.update(yaml.safe_load(getattr(holder, (part or "documentation").upper())).get("options") or {})
    return found


def described(documented: dict[str, t.Any]) -> dict[str, t.Any]:
    """Documented options as a spec."""
    spec = {}
    for name, option in documented.items():
        assert option["description"]
        spec[name] = {
            key: option[key] for key in ("type", "default", "choices", "elements", "required") if key in option
        }
        if "suboptions" in option:
            spec[name]["options"] = described(option["suboptions"])
    return spec


def plain(spec: options.Spec) -> dict[str, t.Any]:
    """A spec without what documentation does not show."""
    return {
        name: {key: plain(value) if key == "options" else value for key, value in option.items() if key != "no_log"}
        for name, option in spec.items()
    }


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("catalog_api_key", options.api_key_spec()),
        ("catalog_id", options.catalog_id_spec()),
        ("catalog_manifest", options.manifest_spec()),
        ("catalog_manifest_info", options.info_spec()),
        ("catalog_role", options.role_spec()),
        ("catalog_server_info", options.server_info_spec()),
        ("catalog_user", options.user_spec()),
    ],
)
def test_modules_without_code_document_what_their_actions_take(name: str, own: options.Spec) -> None:
    assert described(documented_options(name)) == plain({**options.connection_spec(), **own})


def test_fragments_document_what_the_groups_of_options_are() -> None:
    groups = {**options.connection_spec(), **options.handover_spec(), **options.cache_spec()}
    documented = documented_options("catalog_pull")
    assert described({name: documented[name] for name in groups}) == plain(groups)


def test_all_modules_are_in_the_action_group_and_take_its_defaults() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["catalog"]) == MODULES
    for name in MODULES:
        assert GROUP_FRAGMENT in fragments(documentation(name))
        action = importlib.import_module(f"{COLLECTION}.plugins.action.{name}").ActionModule
        group = {**options.connection_spec(), **options.cache_spec()}
        assert set(action.group_options) == set(documented_options(name)) & set(group), name


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_tasks_of_options_that_exist(name: str) -> None:
    module = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}")
    for task in yaml.safe_load(module.EXAMPLES):
        if f"macfleet.parallels.{name}" in task:
            assert set(task[f"macfleet.parallels.{name}"] or {}) <= set(documented_options(name))
    assert yaml.safe_load(module.RETURN)


@pytest.mark.parametrize("name", MODULES)
def test_what_a_failure_returns_is_documented(name: str) -> None:
    returns = yaml.safe_load(importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").RETURN)
    documented = {field for field, text in returns.items() if text["returned"] == "failure"}
    error = CatalogError("It failed.")
    always = boundary.failure(error).keys() - {"msg"}
    error.done = ("Something was done.",)
    assert always <= documented <= boundary.failure(error).keys() - {"msg", "changed"}


def table_rows(document: str) -> list[list[list[str]]]:
    """What is set as code in each cell of the rows of tables that begin with code."""
    rows = [line.strip("|").split(" | ") for line in documents.read(document).splitlines() if line.startswith("| ")]
    found = [[re.findall(r"`([^`]*)`", cell) for cell in row] for row in rows]
    return [row for row in found if row[0]]


def test_the_readme_lists_what_there_is() -> None:
    listed = [name for row in table_rows("README.md") for name in row[0]]
    assert sorted(listed) == sorted([*MODULES, *ROLES, *PLAYBOOKS])


def test_the_readme_names_the_variables_of_the_environment() -> None:
    fragment = importlib.import_module(f"{COLLECTION}.plugins.doc_fragments._catalog").ModuleDocFragment
    variables = set(re.findall(r"E\((MACFLEET_\w+)\)", fragment.DOCUMENTATION))
    assert set(documents.inline("README.md", "MACFLEET_")) == variables


@pytest.mark.parametrize("role", ROLES)
def test_parameters_of_a_role_are_those_of_its_readme(role: str) -> None:
    text = documents.read(f"roles/{role}/meta/argument_specs.yml")
    specified = {
        name: option.get("default")
        for name, option in yaml.safe_load(text)["argument_specs"]["main"]["options"].items()
    }
    rows = table_rows(f"roles/{role}/README.md")
    assert len(rows) > 4
    for names, values, *_meaning in rows:
        # One default may stand for all; where it depends on something, the row says so in words.
        defaults = values if len(values) == len(names) else values * len(names)
        assert set(names) <= specified.keys()
        for name, default in zip(names, defaults):
            assert specified[name] in (None, yaml.safe_load(default)), name


@pytest.mark.parametrize("role", ROLES)
def test_defaults_of_a_role_are_those_of_its_specification(role: str) -> None:
    text = documents.read(f"roles/{role}/meta/argument_specs.yml")
    options = yaml.safe_load(text)["argument_specs"]["main"]["options"]
    for name, default in yaml.safe_load(documents.read(f"roles/{role}/defaults/main.yml")).items():
        if not str(default).startswith("{{"):
            assert options[name]["default"] == default, name


@pytest.mark.parametrize("role", ROLES)
def test_tags_of_a_role_are_those_of_its_readme(role: str) -> None:
    told = re.search(r"Tags: (.*?)\.\n", documents.read(f"roles/{role}/README.md"), re.DOTALL)
    assert told
    tasks = yaml.safe_load(documents.read(f"roles/{role}/tasks/main.yml"))
    tasks += [inner for one in tasks for inner in one.get("block", [])]
    tags = {tag for one in tasks for tag in one.get("tags", [])}
    named = set(re.findall(r"`(\w+)`", told[1]))
    assert named == {tag for tag in tags if not tag.endswith("_preflight")}


def test_ansible_shows_what_the_documents_say_it_does() -> None:
    readmes = ["README.md", *(f"roles/{role}/README.md" for role in ROLES)]
    commands = dict.fromkeys(command for name in readmes for command in documents.inline(name, "ansible-doc "))
    assert len(commands) >= 3
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT.parents[2])}
    for command in commands:
        program, *words = command.split()
        argv = [Path(sys.executable).with_name(program), *words]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        assert words[-1] in done.stdout.splitlines()[0]
        assert "macfleet" not in done.stderr
