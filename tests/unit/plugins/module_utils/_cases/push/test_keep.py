# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The clone that a push has read becomes an entry of the cache, if it is what was pushed."""

from __future__ import annotations

import os
import shutil
import typing as t
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.keep import keep
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Listing
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import URL, Shelf


@dataclass
class Push:
    """A push that is committed, and the clone that it has read."""

    shelf: Shelf
    manifest: Manifest
    clone: Path
    snapshot: bundle.Snapshot

    @property
    def listing(self) -> Listing:
        return self.shelf.indexes[self.manifest.id].listing

    def keep(self) -> bool:
        return keep(self.snapshot, self.listing, self.manifest, URL, self.shelf.context)

    def is_right(self) -> bool:
        """The entry has the content of the listing, and the next pull agrees without a download, with and without
        reading it."""
        entry = self.shelf.entry(self.manifest)
        assert verify.damaged_paths(entry.bundle_path, self.listing) == []
        assert not list(verify.strays(entry.bundle_path, self.listing, with_left_out=True))
        return not self.shelf.pull(self.manifest).changed and not self.shelf.pull(self.manifest, verify=True).changed


Make = t.Callable[..., Push]


@pytest.fixture(name="push")
def push_fixture(tmp_path: Path) -> Make:
    def push(prepare: t.Callable[[Path], None] = lambda root: None) -> Push:
        shelf = Shelf(tmp_path)
        root = make_bundle(tmp_path / "Runner.pvm", {IMAGE: noise(1, 3 * CHUNK + 7)})
        prepare(root)
        clone = tmp_path / ".push-Runner.pvm"
        shutil.copytree(root, clone, symlinks=True)
        return Push(shelf, shelf.push(root), clone, bundle.inspect(str(clone), CHUNK))

    return push


def test_the_clone_becomes_an_entry(push: Make) -> None:
    made = push()
    assert made.keep() and made.is_right()
    assert not made.clone.exists() and not made.shelf.warnings


def test_what_is_no_part_of_the_content_does_not_become_part_of_the_entry(push: Make) -> None:
    def prepare(root: Path) -> None:
        (root / "parallels.log").write_bytes(b"log")
        (root / "harddisk.hdd" / ".DS_Store").write_bytes(b"finder")
        (root / "Windows Disks").mkdir()
        (root / "Windows Disks" / "c").symlink_to("/")
        os.chmod(root / "NVRAM.dat", 0o755)
        (root / "link").symlink_to("NVRAM.dat")

    made = push(prepare)
    assert made.keep() and made.is_right()


def test_names_are_spelled_as_the_listing_spells_them(push: Make) -> None:
    def prepare(root: Path) -> None:
        inner = root / unicodedata.normalize("NFD", "größe") / unicodedata.normalize("NFD", "äöü")
        inner.mkdir(parents=True)
        (inner / unicodedata.normalize("NFD", "é")).write_bytes(b"content")
        (root / unicodedata.normalize("NFD", "ö")).symlink_to(unicodedata.normalize("NFD", "größe"))

    made = push(prepare)
    assert made.keep() and made.is_right()


def _write(clone: Path) -> None:
    with (clone / IMAGE).open("r+b") as stream:
        stream.write(b"changed")


def _write_and_hide(clone: Path) -> None:
    before = (clone / IMAGE).stat()
    _write(clone)
    os.utime(clone / IMAGE, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(clone: Path) -> None:
    (clone / "NVRAM.dat").unlink()
    (clone / "NVRAM.dat").write_bytes(b"nvram" * 20)


def _link(clone: Path) -> None:
    (clone / "link").unlink()
    (clone / "link").symlink_to("config.pvs")


def _empty(clone: Path) -> None:
    (clone / "empty").rmdir()


def _stray(clone: Path) -> None:
    (clone / "stray").write_bytes(b"stray")


def _mode(clone: Path) -> None:
    (clone / "NVRAM.dat").chmod(0o755)


@pytest.mark.parametrize("change", [_write, _write_and_hide, _replace, _link, _empty, _stray, _mode])
def test_a_clone_that_somebody_has_changed_is_no_entry_or_is_put_right(
    change: t.Callable[[Path], None], push: Make
) -> None:
    def prepare(root: Path) -> None:
        (root / "empty").mkdir()
        (root / "link").symlink_to("NVRAM.dat")

    made = push(prepare)
    change(made.clone)
    if made.keep():
        assert made.is_right()
    else:
        (warning,) = made.shelf.warnings
        assert "was not kept" in warning and made.shelf.cache.find(made.manifest.digest) is None
    # What lies there does no harm to a pull.
    made.shelf.pull(made.manifest)
    assert made.is_right()


def test_an_entry_that_is_there_stays(push: Make) -> None:
    made = push()
    made.shelf.pull(made.manifest)
    before = made.shelf.entry(made.manifest)
    assert made.keep() and made.is_right()
    assert made.shelf.entry(made.manifest).record.stamps == before.record.stamps


def test_a_partial_image_of_a_killed_pull_is_replaced(push: Make) -> None:
    made = push()
    made.shelf.storage.fail_at = 0
    with pytest.raises(CacheError):
        made.shelf.pull(made.manifest)
    made.shelf.storage.fail_at = None
    assert made.keep() and made.is_right()


def test_a_damaged_entry_is_replaced(push: Make) -> None:
    made = push()
    made.shelf.pull(made.manifest)
    image = Path(made.shelf.entry(made.manifest).bundle_path) / IMAGE
    image.chmod(0o644)
    with image.open("r+b") as stream:
        stream.write(b"changed")
    if made.keep():
        made.shelf.pull(made.manifest)
        assert made.is_right()
