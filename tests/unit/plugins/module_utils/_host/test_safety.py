# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheUnsafe
from ansible_collections.macfleet.parallels.tests.unit.support.macs import needs_root

_SOMEBODY = 12345


@pytest.fixture(params=[True, False], ids=["create", "look"])
def create(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def refused(path: pathlib.Path, create: bool) -> CacheUnsafe:
    with pytest.raises(CacheUnsafe) as caught:
        Cache.open(str(path), create)
    assert caught.value.code == "cache_unsafe"
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_cache_that_others_can_write(tmp_path: pathlib.Path, create: bool, mode: int) -> None:
    path = tmp_path / "cache"
    path.mkdir()
    path.chmod(mode)
    error = refused(path, create)
    assert f"{path} for the cache was refused" in error.message
    assert f"{mode:04o}" in error.message
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_directory_above_that_others_can_write(tmp_path: pathlib.Path, create: bool, mode: int) -> None:
    (tmp_path / "open/inner").mkdir(parents=True)
    (tmp_path / "open").chmod(mode)
    assert str(tmp_path / "open") in refused(tmp_path / "open/inner/cache", create).message
    assert list((tmp_path / "open/inner").iterdir()) == []


def test_sticky_directory_above_is_good(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    assert Cache.open(str(tmp_path / "sticky/cache"), create=True).exists


@needs_root
def test_cache_of_somebody_else(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    os.chown(tmp_path / "cache", _SOMEBODY, -1)
    assert f"belongs to user id {_SOMEBODY}" in refused(tmp_path / "cache", create).message


@needs_root
def test_directory_above_of_somebody_else(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "home/cache").mkdir(parents=True)
    os.chown(tmp_path / "home", _SOMEBODY, -1)
    assert f"belongs to user id {_SOMEBODY}" in refused(tmp_path / "home/cache", create).message


def test_link_in_place_of_the_cache(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to("real")
    assert "symbolic link" in refused(tmp_path / "cache", create).message
    assert list((tmp_path / "real").iterdir()) == []


def test_dangling_link_in_place_of_the_cache(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "cache").symlink_to("missing")
    assert "symbolic link" in refused(tmp_path / "cache", create).message
    assert not (tmp_path / "missing").exists()


def test_link_above_is_followed_where_all_is_safe(tmp_path: pathlib.Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("./absolute/../real")
    assert Cache.open(str(tmp_path / "relative/cache"), create=True).exists
    assert (tmp_path / "real/cache").is_dir()


def test_link_above_into_a_directory_that_others_can_write(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open/real").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open/real")
    assert str(tmp_path / "open") in refused(tmp_path / "link/cache", create).message


@needs_root
def test_link_of_somebody_else_in_a_sticky_directory(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "safe").mkdir()
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "sticky/link").symlink_to(tmp_path / "safe")
    os.chown(tmp_path / "sticky/link", _SOMEBODY, -1, follow_symlinks=False)
    message = refused(tmp_path / "sticky/link/cache", create).message
    assert "sticky/link" in message and f"belongs to user id {_SOMEBODY}" in message
    os.chown(tmp_path / "sticky/link", 0, -1, follow_symlinks=False)
    assert Cache.open(str(tmp_path / "sticky/link/cache"), create=True).exists


def test_endless_links(tmp_path: pathlib.Path, create: bool) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "too many symbolic links" in refused(tmp_path / "a/cache", create).message


@pytest.mark.parametrize("name", ["cache", "file/cache"])
def test_file_in_the_way(tmp_path: pathlib.Path, create: bool, name: str) -> None:
    (tmp_path / name.split("/", maxsplit=1)[0]).touch()
    assert "not a directory" in refused(tmp_path / name, create).message


def test_room_of_the_cache_that_is_a_link(tmp_path: pathlib.Path, create: bool) -> None:
    Cache.open(str(tmp_path / "cache"), create=True)
    (tmp_path / "cache/bundles").rmdir()
    (tmp_path / "cache/bundles").symlink_to(tmp_path)
    assert "symbolic link" in refused(tmp_path / "cache", create).message


@needs_root
def test_cache_of_an_ordinary_user_below_directories_of_root() -> None:
    # Not tmp_path: an ordinary user does not get there.
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        home = pathlib.Path(directory, "home")
        home.mkdir(mode=0o755)
        os.chown(home, _SOMEBODY, -1)
        os.seteuid(_SOMEBODY)
        try:
            assert Cache.open(str(home / "cache"), create=True).exists
        finally:
            os.seteuid(0)
        assert (home / "cache").stat().st_uid == _SOMEBODY
        assert "belongs to user id" in refused(home / "cache", create=True).message
