# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chunks of bases that a push compares with: from the cache, or from storage within a budget."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import bases
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_RAW
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.patch_writer import Base
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    text,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

IMAGE_BYTES = text(1, 3 * CHUNK)


@dataclasses.dataclass
class Pushed:
    """A version that may be a base."""

    shelf: Shelf
    manifest: Manifest

    def compared(self, limit: t.Optional[int] = None) -> Base:
        index = self.shelf.indexes[self.manifest.id]
        known = bases.KnownBase(self.manifest, index.listing, index.rows, index.locator)
        (base,) = bases.compared([known], bases.Budget(limit), self.shelf.context).bases
        return base

    @property
    def reference(self) -> int:
        """The first chunk of the image."""
        return next(entry.first_chunk for entry in self.compared().listing.files() if entry.path == IMAGE)


@pytest.fixture
def pushed(tmp_path: Path) -> Pushed:
    shelf = Shelf(tmp_path)
    return Pushed(shelf, shelf.push(make_bundle(tmp_path / "Runner.pvm", {IMAGE: IMAGE_BYTES})))


def test_chunks_come_from_the_cache_or_else_from_storage(pushed: Pushed) -> None:
    assert pushed.compared(1 << 20).read(pushed.reference) == IMAGE_BYTES[:CHUNK]
    pushed.shelf.pull(pushed.manifest)
    pushed.shelf.storage.fetched.clear()
    assert pushed.compared(0).read(pushed.reference) == IMAGE_BYTES[:CHUNK]
    assert not pushed.shelf.storage.fetched


def test_what_the_budget_does_not_allow_is_not_downloaded(pushed: Pushed) -> None:
    assert pushed.compared(10).read(pushed.reference) is None
    assert pushed.compared().read(pushed.reference) is None
    assert not pushed.shelf.storage.fetched


def test_what_this_host_cannot_decode_is_not_downloaded(pushed: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "decodable", lambda: frozenset({CODEC_RAW}))
    assert pushed.compared(1 << 20).read(pushed.reference) is None
    assert not pushed.shelf.storage.fetched


def test_versions_with_the_same_content_are_one_base(pushed: Pushed, tmp_path: Path) -> None:
    """A commit with two deltas from one content is refused, after all of it was uploaded."""
    shelf = pushed.shelf
    again = shelf.push(tmp_path / "Runner.pvm", "1.1")
    other = shelf.push(make_bundle(tmp_path / "other" / "Runner.pvm", {IMAGE: b"other"}), "1.2")
    indexes = [(one, shelf.indexes[one.id]) for one in (pushed.manifest, other, again)]
    known = [bases.KnownBase(one, index.listing, index.rows, index.locator) for one, index in indexes]
    found = bases.compared(known, bases.Budget(0), shelf.context).bases
    assert [base.listing.digest for base in found] == [pushed.manifest.digest, other.digest]
