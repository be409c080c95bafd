# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a commit refuses: broken indexes, and references to what the pusher may not use. Each leaves nothing visible."""

from __future__ import annotations

import dataclasses
import struct
from array import array
from collections.abc import Callable

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import index as formats
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_DEFLATE,
    DIRECTORY,
    FILE,
    LINK,
    Entry,
    Listing,
    Locator,
    SegmentRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing, listing_digest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from catalog_server.access import Audience
from catalog_server.catalog.queries import audience_row
from catalog_server.errors import UnknownSegment
from catalog_server.models.transfers import Segment
from catalog_server.transfers.commit.prepare import check_references
from conftest import StartServer
from packs import CHUNK_SIZE, HandMade, content, make_pack, sha256
from rows import audiences_of, new_catalog_id, segments_of
from running import Server, command_work
from transfer_client import FILES, NEXT_FILES, Client, Pushed, error, good, objects


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


@pytest.fixture(name="staff")
def staff_fixture(server: Server) -> Client:
    return Client.of(server, "staff")


@pytest.fixture(name="admin")
def admin_fixture(server: Server) -> Client:
    return Client.of(server, "admin")


@dataclasses.dataclass
class Attempt:
    """An upload whose segments are all stored; it waits for its index."""

    client: Client
    catalog_id: str
    upload_id: str
    pack: HandMade

    def refused(self, index: bytes, status: int, word: str) -> str:
        """Commit this index and see it refused; nothing is there, and the true index can still be committed."""
        message = error(self.client.commit(self.upload_id, index), status, word)
        found = self.client.http.get("/manifests", params={"catalog_id": self.catalog_id, "version": "9.9"})
        assert good(found)["manifests"] == []
        return message


def attempt(
    client: Client, catalog_id: str | None = None, *, base: Pushed | None = None, named: bool = True, **fields: object
) -> Attempt:
    """Begin version 9.9, and store what is new on top of ``base``, which is ``named`` at begin or not."""
    catalog_id = catalog_id or new_catalog_id()
    if base is not None and named:
        fields["bases"] = [base.id]
    upload_id = good(client.begin(catalog_id, "9.9", **fields))["id"]
    pack = make_pack(upload_id, NEXT_FILES if base else FILES, base=base.pack if base else None)
    client.store(upload_id, pack)
    return Attempt(client, catalog_id, upload_id, pack)


@pytest.fixture(name="made")
def made_fixture(pusher: Client) -> Attempt:
    return attempt(pusher)


# --- broken indexes --------------------------------------------------------------------------------------


def listing_with(made: Attempt, entries: tuple[Entry, ...], chunk_ids: bytes | None = None) -> bytes:
    """The index of a listing that the format does not allow, with a locator that says that it is its own."""
    old = made.pack.listing
    listing = Listing(old.chunk_size, entries, old.chunk_ids if chunk_ids is None else chunk_ids, digest="")
    locator = dataclasses.replace(made.pack.locator, digest=listing_digest(listing))
    return encode_index(encode_listing(listing), encode_locator(locator))


def renamed(name: str) -> Callable[[Attempt], bytes]:
    """The first file under another name."""

    def spoil(made: Attempt) -> bytes:
        first, *rest = made.pack.listing.entries
        return listing_with(made, (dataclasses.replace(first, path=name), *rest))

    return spoil


def with_more(*more: Entry) -> Callable[[Attempt], bytes]:
    """More entries, where canonical order puts them."""

    def spoil(made: Attempt) -> bytes:
        entries = made.pack.listing.entries
        placed = [
            dataclasses.replace(
                entry, first_chunk=next((old.first_chunk for old in entries if old.path > entry.path), 8)
            )
            for entry in more
        ]
        return listing_with(made, tuple(sorted((*entries, *placed), key=lambda entry: entry.path.encode())))

    return spoil


def resized(made: Attempt) -> bytes:
    first, *rest = made.pack.listing.entries
    return listing_with(made, (dataclasses.replace(first, size=first.size + CHUNK_SIZE), *rest))


def fewer_chunks(made: Attempt) -> bytes:
    return listing_with(made, made.pack.listing.entries, made.pack.listing.chunk_ids[:-32])


def other_digest(made: Attempt) -> bytes:
    locator = dataclasses.replace(made.pack.locator, digest=sha256(b"another"))
    return encode_index(made.pack.listing_file, encode_locator(locator))


def changed_locator(**columns: Callable[[Locator], object]) -> Callable[[Attempt], bytes]:
    """Columns of the locator replaced."""

    def spoil(made: Attempt) -> bytes:
        locator = made.pack.locator
        changes = {name: change(locator) for name, change in columns.items()}
        return encode_index(made.pack.listing_file, encode_locator(dataclasses.replace(locator, **changes)))  # type: ignore[arg-type]

    return spoil


def first_as(column: str, value: int) -> Callable[[Locator], array[int]]:
    """A column with another first value."""

    def change(locator: Locator) -> array[int]:
        old: array[int] = getattr(locator, column)
        return array("I", [value, *old[1:]])

    return change


def cut(made: Attempt) -> bytes:
    return made.pack.index[:-1]


def more(made: Attempt) -> bytes:
    return made.pack.index + b"\0"


def future(made: Attempt) -> bytes:
    """A listing that says that it has a feature which nobody knows."""
    return encode_index(
        made.pack.listing_file.replace(b'"features":[]', b'"features":["x"]').replace(
            struct.pack("<I", len_of_header(made.pack.listing_file)),
            struct.pack("<I", len_of_header(made.pack.listing_file) + 3),
            1,
        ),
        made.pack.locator_file,
    )


def len_of_header(file: bytes) -> int:
    (length,) = struct.unpack_from("<I", file, 8)
    return int(length)


BROKEN = {
    "empty": lambda _made: b"",
    "no index": lambda _made: b"{}" * 50,
    "cut": cut,
    "longer": more,
    "listing alone": lambda made: made.pack.listing_file,
    "files exchanged": lambda made: encode_index(made.pack.locator_file, made.pack.listing_file),
    "unknown feature": future,
    "path upwards": renamed("../config.pvs"),
    "path upwards in the middle": renamed("a/../config.pvs"),
    "absolute path": renamed("/config.pvs"),
    "path with a dot": renamed("./config.pvs"),
    "path with two slashes": renamed("disk//config.pvs"),
    "no path": renamed(""),
    "path not in NFC": renamed("cafe\u0301"),
    "path twice": with_more(Entry(FILE, "config.pvs")),
    "paths equal after case folding": with_more(Entry(FILE, "CONFIG.PVS")),
    "paths equal after case folding of more than ASCII": with_more(Entry(FILE, "STRASSE"), Entry(FILE, "straße")),
    "file below no directory": with_more(Entry(FILE, "missing/file")),
    "file below a file": with_more(Entry(FILE, "config.pvs/file")),
    "link upwards": with_more(Entry(LINK, "escape", target="../outside")),
    "absolute link": with_more(Entry(LINK, "escape", target="/etc/passwd")),
    "directory with a size": with_more(Entry(DIRECTORY, "folder", size=5)),
    "wrong size": resized,
    "too few chunks": fewer_chunks,
    "locator of another listing": other_digest,
    "offset outside the segment": changed_locator(offsets=first_as("offsets", 1 << 30)),
    "length outside the segment": changed_locator(lengths=first_as("lengths", 1 << 30)),
    "length of nothing": changed_locator(lengths=first_as("lengths", 0)),
    "length longer than the chunk": changed_locator(lengths=first_as("lengths", CHUNK_SIZE + 1)),
    "segment number of nothing": changed_locator(segment_numbers=first_as("segment_numbers", 99)),
    "unknown codec": changed_locator(codecs=lambda locator: b"\x09" + locator.codecs[1:]),
    "codec that does not fit": changed_locator(codecs=lambda locator: bytes([CODEC_DEFLATE]) + locator.codecs[1:]),
    "fewer rows": changed_locator(
        segment_numbers=lambda locator: locator.segment_numbers[:-1],
        offsets=lambda locator: locator.offsets[:-1],
        lengths=lambda locator: locator.lengths[:-1],
        codecs=lambda locator: locator.codecs[:-1],
    ),
    "segment twice": changed_locator(segments=lambda locator: (*locator.segments, locator.segments[0])),
    "segment that nothing uses": changed_locator(
        segments=lambda locator: (*locator.segments, SegmentRef(locator.segments[0].pack, sha256(b"unused"), 500))
    ),
    "segment of an impossible size": changed_locator(
        segments=lambda locator: (dataclasses.replace(locator.segments[0], size=1 << 40), *locator.segments[1:])
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_index(server: Server, made: Attempt, fault: str) -> None:
    before = objects(server, made.upload_id)
    made.refused(BROKEN[fault](made), 400, "invalid_index")
    assert objects(server, made.upload_id) == before
    assert good(made.client.commit(made.upload_id, made.pack.index))["digest"] == made.pack.digest


def test_every_fault_of_one_bit_is_refused_or_harmless(pusher: Client) -> None:
    """Flip a bit of each byte of the index: none is a mistake of the server, none makes another digest."""
    made = attempt(pusher)
    positions = range(len(made.pack.index))
    harmless = 0
    for position in positions:
        spoilt = bytearray(made.pack.index)
        # The index of another upload names another pack, and may be a few bytes shorter.
        spoilt[position % len(spoilt)] ^= 1 << (position % 8)
        reply = made.client.commit(made.upload_id, bytes(spoilt))
        if reply.status_code == 200:
            assert reply.json()["digest"] == made.pack.digest
            harmless += 1
            made = attempt(pusher)
        else:
            assert reply.json()["error"] in ("invalid_index", "missing_segment", "unknown_segment"), reply.text[:500]
    # The padding of the compressed columns; all else means something.
    assert harmless <= len(positions) // 100, harmless


def test_an_index_with_other_chunks_than_begun(pusher: Client) -> None:
    catalog_id = new_catalog_id()
    upload_id = good(pusher.begin(catalog_id, "9.9"))["id"]
    pack = make_pack(upload_id, FILES, chunk_size=2 * CHUNK_SIZE)
    pusher.store(upload_id, pack)
    Attempt(pusher, catalog_id, upload_id, pack).refused(pack.index, 400, "invalid_index")


def test_an_index_with_another_digest_than_announced(pusher: Client) -> None:
    made = attempt(pusher, expected_digest=sha256(b"another"))
    message = made.refused(made.pack.index, 400, "invalid_index")
    assert made.pack.digest in message


def test_an_index_longer_than_the_server_takes(start_server: StartServer) -> None:
    server = start_server(CATALOG_MAX_INDEX_BYTES="2000")
    made = attempt(Client.of(server, "pusher"))
    made.refused(made.pack.index + bytes(2000), 413, "payload_too_large")
    good(made.client.commit(made.upload_id, made.pack.index))


# --- objects ---------------------------------------------------------------------------------------------


def test_a_segment_that_was_not_stored(pusher: Client) -> None:
    catalog_id = new_catalog_id()
    upload_id = good(pusher.begin(catalog_id, "9.9"))["id"]
    pack = make_pack(upload_id, FILES)
    left_out = next(iter(pack.segments))
    pusher.store(upload_id, pack, leave_out=[left_out])
    made = Attempt(pusher, catalog_id, upload_id, pack)
    assert left_out in made.refused(pack.index, 409, "missing_segment")
    pusher.store(upload_id, pack, leave_out=pack.segments.keys() - {left_out})
    good(pusher.commit(upload_id, pack.index))


def test_a_segment_that_lost_its_end(server: Server, made: Attempt) -> None:
    name, data = next(iter(made.pack.segments.items()))
    path = server.data_dir / "storage/packs" / made.upload_id / name
    path.write_bytes(data[:-1])
    assert name in made.refused(made.pack.index, 409, "missing_segment")
    # Storing it again heals it.
    made.client.store(made.upload_id, made.pack)
    good(made.client.commit(made.upload_id, made.pack.index))


def test_a_segment_of_another_size_than_the_index_says(made: Attempt) -> None:
    segments = made.pack.locator.segments
    spoilt = dataclasses.replace(
        made.pack.locator, segments=(dataclasses.replace(segments[0], size=segments[0].size + 1), *segments[1:])
    )
    made.refused(encode_index(made.pack.listing_file, encode_locator(spoilt)), 409, "missing_segment")


def test_an_object_of_a_base_that_is_gone(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    made = attempt(pusher, catalog_id, base=base)
    shared = next(segment for segment in made.pack.locator.segments if segment.pack == base.upload_id)
    (server.data_dir / "storage/packs" / base.upload_id / shared.sha256).unlink()
    assert shared.sha256 in made.refused(made.pack.index, 409, "missing_segment")


# --- references to other packs ---------------------------------------------------------------------------


def refused_as_unknown(made: Attempt) -> str:
    return made.refused(made.pack.index, 404, "unknown_segment")


@pytest.fixture(name="unknown_text", scope="module")
def unknown_text_fixture(server: Server) -> str:
    """What the server says of a segment that exists nowhere."""
    made = attempt(Client.of(server, "pusher"))
    locator = made.pack.locator
    invented = tuple(dataclasses.replace(segment, pack="0" * 32) for segment in locator.segments)
    index = encode_index(made.pack.listing_file, encode_locator(dataclasses.replace(locator, segments=invented)))
    return made.refused(index, 404, "unknown_segment")


def test_a_base_that_was_not_named(pusher: Client, unknown_text: str) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    assert refused_as_unknown(attempt(pusher, catalog_id, base=base, named=False)) == unknown_text


def test_segments_of_an_invisible_catalog(pusher: Client, staff: Client, unknown_text: str) -> None:
    hidden = staff.push(new_catalog_id(), required_roles=["STAFF"])
    # They cannot even be named ...
    texts = [
        error(pusher.begin(new_catalog_id(), bases=[name]), 404, "unknown_manifest").replace(name, "")
        for name in (hidden.id, "0" * 64)
    ]
    assert texts[0] == texts[1]
    # ... and whoever guessed what they are called learns nothing.
    assert refused_as_unknown(attempt(pusher, base=hidden, named=False)) == unknown_text


@pytest.mark.parametrize(
    ("of_base", "of_push"),
    [(["STAFF"], []), ([], ["STAFF"]), (["STAFF"], ["STAFF", "USER"]), (["STAFF", "USER"], ["USER"])],
)
def test_a_base_for_another_audience(staff: Client, unknown_text: str, of_base: list[str], of_push: list[str]) -> None:
    catalog_id = new_catalog_id()
    base = staff.push(catalog_id, required_roles=of_base)
    assert good(staff.begin(catalog_id, "9.9", bases=[base.id], required_roles=of_push))["bases"] == []
    made = attempt(staff, catalog_id, base=base, required_roles=of_push)
    assert refused_as_unknown(made) == unknown_text


def test_a_base_for_the_same_audience_in_other_words(server: Server, staff: Client) -> None:
    catalog_id = new_catalog_id()
    base = staff.push(catalog_id, required_roles=["STAFF", "USER"])
    made = attempt(staff, catalog_id, base=base, required_roles=["user", "staff"])
    good(made.client.commit(made.upload_id, made.pack.index))


@pytest.mark.parametrize("verb", ["taint", "revoke"])
def test_a_base_that_was_blocked_meanwhile(pusher: Client, admin: Client, unknown_text: str, verb: str) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    made = attempt(pusher, catalog_id, base=base)
    assert [found["id"] for found in good(pusher.http.get(f"/uploads/{made.upload_id}"))["bases"]] == [base.id]
    good(admin.http.post(f"/manifests/{base.id}/{verb}"))
    assert refused_as_unknown(made) == unknown_text
    assert good(pusher.http.get(f"/uploads/{made.upload_id}"))["bases"] == []
    if verb == "taint":
        good(admin.http.post(f"/manifests/{base.id}/untaint"))
        good(pusher.commit(made.upload_id, made.pack.index))


def test_a_base_that_was_hidden_meanwhile(pusher: Client, admin: Client, unknown_text: str) -> None:
    base = pusher.push(new_catalog_id())
    made = attempt(pusher, new_catalog_id(), base=base)
    good(admin.http.patch(f"/manifests/{base.id}", json={"required_roles": ["STAFF"]}))
    assert refused_as_unknown(made) == unknown_text


def test_a_base_that_was_deleted_meanwhile(pusher: Client, admin: Client, unknown_text: str) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    made = attempt(pusher, catalog_id, base=base)
    assert admin.http.delete(f"/manifests/{base.id}").status_code == 200
    assert refused_as_unknown(made) == unknown_text


@pytest.mark.parametrize("fields", [{"proved": False}, {"condemned_at": "now"}, {"audience_id": "another"}])
def test_segments_that_may_not_be_reused(
    server: Server, pusher: Client, staff: Client, unknown_text: str, fields: dict[str, object]
) -> None:
    catalog_id = new_catalog_id()
    base = staff.push(catalog_id)
    made = attempt(pusher, catalog_id, base=base)
    with command_work(server.services) as work:
        for name in segments_of(server, base.id):
            row = work.session.get_one(Segment, name)
            values = {"now": work.now, "another": audience_row(work.session, Audience.of(["X"], []).text()).id}
            for column, value in fields.items():
                setattr(row, column, values.get(value, value) if isinstance(value, str) else value)
    assert refused_as_unknown(made) == unknown_text


def test_own_segments_need_no_proof(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    with command_work(server.services) as work:
        for name in segments_of(server, base.id):
            work.session.get_one(Segment, name).proved = False
    made = attempt(pusher, catalog_id, base=base)
    good(made.client.commit(made.upload_id, made.pack.index))


def test_a_segment_of_a_base_with_another_size(pusher: Client, unknown_text: str) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id)
    made = attempt(pusher, catalog_id, base=base)
    grown = tuple(
        dataclasses.replace(segment, size=segment.size + 1) if segment.pack == base.upload_id else segment
        for segment in made.pack.locator.segments
    )
    index = encode_index(made.pack.listing_file, encode_locator(dataclasses.replace(made.pack.locator, segments=grown)))
    assert made.refused(index, 404, "unknown_segment") == unknown_text


def test_a_segment_of_an_open_upload_of_the_same_user(pusher: Client, unknown_text: str) -> None:
    """What another upload stored belongs to nothing yet, and may vanish with it."""
    other = attempt(pusher)
    upload_id = good(pusher.begin(new_catalog_id(), "9.9"))["id"]
    assert error(pusher.commit(upload_id, other.pack.index), 404, "unknown_segment") == unknown_text


def test_a_segment_of_a_base_whose_base_it_was(pusher: Client) -> None:
    """What a base shares with its own base is the base's, too."""
    catalog_id = new_catalog_id()
    first = pusher.push(catalog_id, "1.0")
    second = pusher.push(catalog_id, "1.1", NEXT_FILES, first)
    third = pusher.push(catalog_id, "1.2", {**NEXT_FILES, "more": content(30, 1)}, second)
    packs = {segment.pack for segment in third.pack.locator.segments}
    assert packs == {first.upload_id, second.upload_id, third.upload_id}


def test_check_references_asks_for_the_size_too() -> None:
    own, base = "1" * 32, "2" * 32
    reusable = {(base, "a"): 5}
    check_references([SegmentRef(own, "x", 1), SegmentRef(base, "a", 5)], own, reusable)
    for segment in (SegmentRef(base, "a", 6), SegmentRef(base, "b", 5), SegmentRef("3" * 32, "a", 5)):
        with pytest.raises(UnknownSegment):
            check_references([segment], own, reusable)


def test_widening_what_is_shared_is_refused(server: Server, staff: Client, admin: Client) -> None:
    """A commit makes what an edit of the audience then looks at."""
    catalog_id = new_catalog_id()
    first = staff.push(catalog_id, "1.0", required_roles=["STAFF"])
    second = staff.push(catalog_id, "1.1", NEXT_FILES, first, required_roles=["STAFF"])
    error(admin.http.patch(f"/manifests/{second.id}", json={"required_roles": []}), 409, "shared_segments")
    lone = staff.push(new_catalog_id(), required_roles=["STAFF"])
    good(admin.http.patch(f"/manifests/{lone.id}", json={"required_roles": []}))
    names = segments_of(server, lone.id)
    assert set(audiences_of(server, names)) == {'{"claims":[],"roles":[]}'}


def test_limits_of_the_format_are_those_of_the_urls() -> None:
    """A segment that can be stored can be committed."""
    assert formats.MAX_SEGMENT_BYTES == 64 << 20
