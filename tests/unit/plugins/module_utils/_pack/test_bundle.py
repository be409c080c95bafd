# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, codecs, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    BundleChanged,
    BundleInUse,
    InvalidBundle,
    PackError,
    UnreadableBundle,
    UnsafePath,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import DIRECTORY, FILE, LINK
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    DESCRIPTOR,
    IMAGE,
    MemoryStorage,
    hds_head,
    hds_header,
    make_bundle,
    noise,
    write_file,
)

IN_USE = 0x746F6E59
NOBODY = 65534


@pytest.fixture(name="root")
def root_fixture(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "Runner.pvm")


def inspect(root: Path, **options: t.Any) -> bundle.Snapshot:
    return bundle.inspect(str(root), CHUNK, **options)


def refusal(root: Path, error: type[PackError], *words: str, **options: t.Any) -> PackError:
    """The error must name the bundle, say why, and what to do about it or at least not nothing."""
    with pytest.raises(error) as caught:
        inspect(root, **options)
    assert caught.type is error
    for word in words:
        assert word in caught.value.message
    return caught.value


# What is found


def test_entries_are_in_canonical_order_with_their_chunks(root: Path) -> None:
    write_file(root / "Windows/tools.sh", b"#!/bin/sh")
    (root / "Windows/tools.sh").chmod(0o700)
    write_file(root / IMAGE, hds_head(1024) + noise(1, 2 * CHUNK + 1))
    (root / "disk").symlink_to("harddisk.hdd")
    (root / "empty").mkdir()
    snapshot = inspect(root)
    assert [(entry.path, entry.kind, entry.executable, entry.chunk_count) for entry in snapshot.entries] == [
        ("NVRAM.dat", FILE, False, 1),
        ("Windows", DIRECTORY, False, 0),
        ("Windows/tools.sh", FILE, True, 1),
        ("config.pvs", FILE, False, 1),
        ("disk", LINK, False, 0),
        ("empty", DIRECTORY, False, 0),
        ("harddisk.hdd", DIRECTORY, False, 0),
        ("harddisk.hdd/DiskDescriptor.xml", FILE, False, 1),
        (IMAGE, FILE, False, 4),
    ]
    firsts = [entry.first_chunk for entry in snapshot.entries if entry.kind == FILE]
    assert firsts == [0, 1, 2, 3, 4]
    assert snapshot.entries[-1].data_start == 1024
    assert (snapshot.name, snapshot.type, snapshot.root) == ("Runner.pvm", "pvm", str(root))
    assert snapshot.logical_bytes == sum(
        path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert set(snapshot.stamps) == {entry.path for entry in snapshot.entries if entry.kind == FILE}


def test_nothing_is_changed_by_looking(root: Path) -> None:
    before = {path: path.lstat() for path in root.rglob("*")}
    inspect(root)
    after = {path: path.lstat() for path in root.rglob("*")}
    assert {path: (s.st_mtime_ns, s.st_ctime_ns) for path, s in before.items()} == {
        path: (s.st_mtime_ns, s.st_ctime_ns) for path, s in after.items()
    }


@pytest.mark.parametrize(
    ("name", "kind"), [("A.pvm", "pvm"), ("A.macvm", "macvm"), ("A.PVM", "pvm"), ("a b.pvm/", "pvm")]
)
def test_a_bundle_is_known_by_its_extension(tmp_path: Path, name: str, kind: str) -> None:
    make_bundle(tmp_path / name)
    assert bundle.inspect(f"{tmp_path}/{name}", CHUNK).type == kind


def test_what_belongs_to_this_mac_is_left_out(root: Path) -> None:
    before = {entry.path for entry in inspect(root).entries}
    for path in ("parallels.log", "statistic.log", "harddisk.hdd/.DS_Store", "Icon\r", "config.pvs.backup", "vm.lock"):
        write_file(root / path, b"left out")
    write_file(root / "Windows 11.app/Contents/MacOS/WinAppHelper", b"left out")
    (root / "Windows Disks").mkdir()
    (root / "Windows Disks/C").symlink_to("/Volumes/[C] Windows 11")
    write_file(root / "Logs/parallels.log", b"kept")
    assert {entry.path for entry in inspect(root).entries} - before == {"Logs", "Logs/parallels.log"}


def test_shared_memory_is_left_out_unless_the_machine_is_suspended(root: Path) -> None:
    write_file(root / "{5fbaabe3}.mem.sh", b"memory")
    assert "{5fbaabe3}.mem.sh" not in {entry.path for entry in inspect(root).entries}
    write_file(root / "{5fbaabe3}.mem", b"memory")
    found = {entry.path for entry in inspect(root, allow_suspended=True).entries}
    assert {"{5fbaabe3}.mem", "{5fbaabe3}.mem.sh"} <= found


def test_names_are_brought_into_normal_form_c(root: Path) -> None:
    write_file(root / "cafe\u0301" / "a\u0308", b"x")
    (root / "link").symlink_to("cafe\u0301")
    snapshot = inspect(root)
    paths = [entry.path for entry in snapshot.entries]
    assert "caf\u00e9/\u00e4" in paths
    assert snapshot.disk_paths[paths.index("caf\u00e9/\u00e4")] == "cafe\u0301/a\u0308"
    assert {entry.path: entry.target for entry in snapshot.entries}["link"] == "caf\u00e9"


def test_what_has_to_be_read_is_what_the_disk_holds_and_a_little_for_holes(root: Path) -> None:
    write_file(root / "data", noise(1, 1 << 20))
    os.sync()
    before = bundle.bytes_to_read(str(root))
    with (root / "data").open("r+b") as stream:
        stream.truncate(64 << 20)
    os.sync()
    assert 1 << 20 <= bundle.bytes_to_read(str(root)) - before + (1 << 20) <= 3 << 20
    assert bundle.bytes_to_read(str(root / "missing")) == 0


def test_the_extent_is_that_of_what_is_packed(root: Path) -> None:
    write_file(root / IMAGE, hds_head(1024) + noise(1, 2 * CHUNK + 1))
    write_file(root / "statistic.log", b"left out")
    snapshot = inspect(root)
    extent = bundle.measure(f"{root}/")
    assert (extent.files, extent.logical_bytes) == (4, snapshot.logical_bytes)
    assert sum(entry.chunk_count for entry in snapshot.entries) <= extent.most_chunks(CHUNK)


def test_a_file_that_was_evicted_has_to_be_fetched(root: Path) -> None:
    # What is in iCloud alone has its size, and no blocks.
    before = bundle.bytes_to_read(str(root))
    with (root / "evicted").open("wb") as stream:
        stream.truncate(1 << 30)
    assert (root / "evicted").stat().st_blocks == 0
    assert bundle.bytes_to_read(str(root)) - before == 1 << 30


def test_the_size_of_a_bundle_that_changes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_bundle(tmp_path / "A.pvm")
    before = bundle.bytes_to_read(str(root))
    real = os.walk

    def walk(top: str) -> t.Iterator[t.Any]:
        for directory, names, files in real(top):
            yield directory, names, [*files, "vanished"]

    monkeypatch.setattr(os, "walk", walk)
    assert bundle.bytes_to_read(str(root)) == before


# Not a bundle


def test_a_path_where_nothing_is(tmp_path: Path) -> None:
    assert refusal(tmp_path / "None.pvm", InvalidBundle, "no bundle", str(tmp_path / "None.pvm")).hint


def test_a_file(tmp_path: Path) -> None:
    write_file(tmp_path / "A.pvm", b"x")
    refusal(tmp_path / "A.pvm", InvalidBundle, "not a directory")


def test_a_link_to_a_bundle(root: Path) -> None:
    link = root.parent / "B.pvm"
    link.symlink_to(root)
    refusal(link, InvalidBundle, "not a directory")


def test_a_directory_of_another_name(tmp_path: Path) -> None:
    refusal(make_bundle(tmp_path / "Documents"), InvalidBundle, "does not end in .pvm or .macvm")


def test_a_directory_without_configuration(root: Path) -> None:
    (root / "config.pvs").unlink()
    refusal(root, InvalidBundle, "config.pvs")


def test_a_directory_without_disk(root: Path) -> None:
    shutil.rmtree(root / "harddisk.hdd")
    write_file(root / "config.pvs", b"<ParallelsVirtualMachine/>")
    refusal(root, InvalidBundle, "no disk")


def test_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "A.pvm").mkdir()
    refusal(tmp_path / "A.pvm", InvalidBundle, "no config.pvs", "not a bundle")


# Things that cannot be packed


def test_a_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")
    refusal(root, InvalidBundle, "pipe", "device, socket or pipe")


def test_a_socket(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The path of a socket may be shorter than that of a temporary directory.
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        refusal(root, InvalidBundle, "socket", "device, socket or pipe")


def test_a_device(root: Path) -> None:
    try:
        os.mknod(root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make devices")
    refusal(root, InvalidBundle, "null", "device, socket or pipe")


def test_a_hard_link_out_of_the_bundle(root: Path) -> None:
    os.link(root / IMAGE, root.parent / "kept elsewhere")
    assert "copy" in (refusal(root, InvalidBundle, IMAGE, "hard link outside").hint or "")


def test_one_of_three_hard_links_lies_outside(root: Path) -> None:
    os.link(root / IMAGE, root / "second")
    os.link(root / IMAGE, root.parent / "third")
    refusal(root, InvalidBundle, "hard link outside")


def test_hard_links_inside_the_bundle_are_files_of_their_own(root: Path) -> None:
    os.link(root / "NVRAM.dat", root / "copy")
    assert {"NVRAM.dat", "copy"} <= {entry.path for entry in inspect(root).entries if entry.kind == FILE}


def make_or_skip(directory: Path, *names: bytes) -> None:
    """File systems of macOS refuse some names and join others."""
    for name in names:
        try:
            with open(os.path.join(os.fsencode(directory), name), "xb"):
                pass
        except OSError as error:
            pytest.skip(f"this file system does not have such names: {error}")


def test_a_name_that_is_not_utf8(root: Path) -> None:
    make_or_skip(root, b"caf\xe9")
    error = refusal(root, InvalidBundle, "not UTF-8")
    str(error).encode("utf-8")


def test_a_link_whose_target_is_not_utf8(root: Path) -> None:
    os.symlink(b"caf\xe9", os.path.join(os.fsencode(root), b"link"))
    refusal(root, InvalidBundle, "link", "not UTF-8")


def test_names_that_are_one_in_normal_form_c(root: Path) -> None:
    make_or_skip(root, "caf\u00e9".encode(), "cafe\u0301".encode())
    refusal(root, UnsafePath, "name one file")


def test_names_that_differ_in_case_alone(root: Path) -> None:
    make_or_skip(root, b"Notes", b"NOTES")
    refusal(root, UnsafePath, "'NOTES'", "'Notes'", "case")


@pytest.mark.parametrize(
    ("place", "target", "reason"),
    [
        ("link", "/etc/passwd", "absolute"),
        ("link", "../other.pvm", "leaves the bundle"),
        ("harddisk.hdd/link", "../../other.pvm", "leaves the bundle"),
        ("link", "harddisk.hdd/../../x", "behind a component"),
        ("harddisk.hdd/link", "../disk/../x", "behind a component"),
    ],
)
def test_a_link_out_of_the_bundle(root: Path, place: str, target: str, reason: str) -> None:
    (root / place).symlink_to(target)
    refusal(root, UnsafePath, place, reason)


def test_a_link_that_leads_nowhere_may_stay(root: Path) -> None:
    (root / "link").symlink_to("not there")
    (root / "loop").symlink_to("loop")
    assert {entry.path for entry in inspect(root).entries if entry.kind == LINK} == {"link", "loop"}


def test_a_link_to_a_directory_is_not_followed(root: Path) -> None:
    (root / "disk").symlink_to("harddisk.hdd")
    assert not [entry.path for entry in inspect(root).entries if entry.path.startswith("disk/")]


def test_a_path_that_is_too_long(root: Path) -> None:
    deep = root
    for number in range(6):
        deep = deep / (f"{number}" * 200)
    deep.mkdir(parents=True)
    refusal(root, UnsafePath, "longer than 1024")


def test_more_chunks_than_a_pack_has(root: Path) -> None:
    with (root / "huge").open("wb") as stream:
        stream.truncate(300 << 30)
    assert "chunk_size" in (refusal(root, InvalidBundle, "4194304").hint or "")
    assert bundle.inspect(str(root), 4 << 20).logical_bytes > 300 << 30


@contextlib.contextmanager
def readable_directory() -> t.Iterator[Path]:
    """A directory that others reach, too: those of pytest are for one user."""
    path = Path(tempfile.mkdtemp())
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def without_privileges() -> t.Iterator[None]:
    """Root may read everything, so it has to become somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("path", [IMAGE, "config.pvs"])
def test_a_file_that_may_not_be_read(path: str) -> None:
    with readable_directory() as directory:
        root = make_bundle(directory / "A.pvm", {IMAGE: noise(1, 100)})
        (root / path).chmod(0)
        with without_privileges():
            error = refusal(root, UnreadableBundle, path, "cannot be read", "may not read", "Permission denied")
        assert "user who owns" in (error.hint or "")
        assert error.details == {"path": path, "errno": "EACCES", "reason": "Permission denied"}


@pytest.mark.parametrize("mode", [0, 0o400, 0o444])
def test_a_directory_that_may_not_be_read(mode: int) -> None:
    with readable_directory() as directory:
        root = make_bundle(directory / "A.pvm")
        (root / "harddisk.hdd").chmod(mode)
        with without_privileges():
            refusal(root, UnreadableBundle, "harddisk.hdd", "cannot be read")
        (root / "harddisk.hdd").chmod(0o700)


# Descriptions


BROKEN = {
    "no xml": b"<Parallels_disk_image>",
    "empty": b"",
    "a document type": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "a hidden document type": '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
    "an unknown encoding": b'<?xml version="1.0" encoding="x-none"?><a>\xff</a>',
    "an encoding of many bytes": '<?xml version="1.0" encoding="big5"?><a>\u4e2d</a>'.encode("big5"),
    "too large": b"<a>" + b" " * (1 << 20) + b"</a>",
}


@pytest.mark.parametrize("data", list(BROKEN.values()), ids=list(BROKEN))
def test_a_description_that_cannot_be_read(root: Path, data: bytes) -> None:
    write_file(root / "harddisk.hdd/DiskDescriptor.xml", data)
    refusal(root, InvalidBundle, "harddisk.hdd/DiskDescriptor.xml")


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_a_description_with_letters_of_any_language(root: Path, prefix: bytes) -> None:
    image = "Festplatte \u00e4\u4e2d.hds"
    write_file(root / "harddisk.hdd" / image, b"")
    write_file(root / "harddisk.hdd/DiskDescriptor.xml", prefix + DESCRIPTOR.format(image=image).encode())
    inspect(root)


# In use


def test_an_image_that_is_open(root: Path) -> None:
    write_file(root / IMAGE, hds_header(in_use=IN_USE) + noise(1, 1000))
    assert "Shut" in (refusal(root, BundleInUse, IMAGE, "in use").hint or "")


def test_an_open_image_is_found_by_its_content(root: Path) -> None:
    write_file(root / "Snapshots/renamed", hds_header(in_use=IN_USE, magic=b"WithoutFreeSpace") + noise(1, 1000))
    refusal(root, BundleInUse, "Snapshots/renamed")


LOCKS = ["vm.lock", "config.pvs.lock", "harddisk.hdd/a.lck", "harddisk.hdd/A.LOCK"]


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_file_that_a_run_left_behind_is_left_out(root: Path, path: str) -> None:
    write_file(root / path, b"")
    assert path not in {entry.path for entry in inspect(root).entries}


@contextlib.contextmanager
def locked(path: Path) -> t.Iterator[None]:
    """A lock file whose lock is held; an open file of its own counts as another process."""
    write_file(path, b"")
    with path.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("path", LOCKS)
def test_a_lock_that_is_held(root: Path, path: str) -> None:
    with locked(root / path):
        assert "Shut" in (refusal(root, BundleInUse, path, "holds the lock").hint or "")
    inspect(root)


@pytest.mark.parametrize("path", ["{5fbaabe3}.mem", "{5fbaabe3}.sav", "A.MEM"])
def test_a_suspended_machine(root: Path, path: str) -> None:
    write_file(root / path, b"memory")
    assert "allow_suspended" in (refusal(root, BundleInUse, path, "suspended").hint or "")
    assert path in {entry.path for entry in inspect(root, allow_suspended=True).entries}


def test_the_memory_of_a_snapshot_may_stay(root: Path) -> None:
    write_file(root / "Snapshots/{5fbaabe3}.mem", b"memory")
    inspect(root)


def test_a_running_machine_is_refused_even_if_suspended_ones_are_allowed(root: Path) -> None:
    with locked(root / "vm.lock"):
        refusal(root, BundleInUse, "holds the lock", allow_suspended=True)


# Changes


def test_a_bundle_that_was_left_alone(root: Path) -> None:
    bundle.check_unchanged(inspect(root))


def rewrite(root: Path) -> None:
    with (root / "NVRAM.dat").open("r+b") as stream:
        stream.write(b"other")


def rewrite_secretly(root: Path) -> None:
    status = (root / "NVRAM.dat").stat()
    rewrite(root)
    os.utime(root / "NVRAM.dat", ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(root: Path) -> None:
    shutil.copy2(root / "NVRAM.dat", root / "new")
    (root / "new").rename(root / "NVRAM.dat")


def repoint(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("NVRAM.dat")


def become_directory(root: Path) -> None:
    (root / "NVRAM.dat").unlink()
    (root / "NVRAM.dat").mkdir()


CHANGES: dict[str, t.Callable[[Path], t.Any]] = {
    "written to": rewrite,
    "written to with its old time": rewrite_secretly,
    "replaced by a copy": replace,
    "longer": lambda root: write_file(root / "NVRAM.dat", b"x" * 1000),
    "added": lambda root: write_file(root / "harddisk.hdd/new", b""),
    "removed": lambda root: (root / "NVRAM.dat").unlink(),
    "a directory added": lambda root: (root / "new").mkdir(),
    "executable": lambda root: (root / "NVRAM.dat").chmod(0o755),
    "a link elsewhere": repoint,
    "another kind": become_directory,
}


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
def test_a_bundle_that_changed(root: Path, change: t.Callable[[Path], t.Any]) -> None:
    (root / "link").symlink_to("config.pvs")
    snapshot = inspect(root)
    change(root)
    with pytest.raises(BundleChanged, match="changed while it was read"):
        bundle.check_unchanged(snapshot)


def test_a_bundle_that_was_started_meanwhile(root: Path) -> None:
    snapshot = inspect(root)
    with locked(root / "vm.lock"), pytest.raises(BundleInUse):
        bundle.check_unchanged(snapshot)


def test_a_suspended_bundle_that_was_left_alone(root: Path) -> None:
    write_file(root / "a.mem", b"memory")
    bundle.check_unchanged(inspect(root, allow_suspended=True), allow_suspended=True)


def test_what_is_left_out_may_change(root: Path) -> None:
    snapshot = inspect(root)
    write_file(root / "parallels.log", b"a line")
    bundle.check_unchanged(snapshot)


# Changes in the middle of reading


def cut_short(root: Path) -> None:
    os.truncate(root / IMAGE, CHUNK)


def swap(root: Path) -> None:
    write_file(root / "other", noise(9, 12 << 20))
    (root / "other").rename(root / IMAGE)


def link_away(root: Path) -> None:
    (root / IMAGE).rename(root / "moved")
    (root / IMAGE).symlink_to("../moved")


@pytest.mark.parametrize("change", [cut_short, swap, link_away, lambda root: (root / IMAGE).unlink()])
def test_a_file_that_changes_under_the_reader(root: Path, change: t.Callable[[Path], t.Any]) -> None:
    write_file(root / IMAGE, noise(1, 12 << 20))
    snapshot = inspect(root)
    storage = MemoryStorage()
    encode = codecs.make_encoder(0, 1)
    calls: list[int] = []

    def change_then_encode(data: codecs.Buffer) -> tuple[int, bytes]:
        if not calls:
            calls.append(1)
            change(root)
        return encode(data)

    with pytest.raises(BundleChanged) as caught:
        writer.write_pack(snapshot, KnownChunks(), change_then_encode, storage.put, workers=1)
    assert IMAGE in caught.value.message
    assert caught.value.hint


def test_a_file_that_grows_is_found_at_the_end(root: Path) -> None:
    write_file(root / IMAGE, noise(1, 2 << 20))
    snapshot = inspect(root)
    storage = MemoryStorage()
    with (root / IMAGE).open("ab") as stream:
        stream.write(b"more")
    writer.write_pack(snapshot, KnownChunks(), codecs.make_encoder(0, 1), storage.put)
    with pytest.raises(BundleChanged, match=IMAGE):
        bundle.check_unchanged(snapshot)
