# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The patterns in the description of the API allow nothing that the server then refuses."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses, versions
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks
from catalog_server import names
from catalog_server.identity.schemas import Email
from catalog_server.identity.service import _checked_email
from catalog_server.transfers.schemas import ChunkSize
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter


@pytest.mark.parametrize(
    ("kind", "normalise"),
    [
        (names.CatalogId, addresses.normalise_catalog_id),
        (names.Version, addresses.normalise_version),
        (names.VersionText, versions.parse_wanted),
        (names.Tag, addresses.normalise_tag),
        (names.Right, addresses.normalise_right),
        (Email, _checked_email),
    ],
)
@given(data=st.data())
def test_what_a_pattern_allows_is_taken(kind: t.Any, normalise: t.Callable[[str], object], data: st.DataObject) -> None:
    adapter: TypeAdapter[str] = TypeAdapter(kind)
    schema = adapter.json_schema()
    texts = st.from_regex(schema["pattern"], fullmatch=True)
    normalise(adapter.validate_python(data.draw(texts.filter(lambda text: len(text) <= schema["maxLength"]))))


def test_names_of_architectures() -> None:
    for name in TypeAdapter(names.Architecture).json_schema()["enum"]:
        assert addresses.normalise_architecture(name) in addresses.ARCHITECTURES


def test_chunk_sizes_are_those_of_the_format() -> None:
    sizes = [1 << power for power in range(32) if chunks.is_chunk_size(1 << power)]
    assert TypeAdapter(ChunkSize).json_schema()["enum"] == sizes
