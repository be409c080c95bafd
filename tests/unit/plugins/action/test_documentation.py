# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is documented of modules that have no argument spec of their own, and of the action group."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.macfleet.parallels.plugins.module_utils import _arguments
from ansible_collections.macfleet.parallels.tests.unit.support.actions import COLLECTION

ROOT = Path(_arguments.__file__).absolute().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
GROUP_FRAGMENT = "macfleet.parallels._attributes.action_group"


def documentation(name: str) -> dict[str, t.Any]:
    """A module's own documentation."""
    text = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").DOCUMENTATION
    return t.cast("dict[str, t.Any]", yaml.safe_load(text))


def fragments(own: dict[str, t.Any]) -> list[str]:
    return t.cast("list[str]", own["extends_documentation_fragment"])


def options(name: str) -> dict[str, t.Any]:
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


def plain(spec: _arguments.Spec) -> dict[str, t.Any]:
    """A spec without what documentation does not show."""
    return {
        name: {key: plain(value) if key == "options" else value for key, value in option.items() if key != "no_log"}
        for name, option in spec.items()
    }


@pytest.mark.parametrize(
    ("name", "own"),
    [("catalog_manifest", _arguments.manifest_spec()), ("catalog_manifest_info", _arguments.info_spec())],
)
def test_modules_without_code_document_what_their_actions_take(name: str, own: _arguments.Spec) -> None:
    assert described(options(name)) == plain({**_arguments.connection_spec(), **own})


def test_fragments_document_what_the_groups_of_options_are() -> None:
    groups = {**_arguments.connection_spec(), **_arguments.handover_spec(), **_arguments.cache_spec()}
    documented = options("catalog_pull")
    assert described({name: documented[name] for name in groups}) == plain(groups)


def test_all_modules_are_in_the_action_group_and_take_its_defaults() -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["catalog"]) == MODULES
    for name in MODULES:
        assert GROUP_FRAGMENT in fragments(documentation(name))
        action = importlib.import_module(f"{COLLECTION}.plugins.action.{name}").ActionModule
        group = {**_arguments.connection_spec(), **_arguments.cache_spec()}
        assert set(action.group_options) == set(options(name)) & set(group), name


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_tasks_of_options_that_exist(name: str) -> None:
    module = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}")
    for task in yaml.safe_load(module.EXAMPLES):
        if f"macfleet.parallels.{name}" in task:
            assert set(task[f"macfleet.parallels.{name}"] or {}) <= set(options(name))
    assert yaml.safe_load(module.RETURN)
