# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patches, and commits with deltas, that every reader must refuse, one fault a case, and with which error."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.macfleet.parallels.tests.formats import craft, craft_deltas
from ansible_collections.macfleet.parallels.tests.formats.cases import Case
from ansible_collections.macfleet.parallels.tests.formats.craft_deltas import BLOCK, noise
from ansible_collections.macfleet.parallels.tests.formats.deltas import patch_case, written
from ansible_collections.macfleet.parallels.tests.formats.faults import make_index
from ansible_collections.macfleet.parallels.tests.formats.versions import raw


def _patch_cases() -> list[Case]:
    old = noise("old", 9 * BLOCK + 100)
    new = written(old, 1, 9, is_noise=True)
    good = craft_deltas.patch(old, new, raw)[1]
    blocks, both = good[2:], good[:2]
    full = b"\xff\x03"
    filled = b"\xee" * (9 * BLOCK + 100)

    def case(name: str, about: str, says: t.Optional[str], codec: int, data: bytes, made: bytes = new) -> Case:
        return patch_case(name, about, old, made, codec, data, error="damaged_chunk", says=says)

    return [
        case("patch-empty", "No byte at all.", "bitmap", 0, b""),
        case("patch-bitmap-cut", "Half of a bitmap.", "bitmap", 0, both[:1]),
        case("patch-bitmap-behind-end", "A block behind the last one.", "does not have", 0, b"\x02\x06" + blocks),
        case("patch-bitmap-last-bit", "The last bit of a bitmap.", "does not have", 0, b"\x02\x82" + blocks),
        case("patch-bitmap-longer", "A byte more of bitmap than the chunk has.", "raw chunk", 0, both + b"\0" + blocks),
        case("patch-raw-short", "A byte less than the marked blocks.", "raw chunk", 0, good[:-1]),
        case("patch-raw-long", "A byte more than the marked blocks.", "raw chunk", 0, good + b"\0"),
        case("patch-raw-unmarked", "Blocks without a mark.", "raw chunk", 0, b"\0\0" + blocks),
        case("patch-raw-mark-more", "A mark without a block.", "raw chunk", 0, b"\x03\x02" + blocks),
        case("patch-deflate-bomb", "Zeros without end.", "", 1, both + craft.zeros_without_end()),
        case("patch-deflate-short", "Blocks that end early.", "", 1, full + craft_deltas.runs(filled[:-1]), filled),
        case(
            "patch-deflate-long", "A byte more than the blocks.", "", 1, full + craft_deltas.runs(filled + b"!"), filled
        ),
        case("patch-deflate-cut", "DEFLATE without its end.", "", 1, full + craft_deltas.runs(filled)[:-9], filled),
        case("patch-deflate-rest", "Bytes behind the end.", "", 1, full + craft_deltas.runs(filled) + b"\0", filled),
        case("patch-deflate-not", "No DEFLATE.", "", 1, both + b"\xff" * 90),
        case(
            "patch-zstd-longer",
            "A frame that declares a byte more than the marked blocks.",
            "",
            2,
            full + craft_deltas.run_frame(0xEE, len(filled) + 1),
            filled,
        ),
        case(
            "patch-flipped",
            "One bit is another: it leads to another chunk.",
            None,
            0,
            good[:-1] + bytes([good[-1] ^ 1]),
        ),
        case("patch-other", "A patch for another chunk.", None, 0, craft_deltas.patch(old, written(old, 1), raw)[1]),
    ]


def _commit_cases() -> list[Case]:
    good = make_index()
    listing, locator = struct.unpack_from("<QQ", good, 8)
    files = good[28:]

    def case(name: str, about: str, says: str, lengths: t.Sequence[int], rest: bytes, total: int = -1) -> Case:
        count = len(lengths) if total < 0 else total
        head = struct.pack(f"<QQI{len(lengths)}Q", listing, locator, count, *lengths)
        data = b"MFINDX1\n" + head + files + rest
        return Case(name, about, "index", {"index.bin": data}, error="invalid_index", says=says)

    return [
        case("commit-too-many", "Four deltas.", "has 4 deltas", [1, 1, 1, 1], b"abcd"),
        case("commit-count-huge", "A count of 2^32 - 1.", "allowed is 3", [], b"", 2**32 - 1),
        case("commit-count-more", "More deltas than lengths.", "than it says", [1], b"a", 2),
        case("commit-length-long", "A delta that ends behind the file.", "shorter or longer", [9], b"a"),
        case("commit-length-huge", "A delta of 2^64 - 1 bytes.", "shorter or longer", [2**64 - 1], b"a"),
        case("commit-length-short", "Bytes behind the last delta.", "shorter or longer", [1], b"ab"),
        case("commit-uncounted", "A delta that is not counted.", "shorter or longer", [], b"a"),
        Case(
            "commit-head-cut",
            "An index that ends before the lengths of its deltas.",
            "index",
            {"index.bin": good[:24] + struct.pack("<I", 3) + bytes(8)},
            error="invalid_index",
            says="shorter than it says",
        ),
    ]


def exact_patch_faults() -> list[Case]:
    """Every broken vector of a patch or a commit that is the same bytes whoever makes it."""
    return [*_patch_cases(), *_commit_cases()]
