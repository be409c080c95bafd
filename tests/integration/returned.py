# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of modules beside what their RETURN says of them."""

from __future__ import annotations

import importlib
import re
import typing as t

import yaml
from ansible_collections.macfleet.parallels.tests.support import documents

COLLECTION = "macfleet.parallels"
# What Ansible itself knows of.
ANSIBLES_OWN = ("changed", "deprecations", "diff", "invocation", "warnings")
REFERENCE = re.compile(r"RV\(macfleet\.parallels\.(\w+)#module:([\w.]+)\)")

Fields = t.Dict[str, t.Dict[str, t.Any]]


def source(module: str) -> t.Any:
    """The module, for the texts in it."""
    return importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{module}")


def fields_of(module: str) -> Fields:
    """What RETURN says of success."""
    fields: Fields = yaml.safe_load(source(module).RETURN)
    return {name: field for name, field in fields.items() if field["returned"] != "failure"}


def assert_returned(module: str, results: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Results have the documented fields, of their types, and no others; each documented field was there once."""
    comparison = _Comparison()
    fields = fields_of(module)
    for result in results:
        own = {name: value for name, value in result.items() if name not in ANSIBLES_OWN and name[0] != "_"}
        comparison.compare(own, fields, module, complete=True)
    assert comparison.known == comparison.seen


class _Comparison:
    """``known`` are the paths that the documentation has, ``seen`` those that results had."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.seen: set[str] = set()

    def compare(self, value: t.Mapping[str, t.Any], fields: Fields, where: str, *, complete: bool) -> None:
        assert value.keys() <= fields.keys(), f"{where}: {value.keys() - fields.keys()} not documented"
        for name, field in fields.items():
            path = f"{where}.{name}"
            self.known.add(path)
            if name in value:
                self.seen.add(path)
                self._compare_field(value[name], field, path)
            else:
                assert not complete or field["returned"] != "success", f"{path} is not there"

    def _compare_field(self, found: t.Any, field: t.Mapping[str, t.Any], path: str) -> None:
        if found is not None and field["type"] != "raw":
            assert type(found).__name__ == field["type"], path
        within, complete = _fields_within(field)
        if within is None:
            if "sample" in field:
                documents.assert_alike(field["sample"], found, path)
            return
        for item in found if isinstance(found, list) else [found]:
            # There is no machine, or no image, where a state is absent.
            if item:
                self.compare(item, within, path, complete=complete)
        for item in _items(field.get("sample")):
            assert item.keys() <= within.keys(), f"the sample of {path} is another"


def _fields_within(field: t.Mapping[str, t.Any]) -> tuple[Fields | None, bool]:
    """The fields of a value, and whether all are there: those of another module may be known in part."""
    if "contains" in field:
        return field["contains"], True
    reference = REFERENCE.search(str(field["description"]))
    if reference is None:
        return None, False
    fields = fields_of(reference[1])
    for name in reference[2].split("."):
        fields = fields[name]["contains"]
    return fields, False


def _items(sample: t.Any) -> list[dict[str, t.Any]]:
    return sample if isinstance(sample, list) else [sample] if sample else []
