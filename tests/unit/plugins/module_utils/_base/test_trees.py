# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import trees


def make(root: Path, *paths: str) -> None:
    """Make files, and directories where a path ends in a slash."""
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir()
        else:
            place.write_bytes(path.encode())


def paths(root: Path) -> list[str]:
    return [found.path for found in trees.walk(str(root))]


def test_the_order_is_by_name_and_content_comes_directly_after_its_directory(tmp_path: Path) -> None:
    make(tmp_path, "b", "a/z", "a/b/c", "a.txt", "c/")
    assert paths(tmp_path) == ["a", "a/b", "a/b/c", "a/z", "a.txt", "b", "c"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "real/file")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    kinds = {found.path: (found.is_directory, found.is_file, found.is_link) for found in trees.walk(str(tmp_path))}
    assert kinds == {
        "dangling": (False, False, True),
        "link": (False, False, True),
        "real": (True, False, False),
        "real/file": (False, True, False),
    }


def test_each_entry_has_its_own_lstat(tmp_path: Path) -> None:
    make(tmp_path, "a/file")
    (tmp_path / "a/link").symlink_to("file")
    for found in trees.walk(str(tmp_path)):
        assert os.path.samestat(found.status, os.lstat(tmp_path / found.disk_path))


def test_paths_are_nfc_and_as_the_file_system_spells_them(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "Übung")
    make(tmp_path, f"{nfd}/{nfd}.txt")
    assert [(found.path, found.disk_path) for found in trees.walk(str(tmp_path))] == [
        ("Übung", nfd),
        ("Übung/Übung.txt", f"{nfd}/{nfd}.txt"),
    ]


def test_a_name_that_is_not_utf8_is_yielded(tmp_path: Path) -> None:
    try:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), b"\xff"), os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert [os.fsencode(found.disk_path) for found in trees.walk(str(tmp_path))] == [b"\xff"]


def test_what_is_left_out_is_left_out_with_its_content(tmp_path: Path) -> None:
    make(tmp_path, "a/.DS_Store", "a/kept", "gone/inside", "gone-not")
    asked: list[str] = []

    def left_out(path: str) -> bool:
        asked.append(path)
        return path == "gone" or path.endswith(".DS_Store")

    assert [found.path for found in trees.walk(str(tmp_path), left_out=left_out)] == ["a", "a/kept", "gone-not"]
    assert "gone/inside" not in asked


def test_an_entry_may_be_removed_as_soon_as_it_is_there(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c", "d")
    removed = []
    for found in trees.walk(str(tmp_path), enter=lambda found: found.path not in removed):
        if found.path in {"a/b", "d"}:
            place = tmp_path / found.path
            if found.is_directory:
                shutil.rmtree(place)
            else:
                place.unlink()
            removed.append(found.path)
    assert removed == ["a/b", "d"]
    assert paths(tmp_path) == ["a"]


def test_a_tree_deeper_than_pythons_stack(tmp_path: Path) -> None:
    depth = 1100
    place = tmp_path
    for _level in range(depth):
        place = place / "d"
        place.mkdir()
    try:
        assert len(paths(tmp_path)) == depth
    finally:
        # shutil.rmtree is recursive before Python 3.13.
        for found in reversed(list(trees.walk(str(tmp_path)))):
            os.rmdir(tmp_path / found.disk_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_directory(tmp_path: Path, name: str) -> None:
    make(tmp_path, "file")
    with pytest.raises(OSError, match=name):
        list(trees.walk(str(tmp_path / name)))
