# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patches, one by one."""

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, patches
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_DEFLATE, CODEC_RAW
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK, noise, text
from hypothesis import given
from hypothesis import strategies as st

BLOCK = patches.BLOCK_BYTES
ENCODE = codecs.make_encoder(CODEC_DEFLATE, 1)
OLD = noise(1, 10 * BLOCK)


def changed(data: bytes, *blocks: int) -> bytes:
    found = bytearray(data)
    for block in blocks:
        found[block * BLOCK : (block + 1) * BLOCK] = text(block, len(found[block * BLOCK : (block + 1) * BLOCK]))
    return bytes(found)


@QUICK
@given(
    st.integers(0, 70).flatmap(
        lambda count: st.tuples(
            st.integers(count * BLOCK, count * BLOCK + BLOCK - 1), st.lists(st.integers(0, max(0, count)), max_size=9)
        )
    ),
    st.integers(0, 40 * BLOCK),
)
def test_a_patch_makes_what_it_was_made_for(new: tuple[int, list[int]], old_length: int) -> None:
    length, blocks = max(1, new[0]), new[1]
    wanted = changed(noise(2, length), *blocks)
    old = noise(2, old_length)
    patch = patches.make_patch(old, wanted, ENCODE)
    assert patches.fits(patch.codec, len(patch.data), length)
    made = patches.apply_patch(old, length, patch.codec, patch.data)
    assert made.chunk == wanted
    # Nothing outside of what it marks is different from what was there.
    there = bytearray(old[:length].ljust(length, b"\0"))
    for begin, count in patches.marked_ranges(made.marks, length):
        there[begin : begin + count] = wanted[begin : begin + count]
    assert there == wanted


def test_only_blocks_that_differ_are_stored() -> None:
    patch = patches.make_patch(OLD, changed(OLD, 0, 3, 4, 9), codecs.make_encoder(CODEC_RAW, 0))
    assert len(patch.data) == patches.bitmap_bytes(len(OLD)) + 4 * BLOCK == 2 + 4 * BLOCK
    assert patch.data[:2] == bytes([0b00011001, 0b10])
    made = patches.apply_patch(OLD, len(OLD), patch.codec, patch.data)
    assert patches.marked_ranges(made.marks, len(OLD)) == ((0, BLOCK), (3 * BLOCK, 2 * BLOCK), (9 * BLOCK, BLOCK))


def test_what_is_only_cut_or_extended_takes_no_block() -> None:
    for length in (1, BLOCK + 1, len(OLD) + 3 * BLOCK):
        patch = patches.make_patch(OLD, OLD[:length].ljust(length, b"\0"), ENCODE)
        assert len(patch.data) == patches.bitmap_bytes(length)
        made = patches.apply_patch(OLD, length, patch.codec, patch.data)
        assert made.chunk == OLD[:length].ljust(length, b"\0") and made.marks == 0


@pytest.mark.parametrize(
    ("codec", "data", "length"),
    [
        pytest.param(CODEC_RAW, b"", 10 * BLOCK, id="shorter than its bitmap"),
        pytest.param(CODEC_RAW, b"\x00\x04" + bytes(BLOCK), 10 * BLOCK, id="a block behind the last one"),
        pytest.param(CODEC_RAW, b"\x01\x00" + bytes(BLOCK - 1), 10 * BLOCK, id="raw and too short"),
        pytest.param(CODEC_RAW, b"\x01\x00" + bytes(BLOCK + 1), 10 * BLOCK, id="raw and too long"),
        pytest.param(CODEC_RAW, b"\x02" + bytes(BLOCK), BLOCK + 5, id="more than the short last block"),
        pytest.param(CODEC_DEFLATE, b"\x01\x00\xff\xff", 10 * BLOCK, id="does not decode"),
        pytest.param(CODEC_DEFLATE, b"\x01\x00" + ENCODE(bytes(1 << 20))[1], 10 * BLOCK, id="decodes to a megabyte"),
        pytest.param(CODEC_DEFLATE, b"\x03\x00" + ENCODE(bytes(BLOCK))[1], 10 * BLOCK, id="decodes to too little"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(codec: int, data: bytes, length: int) -> None:
    with pytest.raises(DamagedChunk):
        patches.apply_patch(OLD, length, codec, data)


def test_objects_are_made_of_patches_in_order() -> None:
    builder = patches.PatchesBuilder(3 * BLOCK)
    made = [patches.make_patch(OLD, changed(OLD, block), codecs.make_encoder(CODEC_RAW, 0)) for block in range(4)]
    assert builder.is_empty
    for patch in made[:3]:
        builder.add(patch)
    assert builder.is_full and not builder.is_empty
    assert builder.finish() == patches.PATCHES_MAGIC + b"".join(patch.data for patch in made[:3])
    assert builder.is_empty and not builder.is_full
    builder.add(made[3])
    assert builder.finish() == patches.PATCHES_MAGIC + made[3].data
