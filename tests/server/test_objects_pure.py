# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pure parts of the object store: signatures and ranges."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ByteRange
from catalog_server.keys import KeyRing
from catalog_server.storages.base import UrlRequest
from catalog_server.storages.embedded import EmbeddedStorage
from catalog_server.storages.signing import GET, PUT, ObjectSigner, Permit, object_signer
from catalog_server.transfers.streaming import parse_range
from hypothesis import given
from hypothesis import strategies as st

KEYS = KeyRing(["k" * 40])
SIGNER = object_signer(KEYS)
PERMIT = Permit(PUT, "local", "packs/1/a", 1000, "upload-1", 5)


def test_a_signature_opens_what_it_was_made_for() -> None:
    assert SIGNER.admits(PERMIT, SIGNER.signature(PERMIT), 999.9)


def test_a_signature_expires() -> None:
    assert not SIGNER.admits(PERMIT, SIGNER.signature(PERMIT), 1000.0)


@pytest.mark.parametrize(
    "change",
    [
        {"method": GET},
        {"key": "packs/1/b"},
        {"storage": "other"},
        {"holder": "upload-2"},
        {"expires_at": 1001},
        {"size": 6},
        {"size": None},
        {"key": "packs/1/a\n1000"},
    ],
)
def test_a_signature_opens_nothing_else(change: dict[str, object]) -> None:
    assert not SIGNER.admits(dataclasses.replace(PERMIT, **change), SIGNER.signature(PERMIT), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("signature", ["", "0" * 64, "ä", "\udcff"])
def test_a_signature_cannot_be_made_up(signature: str) -> None:
    assert not SIGNER.admits(PERMIT, signature, 0)
    assert not ObjectSigner([b"other"]).admits(PERMIT, SIGNER.signature(PERMIT), 0)


def test_an_older_secret_is_good_and_signs_nothing() -> None:
    both = ObjectSigner([b"new", *SIGNER.secrets])
    assert both.admits(PERMIT, SIGNER.signature(PERMIT), 0)
    assert both.signature(PERMIT) == ObjectSigner([b"new"]).signature(PERMIT)


def test_the_secret_does_not_show_itself() -> None:
    assert "kkk" not in repr(ObjectSigner([b"k" * 32]))


def test_urls_say_all_that_is_signed(tmp_path: Path) -> None:
    now = datetime.datetime.fromtimestamp(1000.7, datetime.UTC)
    storage = EmbeddedStorage("local", tmp_path, "", KEYS)
    request = UrlRequest(
        "https://catalog.example.com/api/v1", now, 900, "upload-1", now + datetime.timedelta(seconds=60)
    )
    signed = storage.presign_put("packs/1/a", 5, request)
    assert (signed.expires_at, signed.expires_in, signed.headers) == (1060, 60, {})
    assert storage.presign_get("packs/1/a", dataclasses.replace(request, until=None)).expires_at == 1900
    parts = urlsplit(signed.url)
    path = "https://catalog.example.com/api/v1/objects/local/packs/1/a"
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == path
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    signature = SIGNER.signature(Permit(PUT, "local", "packs/1/a", 1060, "upload-1", 5))
    assert query == {"method": "PUT", "expires": "1060", "for": "upload-1", "size": "5", "signature": signature}
    assert "signature" not in repr(signed)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", ByteRange(0, 1)),
        ("bytes=2-4", ByteRange(2, 3)),
        ("bytes=2-", ByteRange(2, 8)),
        ("bytes=2-100", ByteRange(2, 8)),
        ("bytes=-3", ByteRange(7, 3)),
        ("bytes=-100", ByteRange(0, 10)),
        (" bytes=9-9 ", ByteRange(9, 1)),
        # What is no single range is not understood, so everything is sent.
        ("bytes=0-1,3-4", None),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes", None),
        ("lines=0-1", None),
        ("bytes=x-1", None),
        ("bytes=0-1\n", ByteRange(0, 2)),
    ],
)
def test_ranges(header: str | None, wanted: ByteRange | None) -> None:
    assert parse_range(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-11", "bytes=-0"])
def test_ranges_of_nothing(header: str) -> None:
    with pytest.raises(ValueError, match="of 10"):
        parse_range(header, 10)


@given(st.text("bytes=-,0123456789 ", max_size=30), st.integers(0, 1 << 40))
def test_any_range_lies_in_the_object(header: str, size: int) -> None:
    try:
        wanted = parse_range(header, size)
    except ValueError:
        return
    if wanted is not None:
        assert 0 <= wanted.offset < wanted.end <= size
