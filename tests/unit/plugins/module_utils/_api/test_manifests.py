# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import manifests
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.tests.unit.support.json_values import json_values
from ansible_collections.macfleet.parallels.tests.unit.support.recording import manifest
from hypothesis import given
from hypothesis import strategies as st


def test_a_manifest_there_and_back() -> None:
    data = manifest(tags=["latest", "stable"], minimum_requirements={"cpu": 4, "memory_mb": 8192, "disk_mb": 0})
    record = manifests.Manifest.from_json(data)
    assert record.to_json() == data
    assert manifests.Manifest.from_json(record.to_json()) == record


def test_unknown_fields_are_ignored_and_missing_ones_filled_in() -> None:
    data = {
        name: value for name, value in manifest().items() if name in {"id", "catalog_id", "version", "architecture"}
    }
    data.update(type="pvm", name="x.pvm", digest="0" * 64, colour="blue")
    record = manifests.Manifest.from_json(data)
    assert (record.tags, record.minimum_requirements.cpu, record.created_by) == ((), 0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../../etc"),
        ("id", "A1" * 32),
        ("digest", None),
        ("digest", "d1" * 31 + "/."),
        ("name", "../x.pvm"),
        ("name", ".."),
        ("name", ""),
        ("name", "a\0b"),
        ("architecture", "riscv"),
        ("type", "ova"),
        ("tags", "latest"),
        ("tags", [1]),
        ("tainted", 1),
        ("chunks", -1),
        ("chunks", True),
        ("chunks", 10**400),
        ("name", "\ud800.pvm"),
        ("tags", ["\udc00"]),
        ("minimum_requirements", []),
        ("catalog_id", 5),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused_by_name(field: str, value: t.Any) -> None:
    with pytest.raises(BadReply, match=field.replace("_", ".")):
        manifests.Manifest.from_json(manifest(**{field: value}))


@given(st.dictionaries(st.sampled_from(sorted(manifest())), json_values))
def test_any_json_is_a_manifest_or_a_bad_reply(fields: dict[str, t.Any]) -> None:
    try:
        record = manifests.Manifest.from_json(manifest(**fields))
    except BadReply:
        return
    assert manifests.Manifest.from_json(record.to_json()) == record
