# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An index is compared with the trailers of its segments: nothing is published that no segment claims to have."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from catalog_server.models.transfers import Segment
from packs import CHUNK_SIZE, HandMade, content, make_pack, sha256
from rows import new_catalog_id
from running import Server, command_work
from sqlalchemy import update
from transfer_client import FILES, NEXT_FILES, Client, error, good

# The same sizes as FILES, and other bytes.
OTHER = {"config.pvs": content(91, 1), "disk/data": content(92) + bytes(3 * CHUNK_SIZE)}


@pytest.fixture(name="pusher")
def pusher_fixture(server: Server) -> Client:
    return Client.of(server, "pusher")


def claiming(stored: HandMade, claimed: HandMade) -> bytes:
    """An index that says of the segments of one pack that they have the chunks of another one."""
    locator = dataclasses.replace(stored.locator, digest=claimed.digest)
    return encode_index(claimed.listing_file, encode_locator(locator))


def test_own_segments_that_do_not_have_what_the_index_says(pusher: Client) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    stored, claimed = make_pack(upload_id, FILES), make_pack(upload_id, OTHER)
    assert stored.locator.row_total == claimed.locator.row_total and stored.digest != claimed.digest
    pusher.store(upload_id, stored)
    said = error(pusher.commit(upload_id, claiming(stored, claimed)), 400, "invalid_index")
    assert "does not have all chunks" in said and "Run the push again." in said
    good(pusher.commit(upload_id, stored.index))


@pytest.mark.parametrize("shift", ["offset", "length"])
def test_a_chunk_that_lies_elsewhere_in_its_segment(pusher: Client, shift: str) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    pack = make_pack(upload_id, FILES)
    pusher.store(upload_id, pack)
    column = "offsets" if shift == "offset" else "lengths"
    values = getattr(pack.locator, column)[:]
    values[0] += 1 if shift == "offset" else -1
    codecs = pack.locator.codecs if shift == "offset" else bytes([1]) + pack.locator.codecs[1:]
    locator = dataclasses.replace(pack.locator, **{column: values, "codecs": codecs})
    index = encode_index(pack.listing_file, encode_locator(locator))
    error(pusher.commit(upload_id, index), 400, "invalid_index")


def test_a_base_whose_index_claims_what_its_segments_do_not_have(server: Server, pusher: Client) -> None:
    """As one that was published by a release that did not look, or that somebody has made."""
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id, "1.0", FILES)
    poisoned = dataclasses.replace(base, pack=dataclasses.replace(make_pack(base.upload_id, OTHER), segments={}))
    poisoned.pack.locator = dataclasses.replace(base.pack.locator, digest=poisoned.pack.digest)
    upload_id = good(pusher.begin(catalog_id, "2.0", bases=[base.id]))["id"]
    pack = make_pack(upload_id, {**OTHER, "new": content(77)}, base=poisoned.pack)
    pusher.store(upload_id, pack)
    said = error(pusher.commit(upload_id, pack.index), 400, "invalid_index")
    assert "push with an empty list of bases" in said
    assert server.call("GET", "/manifests", "pusher", params={"catalog_id": catalog_id}).json()["manifests"] == [
        pusher.manifest(base.id)
    ]
    # As the message says.
    good(pusher.begin(catalog_id, "2.0", bases=[]))
    whole = make_pack(upload_id, {**OTHER, "new": content(77)})
    pusher.store(upload_id, whole)
    good(pusher.commit(upload_id, whole.index))


@pytest.mark.parametrize("body", [b"no segment at all, but long enough", b"short"])
def test_an_object_that_is_no_segment(pusher: Client, body: bytes) -> None:
    upload_id = good(pusher.begin(new_catalog_id()))["id"]
    pack = make_pack(upload_id, FILES)
    (first, *others) = pack.locator.segments
    garbage = body.ljust(first.size, b"\0") if len(body) > 5 else pack.segments[first.sha256][:-16] + b"\xff" * 16
    segments = (dataclasses.replace(first, sha256=sha256(garbage)), *others)
    spoilt = HandMade(
        pack.listing,
        dataclasses.replace(pack.locator, segments=segments),
        {sha256(garbage): garbage, **{name: data for name, data in pack.segments.items() if name != first.sha256}},
    )
    pusher.store(upload_id, spoilt)
    error(pusher.commit(upload_id, spoilt.index), 400, "invalid_index")


def test_a_base_that_is_right_is_shared(server: Server, pusher: Client) -> None:
    catalog_id = new_catalog_id()
    base = pusher.push(catalog_id, "1.0", FILES)
    with command_work(server.services) as work:
        work.session.execute(update(Segment).where(Segment.pack == base.upload_id).values(proved=True))
    second = pusher.push(catalog_id, "2.0", NEXT_FILES, base)
    third = pusher.push(catalog_id, "3.0", FILES, second)
    assert third.manifest["digest"] == base.manifest["digest"]
