# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import records
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.tests.unit.support.recording import manifest
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(), values, max_size=3)),
    max_leaves=5,
)


def test_a_manifest_there_and_back() -> None:
    data = manifest(tags=["latest", "stable"], minimum_requirements={"cpu": 4, "memory_mb": 8192, "disk_mb": 0})
    record = records.Manifest.from_json(data)
    assert record.to_json() == data
    assert records.Manifest.from_json(record.to_json()) == record


def test_unknown_fields_are_ignored_and_missing_ones_filled_in() -> None:
    data = {
        name: value for name, value in manifest().items() if name in {"id", "catalog_id", "version", "architecture"}
    }
    data.update(type="pvm", name="x.pvm", digest="0" * 64, colour="blue")
    record = records.Manifest.from_json(data)
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
        ("minimum_requirements", []),
        ("catalog_id", 5),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused_by_name(field: str, value: t.Any) -> None:
    with pytest.raises(BadReply, match=field.replace("_", ".")):
        records.Manifest.from_json(manifest(**{field: value}))


@given(st.dictionaries(st.sampled_from(sorted(manifest())), json_values))
def test_any_json_is_a_manifest_or_a_bad_reply(fields: dict[str, t.Any]) -> None:
    try:
        record = records.Manifest.from_json(manifest(**fields))
    except BadReply:
        return
    assert records.Manifest.from_json(record.to_json()) == record


@given(json_values)
def test_any_json_is_a_record_or_a_bad_reply(data: t.Any) -> None:
    for read in (
        records.Manifest.from_json,
        records.MintedGrant.from_json,
        records.ServerInfo.from_json,
        records.signed_url_from_json,
        records.Token.from_json,
        records.Upload.from_json,
        records.UploadedSegment.from_json,
        records.manifests_from_json,
    ):
        try:
            read(data)
        except BadReply:
            pass


def test_moments_in_both_forms() -> None:
    for moment in (1764000000, 1764000000.0, "2025-11-24T16:00:00Z", "2025-11-24T17:00:00+01:00"):
        assert records.Token.from_json({"token": "x", "expires_at": moment}).expires_at == 1764000000.0
    for wrong in (None, True, "2025-11-24T16:00:00", "soon"):
        with pytest.raises(BadReply):
            records.Token.from_json({"token": "x", "expires_at": wrong})


def test_secrets_are_not_in_the_repr() -> None:
    signed = {"url": "https://s/?signature=s3cr3t", "expires_in": 1, "headers": {"x": "s3cr3t"}}
    assert "s3cr3t" not in repr(records.signed_url_from_json(signed))
    assert "s3cr3t" not in repr(records.MintedGrant.from_json({"grant": "s3cr3t", "expires_in": 1}))
    segment = {"sha256": "0" * 64, "size": 1, "url": "https://s/?signature=s3cr3t"}
    assert "s3cr3t" not in repr(records.UploadedSegment.from_json(segment))


def test_an_upload_request_leaves_out_what_is_not_set() -> None:
    request = records.UploadRequest("macos-15", "1", "arm64", "pvm", "x.pvm", 1 << 20, tags=("a",))
    assert request.to_json() == {
        "catalog_id": "macos-15",
        "version": "1",
        "architecture": "arm64",
        "type": "pvm",
        "name": "x.pvm",
        "chunk_size": 1 << 20,
        "tags": ["a"],
        "bases": [],
        "force": False,
    }


@pytest.mark.parametrize("upload_id", ["", "../../etc", "a/b", ".", "a" * 65, "a\n", 7])
def test_an_upload_id_that_cannot_be_part_of_a_path_is_refused(upload_id: object) -> None:
    with pytest.raises(BadReply, match="'id'"):
        records.Upload.from_json({"id": upload_id, "expires_at": 1, "chunk_size": 1, "revision": "r"})
