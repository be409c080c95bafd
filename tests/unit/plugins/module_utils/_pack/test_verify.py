# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import threading
import typing as t
import unicodedata
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import cut, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, FILE, LINK, Entry
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    chunk_ids_of,
    listing_of,
    noise,
    write_file,
)

BIG = noise(1, 70 * CHUNK) + bytes(5 * CHUNK) + noise(2, 100)
FILES = {"a": BIG, "d/empty": b"", "d/short": b"short", "image.hds": bytes(512) + noise(3, 2 * CHUNK)}
OTHERS = [
    Entry(DIRECTORY, "d"),
    Entry(FILE, "d/short", executable=True, size=5),
    Entry(FILE, "image.hds", size=512 + 2 * CHUNK, data_start=512),
    Entry(LINK, "link", target="d/short"),
]
LISTING = listing_of(FILES, OTHERS)


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    for path, content in FILES.items():
        write_file(tmp_path / path, content)
    (tmp_path / "d/short").chmod(0o755)
    (tmp_path / "link").symlink_to("d/short")
    return tmp_path


def hashed(root: Path, **options: t.Any) -> dict[str, bytes]:
    return verify.hash_files(str(root), LISTING.entries, CHUNK, **options)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_files_are_hashed_chunk_by_chunk(root: Path, workers: int) -> None:
    assert hashed(root, workers=workers) == {
        path: chunk_ids_of(content, 512 if path.endswith(".hds") else 0) for path, content in FILES.items()
    }


def test_what_is_not_there_or_no_file_is_left_out(root: Path) -> None:
    (root / "a").unlink()
    (root / "d/empty").unlink()
    (root / "d/empty").symlink_to("short")
    (root / "image.hds").unlink()
    (root / "image.hds").mkdir()
    assert set(hashed(root)) == {"d/short"}
    assert verify.hash_files(str(root / "missing"), LISTING.entries, CHUNK) == {}


def test_a_file_behind_a_link_is_left_out(root: Path) -> None:
    (root / "d").rename(root / "e")
    (root / "d").symlink_to("e")
    assert set(hashed(root)) == {"a", "image.hds"}


def test_a_bad_part_of_the_disk_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, bad = os.preadv, 64 * CHUNK

    def fail(descriptor: int, buffers: t.Any, offset: int) -> int:
        if os.fstat(descriptor).st_ino == (root / "a").stat().st_ino and offset == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    ids = hashed(root)["a"]
    assert ids[: 64 * 32] == chunk_ids_of(BIG)[: 64 * 32]
    assert ids[64 * 32 :] == verify.MISSING_CHUNK_ID * 12


def test_another_failure_to_read_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, buffers: t.Any, offset: int) -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        hashed(root)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 64 * CHUNK, 65 * CHUNK - 1, len(BIG) - 1])
def test_chunks_that_are_not_whole_are_missing(root: Path, size: int) -> None:
    os.truncate(root / "a", size)
    ids = hashed(root)["a"]
    whole = size // CHUNK
    assert ids[: whole * 32] == chunk_ids_of(BIG)[: whole * 32]
    assert ids[whole * 32 :] == verify.MISSING_CHUNK_ID * (76 - whole)


def test_bytes_behind_the_end_do_not_count(root: Path) -> None:
    with (root / "a").open("ab") as stream:
        stream.write(b"more")
    assert hashed(root)["a"] == chunk_ids_of(BIG)


def test_progress_adds_up_and_stays_in_the_thread_of_the_caller(root: Path) -> None:
    seen: list[int] = []
    threads: set[int] = set()

    def advance(count: int) -> None:
        seen.append(count)
        threads.add(threading.get_ident())

    hashed(root, advance=advance)
    assert sum(seen) == LISTING.logical_bytes
    assert threads == {threading.get_ident()}


def test_each_piece_is_reported_as_soon_as_it_is_hashed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "ORDER_BYTES", CHUNK)
    reported = threading.Event()
    hash_order = verify._hash_order

    def wait(directory: str, order: cut.Order, pool: t.Any) -> bytes:
        # All but the first piece are hashed only after that one was reported.
        assert (order.path, order.start) == ("a", 0) or reported.wait(30)
        return hash_order(directory, order, pool)

    monkeypatch.setattr(verify, "_hash_order", wait)
    hashed(root, advance=lambda _count: reported.set())


def test_a_bundle_that_is_as_listed_has_no_damage(root: Path) -> None:
    assert verify.damaged_paths(str(root), LISTING) == []


def flip(root: Path) -> None:
    with (root / "a").open("r+b") as stream:
        stream.seek(40 * CHUNK)
        byte = stream.read(1)
        stream.seek(40 * CHUNK)
        stream.write(bytes([byte[0] ^ 1]))


def fill_hole(root: Path) -> None:
    with (root / "a").open("r+b") as stream:
        stream.seek(72 * CHUNK)
        stream.write(b"x")


def become_link(root: Path) -> None:
    (root / "d/short").rename(root / "d/moved")
    (root / "d/short").symlink_to("moved")


def link_elsewhere(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("a")


def link_of_directory(root: Path) -> None:
    (root / "d").rename(root / "e")
    (root / "d").symlink_to("e")


DAMAGES: dict[str, tuple[t.Callable[[Path], t.Any], list[str]]] = {
    "a bit": (flip, ["a"]),
    "a hole": (fill_hole, ["a"]),
    "longer": (lambda root: os.truncate(root / "a", len(BIG) + 1), ["a"]),
    "shorter": (lambda root: os.truncate(root / "a", len(BIG) - 1), ["a"]),
    "missing": (lambda root: (root / "d/empty").unlink(), ["d/empty"]),
    "no longer empty": (lambda root: write_file(root / "d/empty", b"x"), ["d/empty"]),
    "executable": (lambda root: (root / "a").chmod(0o755), ["a"]),
    "not executable": (lambda root: (root / "d/short").chmod(0o644), ["d/short"]),
    "a file more": (lambda root: write_file(root / "d/more", b""), ["d/more"]),
    "a directory more": (lambda root: (root / "more").mkdir(), ["more"]),
    "a link more": (lambda root: (root / "more").symlink_to("a"), ["more"]),
    "a link instead of a file": (become_link, ["d/moved", "d/short"]),
    "a link elsewhere": (link_elsewhere, ["link"]),
    "no link": (lambda root: (root / "link").unlink(), ["link"]),
}


@pytest.mark.parametrize(("harm", "paths"), list(DAMAGES.values()), ids=list(DAMAGES))
def test_damage_is_named(root: Path, harm: t.Callable[[Path], t.Any], paths: list[str]) -> None:
    harm(root)
    assert verify.damaged_paths(str(root), LISTING) == paths


def test_a_link_in_place_of_a_directory_is_damage(root: Path) -> None:
    link_of_directory(root)
    assert verify.damaged_paths(str(root), LISTING) == ["d", "d/empty", "d/short", "e"]


def test_a_directory_in_place_of_nothing(tmp_path: Path) -> None:
    assert verify.damaged_paths(str(tmp_path), LISTING) == ["a", "d", "d/empty", "d/short", "image.hds", "link"]


def test_strays_are_named_once_with_all_that_is_in_them(root: Path) -> None:
    write_file(root / "more/of/it", b"")
    os.mkfifo(root / "d/pipe")
    (root / "a").unlink()
    write_file(root / "a/b", b"")
    link_elsewhere(root)
    assert sorted(verify.strays(str(root), LISTING)) == ["a", "d/pipe", "more"]


def test_what_belongs_to_the_mac_is_no_damage(root: Path) -> None:
    for path in (".DS_Store", "d/._short", "Windows Disks/C"):
        write_file(root / path, b"of the Mac")
    assert verify.damaged_paths(str(root), LISTING) == []
    every = sorted(verify.strays(str(root), LISTING, with_left_out=True))
    assert every == [".DS_Store", "Windows Disks", "d/._short"]


def test_what_the_listing_knows_is_checked_whatever_its_name(tmp_path: Path) -> None:
    write_file(tmp_path / "statistic.log", b"other")
    assert verify.damaged_paths(str(tmp_path), listing_of({"statistic.log": b"x"})) == ["statistic.log"]


@pytest.mark.parametrize("has_both", [True, False])
def test_another_spelling_of_a_name_is_the_name_where_it_leads_to_the_file(tmp_path: Path, has_both: bool) -> None:
    name = "caf\u00e9"
    other = unicodedata.normalize("NFD", name)
    write_file(tmp_path / other, b"x")
    is_one = (tmp_path / name).exists()
    if has_both and not is_one:
        write_file(tmp_path / name, b"x")
    listing = listing_of({name: b"x"})
    assert list(verify.strays(str(tmp_path), listing)) == ([] if is_one else [other])
