# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import ReceiptInvalid, UnknownReceipt
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.tests.unit.support.macs import UUID, make_receipt

OTHER = "1" + UUID[1:]


@pytest.fixture
def receipts(tmp_path: pathlib.Path) -> Receipts:
    return Receipts(str(tmp_path))


def test_receipt_is_read_as_it_was_written(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipt = make_receipt(bundle_inode=1 << 60, state="ready")
    receipts.write(receipt)
    assert receipts.read(UUID) == receipt
    assert receipts.read_all() == ([receipt], [])
    assert (tmp_path / f"{UUID}.json").stat().st_mode & 0o777 == 0o600
    receipts.write(dataclasses.replace(receipt, state="removing"))
    assert [found.state for found in receipts.read_all()[0]] == ["removing"]


def test_removed_receipt_is_gone(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipts.write(make_receipt())
    receipts.remove(UUID)
    receipts.remove(UUID)
    assert receipts.read(UUID) is None
    assert list(tmp_path.iterdir()) == []


def test_receipts_of_a_cache_that_is_not_there() -> None:
    assert Receipts("/nonexistent/receipts").read_all() == ([], [])


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b"null", b'{"format": 1}', b"[" * 100_000, b"x" * (65 << 10)],
    ids=lambda content: repr(content[:8]),
)
def test_junk_is_reported_and_stops_nobody(receipts: Receipts, tmp_path: pathlib.Path, content: bytes) -> None:
    receipts.write(make_receipt())
    (tmp_path / f"{OTHER}.json").write_bytes(content)
    found, unreadable = receipts.read_all()
    assert [receipt.vm_uuid for receipt in found] == [UUID]
    assert unreadable == [f"{OTHER}.json"]
    with pytest.raises(ReceiptInvalid, match=f"{OTHER}.json failed") as caught:
        receipts.read(OTHER)
    assert caught.value.code == "receipt_invalid"


@pytest.mark.parametrize(
    "key, value",
    [
        ("state", "sleeping"),
        ("vm_name", 5),
        ("bundle_inode", "1"),
        ("home", None),
        ("labels", []),
        ("parent", "x"),
        ("headless", 1),
        ("superseded_by", 1),
    ],
)
def test_receipt_with_a_wrong_field(receipts: Receipts, tmp_path: pathlib.Path, key: str, value: t.Any) -> None:
    receipts.write(make_receipt())
    path = tmp_path / f"{UUID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert receipts.read_all() == ([], [f"{UUID}.json"])


def test_unknown_keys_are_kept(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    """A later version may have written them, and gets them back."""
    receipts.write(make_receipt())
    path = tmp_path / f"{UUID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lease": {"until": 5}}))
    receipt = receipts.read(UUID)
    assert receipt is not None
    receipts.write(dataclasses.replace(receipt, state="removing"))
    document = json.loads(path.read_text())
    assert (document["lease"], document["state"], "extra" in document) == ({"until": 5}, "removing", False)


def test_receipt_of_an_earlier_version_has_defaults(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"{UUID}.json"
    earliest = ["vm_uuid", "vm_name", "catalog_url", "catalog_id", "version", "architecture", "digest", "created_at"]
    earliest += ["created_by", "home", "cache_path"]
    document = dataclasses.asdict(make_receipt(state="ready"))
    path.write_text(json.dumps({"format": 1, **{name: document[name] for name in earliest}}))
    assert receipts.read_all() == ([make_receipt()], [])


def test_what_is_known_of_the_image_is_kept(receipts: Receipts) -> None:
    receipt = make_receipt(
        parent={"catalog_id": "base", "digest": "1"},
        requires={"macos": "15"},
        superseded_by="1.5",
        provenance={"builder": "x"},
        labels={"team": "ci"},
        release_notes="new",
        phases={"clone": 0.5},
    )
    receipts.write(receipt)
    assert receipts.read(UUID) == receipt


def test_receipt_of_a_later_format_has_an_error_of_its_own(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipts.write(make_receipt())
    path = tmp_path / f"{UUID}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UnknownReceipt, match=r"has the format 2.*Update the collection") as caught:
        receipts.read(UUID)
    assert caught.value.code == "unknown_receipt"
    (unreadable,) = receipts.survey()[1]
    assert (unreadable.vm_uuid, unreadable.vm_name, unreadable.path) == (UUID, "runner-01", str(path))
    assert isinstance(unreadable.error, UnknownReceipt)


def test_receipt_under_the_name_of_another(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipts.write(make_receipt())
    (tmp_path / f"{UUID}.json").rename(tmp_path / f"{OTHER}.json")
    assert receipts.read_all() == ([], [f"{OTHER}.json"])


def test_links_pipes_and_directories_are_not_read(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipts.write(make_receipt())
    (tmp_path / f"{UUID}.json").rename(tmp_path / "elsewhere")
    (tmp_path / f"{UUID}.json").symlink_to("elsewhere")
    os.mkfifo(tmp_path / f"{OTHER}.json")
    (tmp_path / f"2{UUID[1:]}.json").mkdir()
    (tmp_path / ".tmp-left-over").touch()
    assert receipts.read_all() == ([], sorted([f"{UUID}.json", f"{OTHER}.json", f"2{UUID[1:]}.json"]))


@pytest.mark.parametrize("uuid", ["", "..", "../" + UUID, UUID.upper(), UUID + "\n"])
def test_what_is_no_uuid_names_no_file(receipts: Receipts, uuid: str) -> None:
    for call in (receipts.read, receipts.remove):
        with pytest.raises(ReceiptInvalid, match="is not the UUID"):
            call(uuid)


def test_secrets_in_an_address_are_not_kept(receipts: Receipts, tmp_path: pathlib.Path) -> None:
    receipts.write(make_receipt(catalog_url="https://user:hunter2@catalog.example.com/?token=hunter2"))
    assert "hunter2" not in (tmp_path / f"{UUID}.json").read_text()
