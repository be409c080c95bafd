# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import sys
import tracemalloc
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.chunks import CHUNK_ID_BYTES
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.ids import ColumnTable, IdTable
from hypothesis import given
from hypothesis import strategies as st

IDS = st.binary(min_size=32, max_size=32)
FEW = st.sampled_from([hashlib.sha256(bytes([number])).digest() for number in range(20)])


def some(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


@given(st.lists(st.one_of(IDS, FEW)), st.lists(st.one_of(IDS, FEW)))
def test_it_is_a_dictionary_of_numbers(added: list[bytes], asked: list[bytes]) -> None:
    table, model = IdTable(), {}
    for identity in added:
        assert table.add(identity) == model.setdefault(identity, len(model))
    assert table == model
    assert list(table.items()) == list(model.items())
    for identity in asked:
        assert table.get(identity) == model.get(identity)
        assert (identity in table) == (identity in model)


def test_it_grows() -> None:
    ids, table = some(5000), IdTable()
    for number, identity in enumerate(ids):
        assert table.add(identity) == number
    assert [table[identity] for identity in ids] == list(range(5000))
    assert list(table) == ids
    assert len(table) == 5000
    with pytest.raises(KeyError):
        table[bytes(32)]


class TakenMeanwhile(list[int]):
    """One slot, in which another thread enters the first number just after it was read as free."""

    def __getitem__(self, slot: t.Any) -> t.Any:
        entered = super().__getitem__(slot)
        self[0] = 1
        return entered


@pytest.mark.parametrize("table", [IdTable(), ColumnTable(bytes(CHUNK_ID_BYTES), 1)], ids=["ids", "column"])
def test_what_was_never_added_is_not_found_while_another_thread_adds(
    table: t.Union[IdTable, ColumnTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    added, absent = bytes(CHUNK_ID_BYTES), some(1)[0]
    if isinstance(table, IdTable):
        table.add(added)
    else:
        table.add(0, added)
    for look in (table.find, table.get, table.__contains__):
        monkeypatch.setattr(table, "_slots", TakenMeanwhile([0]))
        assert look(absent) in (-1, None, False)


def test_it_takes_little_memory() -> None:
    ids = some(60_000)
    tracemalloc.start()
    table = IdTable()
    for identity in ids:
        table.add(identity)
    taken, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sys.getsizeof(ids[0]) > 60
    assert taken / len(ids) < 52
