# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any bundle, any options: what is pushed is what is pulled."""

from __future__ import annotations

import shutil
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._pack import verify
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    SLOW,
    MemoryStorage,
    apply,
    hds_head,
    index_of,
    known_of,
    make_bundle,
    noise,
    pack,
    plan_of,
    seed_of,
    text,
    tree,
)
from hypothesis import given
from hypothesis import strategies as st

PIECES = {
    **{f"noise {number}": noise(number, CHUNK) for number in range(3)},
    **{f"text {number}": text(number, CHUNK) for number in range(3)},
    "zeros": bytes(CHUNK),
    "half": bytes(CHUNK // 2) + noise(9, CHUNK // 2),
}
TAILS = (b"", b"x", bytes(1), noise(8, CHUNK - 1), bytes(513))
HEADERS = (b"", hds_head(512), hds_head(76800))


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    pieces = draw(st.lists(st.sampled_from(sorted(PIECES)), max_size=8))
    return b"".join(
        (draw(st.sampled_from(HEADERS)), *(PIECES[piece] for piece in pieces), draw(st.sampled_from(TAILS)))
    )


@dataclass(frozen=True)
class Options:
    codec: int
    segment_bytes: int
    workers: int


BUNDLES = st.fixed_dictionaries(
    {IMAGE: contents()},
    optional={"first": contents(), "harddisk.hdd/second": contents(), "\u00fcber/third": contents()},
)
OPTIONS = st.builds(
    Options, st.sampled_from([0, 1, 2]), st.sampled_from([1, CHUNK, 3 * CHUNK, 1 << 25]), st.sampled_from([1, 2, 4])
)


class Desk:
    """A directory for one example."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="round-trip-"))

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *details: object) -> None:
        shutil.rmtree(self.path)

    def target(self, name: str) -> Path:
        (self.path / name).mkdir()
        return self.path / name


def push(root: Path, storage: MemoryStorage, options: Options, **more: t.Any) -> t.Any:
    return index_of(
        pack(
            root,
            storage,
            codec=options.codec,
            segment_bytes=options.segment_bytes,
            workers=options.workers,
            **more,
        )
    )


@SLOW
@given(BUNDLES, OPTIONS, st.sampled_from([CHUNK, 2 * CHUNK, 4 << 20]))
def test_what_is_pushed_is_what_is_pulled(files: dict[str, bytes], options: Options, chunk_size: int) -> None:
    with Desk() as desk:
        root, storage = make_bundle(desk.path / "A.pvm", files), MemoryStorage()
        index = push(root, storage, options, chunk_size=chunk_size)
        target = desk.target("target")
        apply(plan_of(index), target, storage)
        assert tree(target) == tree(root)
        assert verify.damaged_paths(str(target), index.listing) == []
        assert pack(target.rename(desk.path / "B.pvm"), storage, chunk_size=chunk_size).listing.digest == (
            index.listing.digest
        )


@SLOW
@given(BUNDLES, OPTIONS, OPTIONS)
def test_the_digest_does_not_depend_on_codec_segments_and_workers(
    files: dict[str, bytes], one: Options, other: Options
) -> None:
    with Desk() as desk:
        root = make_bundle(desk.path / "A.pvm", files)
        first, second = (push(root, MemoryStorage(), options) for options in (one, other))
        assert first.listing == second.listing
        assert first.listing.digest == second.listing.digest


@SLOW
@given(BUNDLES, OPTIONS, st.integers(1, 6))
def test_the_segments_do_not_depend_on_workers(files: dict[str, bytes], options: Options, workers: int) -> None:
    with Desk() as desk:
        root = make_bundle(desk.path / "A.pvm", files)
        one, other = MemoryStorage(), MemoryStorage()
        first = push(root, one, options)
        second = push(root, other, Options(options.codec, options.segment_bytes, workers))
        assert one.objects == other.objects
        assert first.locator == second.locator


@SLOW
@given(BUNDLES, BUNDLES, OPTIONS, st.booleans(), st.booleans())
def test_a_second_version_moves_no_chunk_of_the_first(
    old: dict[str, bytes], new: dict[str, bytes], options: Options, trusted: bool, can_clone: bool
) -> None:
    with Desk() as desk:
        storage = MemoryStorage()
        first_root = make_bundle(desk.path / "A.pvm", old)
        first = push(first_root, storage, options)
        root = make_bundle(desk.path / "B.pvm", new)
        known = known_of(first)
        index = push(root, storage, options, known=known)
        seed = seed_of(first_root, first.listing, trusted)
        made = plan_of(index, seeds=[seed], can_clone=can_clone)
        ids = {index.listing.chunk_id(made.rows.first[row]) for row in made.wanted}
        assert not any(identity in known for identity in ids)
        target = desk.target("target")
        apply(made, target, storage)
        assert tree(target) == tree(root)
        assert tree(first_root).keys() >= set(old)


@SLOW
@given(BUNDLES, OPTIONS, st.integers(0, 5), st.data())
def test_a_pull_that_is_cut_off_anywhere_can_be_completed(
    files: dict[str, bytes], options: Options, calls: int, data: st.DataObject
) -> None:
    with Desk() as desk:
        root, storage = make_bundle(desk.path / "A.pvm", files), MemoryStorage()
        index = push(root, storage, options)
        target = desk.target("target")
        storage.fail_at = calls
        try:
            apply(plan_of(index), target, storage)
        except ConnectionResetError:
            pass
        storage.fail_at = None
        arrived = storage.fetched_bytes
        storage.fetched.clear()
        present_ids = verify.hash_files(str(target), index.listing.entries, CHUNK)
        # What is not said to lie there is made anew.
        forgotten = data.draw(st.sets(st.sampled_from(sorted(present_ids)))) if present_ids else set()
        remembered = {path: ids for path, ids in present_ids.items() if path not in forgotten}
        apply(plan_of(index, present_ids=remembered), target, storage)
        assert tree(target) == tree(root)
        if not forgotten:
            assert arrived + storage.fetched_bytes == plan_of(index).download_bytes
