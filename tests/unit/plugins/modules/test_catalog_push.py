# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""catalog_push from its options to its result: with a recorded catalog and a real storage."""

from __future__ import annotations

import errno
import json
import os
import resource
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Request
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import run as _push
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, file_clone, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import chunks, index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index
from ansible_collections.macfleet.parallels.plugins.modules import catalog_push
from ansible_collections.macfleet.parallels.tests.unit.support import storage
from ansible_collections.macfleet.parallels.tests.unit.support.hosts import (
    Host,
    cancel_when,
    handover,
)
from ansible_collections.macfleet.parallels.tests.unit.support.images import (
    CHUNK,
    OTHER_CHUNKS,
    Image,
    change_disk,
    image_of,
    make_bundle,
    manifest_of,
    tree,
    unpack,
)
from ansible_collections.macfleet.parallels.tests.unit.support.modules import assert_failed
from ansible_collections.macfleet.parallels.tests.unit.support.recording import ANY, ANY_BYTES, BASE_URL, refusal

UPLOAD = "0f" * 16
BEGUN: dict[str, t.Any] = {
    "catalog_id": "macos-15",
    "version": "1.5",
    "architecture": "arm64",
    "type": "pvm",
    "name": "sample.pvm",
    "chunk_size": CHUNK,
    "bases": [],
    "force": False,
}


class Pusher:
    """A host with a bundle to push as version 1.5."""

    def __init__(self, host: Host, bundle: Path) -> None:
        self.host = host
        self.bundle = bundle

    def push(self, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """What catalog_push returns."""
        given = {
            "handover": handover(),
            "use_proxy": False,
            "path": str(self.bundle),
            "catalog_id": "macos-15",
            "version": "1.5",
            "architecture": "arm64",
            "chunk_size": CHUNK,
            "cache_path": str(self.host.cache),
            "deltas": False,
            **options,
        }
        return self.host.run(catalog_push.main, given, check_mode=check_mode)

    def expect_begin(
        self, leased: t.Sequence[Image] = (), segments: t.Sequence[dict[str, t.Any]] = (), **body: t.Any
    ) -> None:
        """Record the begin of an upload that leases these bases and has these segments already."""
        body = {**BEGUN, "bases": [base.id for base in leased], **body}
        reply = upload_record(body["chunk_size"], leased, segments)
        self.host.expect("POST", "uploads", body=body, reply=reply)

    def expect_url(self) -> None:
        """Record a request for a URL that stores a segment."""
        self.host.expect("POST", f"uploads/{UPLOAD}/urls", body=ANY, reply=lambda asked: self.host.urls(asked, UPLOAD))

    def expect_commit(self, **answer: t.Any) -> None:
        """Record a commit that makes a version of what was sent, or is refused."""
        answer = answer or {"reply": committed}
        self.host.expect("POST", f"uploads/{UPLOAD}/commit", query={"revision": "r1"}, body=ANY_BYTES, **answer)

    def expect_push(self, **begun: t.Any) -> None:
        """Record all that a push of something new asks, without the indexes of its bases."""
        self.expect_begin(**begun)
        self.expect_url()
        self.expect_commit()

    def last_index(self) -> index.Index:
        """What was committed last."""
        return decode_index(self.host.catalog.requests[-1].body or b"")

    def stored(self) -> list[str]:
        """Paths of the objects that were stored, in order."""
        return self.host.transferred("PUT")


def upload_record(
    chunk_size: int = CHUNK, leased: t.Sequence[Image] = (), segments: t.Sequence[dict[str, t.Any]] = ()
) -> dict[str, t.Any]:
    return {
        "id": UPLOAD,
        "expires_at": 4000000000,
        "storage": "local",
        "chunk_size": chunk_size,
        "revision": "r1",
        "bases": [base.manifest for base in leased],
        "segments": segments,
    }


def committed(request: Request) -> dict[str, t.Any]:
    return manifest_of(decode_index(request.body or b""), version="1.5")


@pytest.fixture(name="pusher")
def pusher_fixture(host: Host, tmp_path: Path) -> Pusher:
    return Pusher(host, make_bundle(host.disk / "build", 1, 2, 0, 3))


@pytest.fixture(name="base")
def base_fixture(pusher: Pusher, tmp_path: Path) -> Image:
    """The version before: one chunk of the disk is another one."""
    image = image_of(make_bundle(tmp_path / "before", 1, 7, 0, 3))
    pusher.host.storage.objects.update(image.objects)
    return image


@pytest.fixture(name="there")
def there_fixture(pusher: Pusher) -> Image:
    """The bundle as a version that exists already."""
    return image_of(pusher.bundle, "1.5")


def assert_predicted(prediction: dict[str, t.Any], result: dict[str, t.Any]) -> None:
    """Check mode told everything but how small the new chunks become; that it marks as estimated."""
    for name in ("changed", "chunks", "bases", "bundle", "diff"):
        assert prediction[name] == result[name], name
    told, sent = dict(prediction["bytes"]), dict(result["bytes"])
    assert told.pop("encoded") == pytest.approx(sent.pop("encoded"), rel=0.2)
    assert told == sent
    assert (prediction["encoded_is_estimate"], result["encoded_is_estimate"]) == (True, False)
    # "latest" follows the newest push by itself.
    said, made = ({**one["manifest"], "tags": {*one["manifest"]["tags"]} - {"latest"}} for one in (prediction, result))
    assert {name: made[name] for name in said} == said


# What is uploaded


@pytest.mark.parametrize("codec", ["deflate", "zstd", "raw"])
def test_a_new_version_is_uploaded_as_check_mode_said(pusher: Pusher, tmp_path: Path, codec: str) -> None:
    prediction = pusher.push(check_mode=True, codec=codec)
    pusher.expect_push()
    result = pusher.push(codec=codec)
    assert_predicted(prediction, result)
    assert (result["changed"], result["chunks"]) == (True, {"new": 3 + OTHER_CHUNKS, "reused": 0})
    assert (result["bytes"]["encoded"] < result["bytes"]["new"]) == (codec != "raw")
    assert result["bytes"]["logical"] == pusher.last_index().listing.logical_bytes
    assert result["diff"]["before"] == {}
    assert len(pusher.stored()) == 1
    assert tree(unpack(pusher.last_index(), pusher.host.storage.objects, tmp_path / "again")) == tree(pusher.bundle)


def test_only_what_the_base_has_not_is_uploaded(pusher: Pusher, base: Image, tmp_path: Path) -> None:
    given = handover(bases=[base])
    pusher.host.expect_index(base)
    prediction = pusher.push(check_mode=True, handover=given)
    pusher.expect_begin([base])
    pusher.host.expect_index(base)
    pusher.expect_url()
    pusher.expect_commit()
    result = pusher.push(handover=given)
    assert_predicted(prediction, result)
    assert (result["chunks"], result["bases"]) == ({"new": 1, "reused": 2 + OTHER_CHUNKS}, ["1.4"])
    assert result["bytes"]["new"] == CHUNK
    assert len(pusher.host.storage.objects[pusher.stored()[0]]) < CHUNK
    assert tree(unpack(pusher.last_index(), pusher.host.storage.objects, tmp_path / "again")) == tree(pusher.bundle)


def test_a_base_that_the_server_does_not_lease_is_not_used(pusher: Pusher, base: Image) -> None:
    pusher.expect_push(bases=[base.id])
    result = pusher.push(handover=handover(bases=[base]))
    assert (result["chunks"]["reused"], result["bases"]) == (0, [])


@pytest.mark.parametrize(
    "fields",
    [{"architecture": "x86_64"}, {"chunk_size": 2 * CHUNK}, {"required_roles": ["BUILD"]}],
    ids=["architecture", "chunk size", "audience"],
)
def test_a_base_that_cannot_be_used_is_not_named(pusher: Pusher, base: Image, fields: dict[str, t.Any]) -> None:
    base.manifest.update(fields)
    assert pusher.push(check_mode=True, handover=handover(bases=[base]))["chunks"]["reused"] == 0
    pusher.expect_push()
    assert pusher.push(handover=handover(bases=[base]))["chunks"]["reused"] == 0


def test_the_chunk_size_is_that_of_the_base(pusher: Pusher, tmp_path: Path) -> None:
    base = image_of(make_bundle(tmp_path / "before", 5), chunk_size=2 * CHUNK)
    pusher.expect_begin([base], chunk_size=2 * CHUNK)
    pusher.host.expect_index(base)
    pusher.expect_url()
    pusher.expect_commit()
    result = pusher.push(handover=handover(bases=[base]), chunk_size=None)
    assert result["manifest"]["chunk_size"] == 2 * CHUNK


@pytest.mark.parametrize("exists", [True, False])
def test_a_bundle_that_outgrew_its_chunks_is_pushed_in_larger_ones(
    pusher: Pusher, there: Image, base: Image, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many chunks as a pack may have: those of the version before are too small then.
    monkeypatch.setattr(index, "MAX_CHUNKS", 12)
    given = handover([there] if exists else [], bases=[] if exists else [base])
    result = pusher.push(check_mode=True, handover=given, chunk_size=None, force=True)
    assert result["manifest"]["chunk_size"] == chunks.DEFAULT_CHUNK_SIZE
    assert result["changed"]
    assert ["has grown too large" in warning for warning in result["warnings"]] == [True]


def test_everything_that_is_said_about_a_version_is_sent(pusher: Pusher) -> None:
    said = {
        "description": "With Xcode",
        "tags": ["stable"],
        "required_roles": ["BUILD"],
        "required_claims": ["READ"],
        "minimum_requirements": {"cpu": 4, "memory_mb": 8192, "disk_mb": 0},
    }
    prediction = pusher.push(check_mode=True, **said)
    assert {name: prediction["manifest"][name] for name in said} == said
    pusher.expect_push(**said)
    assert pusher.push(**said)["changed"]


def test_a_prediction_is_written_as_the_server_writes_it(pusher: Pusher) -> None:
    spelled = {
        "catalog_id": "MacOS 15",
        "version": "1.5-RC1",
        "required_roles": ["test", "build er"],
        "tags": ["Stable"],
    }
    manifest = pusher.push(check_mode=True, **spelled)["manifest"]
    assert {name: manifest[name] for name in spelled} == {
        "catalog_id": "macos_15",
        "version": "1.5-rc1",
        "required_roles": ["BUILD_ER", "TEST"],
        "tags": ["stable"],
    }


# A version that exists


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_pushing_the_same_again_changes_nothing(pusher: Pusher, there: Image, check_mode: bool, force: bool) -> None:
    result = pusher.push(check_mode=check_mode, handover=handover([there]), force=force)
    assert (result["changed"], result["manifest"]) == (False, there.manifest)
    # Nothing was uploaded, whatever the bases have.
    assert result["chunks"] == {"new": 0, "reused": 3 + OTHER_CHUNKS}
    assert (result["bytes"]["new"], result["bytes"]["encoded"], result["encoded_is_estimate"]) == (0, 0, False)
    assert result["diff"]["before"] == result["diff"]["after"]
    assert not pusher.host.storage.seen


def test_the_same_is_the_same_in_the_chunks_of_the_version(pusher: Pusher) -> None:
    there = image_of(pusher.bundle, "1.5", chunk_size=4 * CHUNK)
    assert not pusher.push(handover=handover([there]))["changed"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_other_content_at_the_same_version_is_refused(pusher: Pusher, there: Image, check_mode: bool) -> None:
    change_disk(pusher.bundle, 1, seed=9)
    result = pusher.push(check_mode=check_mode, handover=handover([there]))
    assert_failed(result, "version_exists", "macos-15 1.5 (arm64) exists with other content")
    assert "force" in result["hint"]


def test_force_replaces_other_content(pusher: Pusher, there: Image) -> None:
    change_disk(pusher.bundle, 1, seed=9)
    prediction = pusher.push(check_mode=True, handover=handover([there]), force=True)
    digest = image_of(pusher.bundle).digest
    pusher.expect_push(force=True, expected_digest=digest)
    result = pusher.push(handover=handover([there]), force=True)
    assert_predicted(prediction, result)
    assert (result["diff"]["before"]["digest"], result["diff"]["after"]["digest"]) == (there.digest, digest)


def test_a_replacement_keeps_what_the_task_does_not_say(pusher: Pusher, there: Image) -> None:
    kept = {"description": "Old", "tags": ["stable"], "required_roles": ["BUILD"]}
    there.manifest.update(kept)
    change_disk(pusher.bundle, 1, seed=9)
    prediction = pusher.push(check_mode=True, handover=handover([there]), force=True)
    pusher.expect_begin(force=True, expected_digest=image_of(pusher.bundle).digest)
    pusher.expect_url()
    pusher.expect_commit(reply=lambda asked: {**committed(asked), **kept})
    assert_predicted(prediction, pusher.push(handover=handover([there]), force=True))


def test_what_is_not_set_is_warned_of(pusher: Pusher, there: Image) -> None:
    result = pusher.push(handover=handover([there]), description="New", tags=["stable"])
    assert not result["changed"]
    assert ["description, tags was not set" in warning for warning in result["warnings"]] == [True]
    assert "warnings" not in pusher.push(handover=handover([there]), description="", tags=[])


def test_the_version_of_another_architecture_does_not_count(pusher: Pusher, there: Image) -> None:
    there.manifest["architecture"] = "x86_64"
    pusher.expect_push()
    assert pusher.push(handover=handover([there]))["changed"]


# Interruptions


def test_a_push_whose_commit_was_not_answered_goes_on_from_there(pusher: Pusher) -> None:
    pusher.expect_begin()
    pusher.expect_url()
    pusher.expect_commit(error=NotConnected("no answer within 900 seconds"))
    assert_failed(pusher.push(), "unreachable", f"Could not commit the upload {UPLOAD}")
    (path,) = pusher.stored()
    pusher.expect_begin(segments=[segment_of(pusher.host, path)])
    pusher.expect_commit()
    result = pusher.push()
    assert (result["chunks"]["new"], result["resumed_bytes"]) == (0, len(pusher.host.storage.objects[path]))
    assert pusher.stored() == [path]
    assert [segment.sha256 for segment in pusher.last_index().locator.segments] == [path.rpartition("/")[2]]


def test_what_was_uploaded_before_an_interruption_is_not_uploaded_again(pusher: Pusher, tmp_path: Path) -> None:
    begun = image_of(make_bundle(tmp_path / "half", 1, 2, 0, 0), pack=UPLOAD)
    pusher.host.storage.objects.update(begun.objects)
    (path,) = begun.objects
    pusher.expect_push(segments=[segment_of(pusher.host, path)])
    result = pusher.push()
    assert result["chunks"] == {"new": 1, "reused": 2 + OTHER_CHUNKS}
    assert result["resumed_bytes"] == begun.manifest["stored_bytes"]
    assert tree(unpack(pusher.last_index(), pusher.host.storage.objects, tmp_path / "again")) == tree(pusher.bundle)


@pytest.mark.parametrize("damaged", [None, b"", b"x" * 4096], ids=["lost", "cut", "garbled"])
def test_what_an_interrupted_push_has_uploaded_and_the_storage_lost_is_uploaded_again(
    pusher: Pusher, tmp_path: Path, damaged: bytes | None
) -> None:
    begun = image_of(make_bundle(tmp_path / "half", 1, 2, 0, 0), pack=UPLOAD)
    objects = pusher.host.storage.objects
    objects.update(begun.objects)
    (path,) = begun.objects
    stored = segment_of(pusher.host, path)
    del objects[path]
    if damaged is not None:
        objects[path] = damaged.ljust(stored["size"], b"x")
    pusher.expect_push(segments=[stored])
    result = pusher.push()
    assert result["resumed_bytes"] == 0
    assert result["chunks"] == {"new": 3 + OTHER_CHUNKS, "reused": 0}
    assert f"Segment {stored['sha256']} of the interrupted upload {UPLOAD} cannot be read." in result["warnings"][0]
    assert tree(unpack(pusher.last_index(), objects, tmp_path / "again")) == tree(pusher.bundle)


def test_a_url_of_an_interrupted_push_that_has_expired_is_renewed(pusher: Pusher) -> None:
    begun = image_of(pusher.bundle, pack=UPLOAD)
    pusher.host.storage.objects.update(begun.objects)
    pusher.host.storage.faults.append(storage.status(403))
    (path,) = begun.objects
    pusher.expect_begin(segments=[segment_of(pusher.host, path)])
    again = upload_record(segments=[segment_of(pusher.host, path)])
    pusher.host.expect("GET", f"uploads/{UPLOAD}", reply=again)
    pusher.expect_commit()
    assert pusher.push()["chunks"]["new"] == 0
    refused, taken = pusher.host.used_urls()
    assert refused != taken


def segment_of(host: Host, path: str) -> dict[str, t.Any]:
    """A segment that an upload has already."""
    _root, pack, name = path.split("/")
    return {"sha256": name, "size": len(host.storage.objects[path]), "url": host.url(pack, name), "expires_in": 900}


@pytest.mark.parametrize(
    ("word", "status"),
    [("version_exists", 409), ("missing_segment", 409), ("unknown_segment", 404), ("invalid_index", 400)],
)
def test_a_refused_commit_is_one_clear_failure(pusher: Pusher, word: str, status: int) -> None:
    pusher.expect_begin()
    pusher.expect_url()
    pusher.expect_commit(**refusal(word, status, "The reason."))
    result = pusher.push()
    assert_failed(result, word, f"Could not commit the upload {UPLOAD} at {BASE_URL}/api/v1: The reason.")
    assert result["details"] == {"attempts": 1, "status": status, "request_id": "r-1"}


def test_a_refused_begin_is_one_clear_failure(pusher: Pusher) -> None:
    pusher.host.expect("POST", "uploads", body=ANY, **refusal("forbidden", 403, "You may not push."))
    assert_failed(pusher.push(), "forbidden", "You may not push.")
    assert not pusher.stored()


def test_a_url_that_has_expired_is_renewed(pusher: Pusher) -> None:
    pusher.expect_begin()
    pusher.expect_url()
    pusher.expect_url()
    pusher.expect_commit()
    pusher.host.storage.faults.append(storage.status(403))
    assert pusher.push()["changed"]
    refused, taken = pusher.host.used_urls()
    assert refused != taken


@pytest.mark.parametrize(
    ("status", "code", "urls"), [(403, "storage_denied", 2), (507, "storage_full", 1), (400, "storage_refused", 1)]
)
def test_what_the_storage_refuses_is_not_committed(pusher: Pusher, status: int, code: str, urls: int) -> None:
    pusher.expect_begin()
    for _time in range(urls):
        pusher.expect_url()
    pusher.host.storage.faults += [storage.status(status)] * urls
    assert_failed(pusher.push(), code, f"the storage answered {status}")


# Bundles that cannot be pushed


def test_a_bundle_that_changes_meanwhile_is_not_committed(pusher: Pusher) -> None:
    def written_to(handler: storage.Handler) -> bool:
        change_disk(pusher.bundle, 0, seed=9)
        return False

    before = tree(pusher.bundle)
    pusher.host.storage.faults.append(written_to)
    pusher.expect_begin()
    pusher.expect_url()
    if volumes.has_clones(str(pusher.bundle)):
        pusher.expect_commit()
        assert pusher.push()["cloned"]
    else:
        assert_failed(pusher.push(), "bundle_changed", "changed while it was read")
    assert tree(pusher.bundle) != before
    assert os.listdir(pusher.bundle.parent) == ["sample.pvm"]


@pytest.fixture
def clones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is taken to have clones; copies stand in for them."""
    monkeypatch.setattr(volumes, "has_clones", lambda path: True)
    monkeypatch.setattr(file_clone, "probe", lambda directory: True)


def test_where_there_are_clones_one_is_pushed(pusher: Pusher, clones: None) -> None:
    before = tree(pusher.bundle)
    left = pusher.bundle.with_name(f".push-{'0' * 32}-sample.pvm")
    for path in (left, left.with_name(f".{left.name}.incomplete")):
        path.mkdir()
    # Somebody's own, whose name only resembles.
    pusher.bundle.with_name(".push-mine-sample.pvm").mkdir()

    def written_to(handler: storage.Handler) -> bool:
        change_disk(pusher.bundle, 0, seed=9)
        return False

    pusher.host.storage.faults.append(written_to)
    pusher.expect_push()
    assert pusher.push()["cloned"]
    assert tree(pusher.bundle) != before
    assert tree(unpack(pusher.last_index(), pusher.host.storage.objects, pusher.host.home / "again")) == before
    assert sorted(os.listdir(pusher.bundle.parent)) == [".push-mine-sample.pvm", "sample.pvm"]


@pytest.mark.parametrize(("event", "code"), [("written", "bundle_changed"), ("started", "bundle_in_use")])
def test_what_happens_before_the_clone_is_made_is_noticed(pusher: Pusher, clones: None, event: str, code: str) -> None:
    pusher.host.install_parallels()
    pusher.host.prlctl("register", str(pusher.bundle))

    def begun(asked: Request) -> dict[str, t.Any]:
        if event == "written":
            change_disk(pusher.bundle, 0, seed=9)
        else:
            pusher.host.prlctl("start", "sample")
        return upload_record()

    pusher.host.expect("POST", "uploads", body=BEGUN, reply=begun)
    assert_failed(pusher.push(), code, "sample")
    assert os.listdir(pusher.bundle.parent) == ["sample.pvm"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_the_bundle_of_a_running_vm_is_refused(pusher: Pusher, check_mode: bool) -> None:
    host = pusher.host
    host.install_parallels()
    host.prlctl("register", str(pusher.bundle))
    host.prlctl("start", "sample")
    assert_failed(pusher.push(check_mode=check_mode), "bundle_in_use", "sample")
    assert host.asked_of_parallels() == ["register", "start"]


def test_the_bundle_of_a_suspended_vm_takes_an_option(pusher: Pusher) -> None:
    host = pusher.host
    host.install_parallels()
    host.simulated.behave(leaves_lock=False)
    for words in (["register", str(pusher.bundle)], ["start", "sample"], ["suspend", "sample"]):
        host.prlctl(*words)
    assert_failed(pusher.push(), "bundle_in_use", "is suspended")
    pusher.expect_push()
    assert pusher.push(allow_suspended=True)["changed"]


def test_parallels_is_asked_once_for_the_plan_and_once_for_the_push(pusher: Pusher) -> None:
    host = pusher.host
    host.install_parallels()
    host.prlctl("register", str(pusher.bundle))
    before = len(host.simulated.calls())
    assert pusher.push(check_mode=True)["changed"]
    assert len(host.simulated.calls()) - before == 1
    pusher.expect_push()
    assert pusher.push()["changed"]
    assert len(host.simulated.calls()) - before == 3


def test_a_lock_file_that_a_run_left_behind_is_not_in_the_way(pusher: Pusher) -> None:
    host = pusher.host
    host.install_parallels()
    for words in (["register", str(pusher.bundle)], ["start", "sample"], ["stop", "sample", "--kill"]):
        host.prlctl(*words)
    assert (pusher.bundle / "vm.lock").exists()
    pusher.expect_push()
    assert pusher.push()["changed"]
    assert "vm.lock" not in {entry.path for entry in pusher.last_index().listing.entries}


def test_what_the_bundle_refers_to_elsewhere_is_warned_of_once(pusher: Pusher) -> None:
    text = (pusher.bundle / "config.pvs").read_text("utf-8")
    device = "<CdRom><SystemName>/Users/build/win.iso</SystemName></CdRom></Hardware>"
    (pusher.bundle / "config.pvs").write_text(text.replace("</Hardware>", device), "utf-8")
    pusher.expect_push()
    assert ["win.iso" in warning for warning in pusher.push()["warnings"]] == [True]


def test_a_volume_that_has_no_room_for_the_clone(pusher: Pusher, clones: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(clone, "make_clone", full)
    pusher.expect_begin()
    result = pusher.push()
    assert result["failed"]
    assert result["error_code"] not in ("system_failure", "internal_error")
    assert "No space left on device" in result["msg"]
    assert os.listdir(pusher.bundle.parent) == ["sample.pvm"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EDEADLK])
@pytest.mark.parametrize("check_mode", [True, False])
def test_a_file_that_cannot_be_read_is_one_clear_failure(
    pusher: Pusher, number: int, check_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv

    def preadv(descriptor: int, buffers: t.Any, offset: int) -> int:
        if sum(len(buffer) for buffer in buffers) >= 4 * CHUNK:
            raise OSError(number, os.strerror(number))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    if not check_mode:
        pusher.expect_begin()
    result = pusher.push(check_mode=check_mode)
    assert_failed(result, "unreadable_bundle", ".hds")
    assert result["details"]["errno"] == errno.errorcode[number]
    assert not pusher.stored()


def test_a_bundle_of_many_files_is_pushed_with_256_descriptors(pusher: Pusher) -> None:
    for number in range(600):
        (pusher.bundle / f"file {number}").write_bytes(b"%d" % number)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        pusher.expect_push()
        assert pusher.push()["changed"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("name", ["nowhere.pvm", "build", "empty.pvm"])
def test_what_is_no_bundle_takes_no_request(pusher: Pusher, name: str, check_mode: bool) -> None:
    (pusher.host.disk / "empty.pvm").mkdir()
    result = pusher.push(path=str(pusher.host.disk / name), check_mode=check_mode)
    assert_failed(result, "invalid_bundle", str(pusher.host.disk / name))


def test_a_chunk_size_that_cannot_be(pusher: Pusher) -> None:
    assert_failed(pusher.push(chunk_size=CHUNK + 1), "invalid_option", f"{CHUNK + 1}")


def test_a_prlctl_that_is_not_there(pusher: Pusher, tmp_path: Path) -> None:
    assert_failed(pusher.push(prlctl_path=str(tmp_path / "none")), "prlctl_missing", "no program")


def test_without_its_action_plugin(pusher: Pusher) -> None:
    assert_failed(pusher.push(handover=None), "no_handover", "action plugin")


# Long transfers


def test_a_long_push_can_be_watched(pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_push, "SHORT_BYTES", 3 * CHUNK - 1)
    progress = tmp_path / "progress"
    given = handover(progress_path=str(progress))
    pusher.push(handover=given, check_mode=True)
    assert not progress.exists()
    pusher.expect_push()
    result = pusher.push(handover=given)
    told = json.loads(progress.read_bytes())
    assert (told["phase"], told["total_bytes"], told["pid"]) == ("push", result["bytes"]["logical"], os.getpid())


def test_a_short_push_is_done_at_once(pusher: Pusher, tmp_path: Path) -> None:
    pusher.expect_push()
    assert pusher.push(handover=handover(progress_path=str(tmp_path / "progress")))["changed"]
    assert not (tmp_path / "progress").exists()


def test_whoever_watches_can_end_it(pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel_when("push", tmp_path / "progress", monkeypatch)
    pusher.expect_begin()
    result = pusher.push(handover=handover(progress_path=str(tmp_path / "progress")))
    assert_failed(result, "cancelled", "cancelled by the controller")
    assert not pusher.stored()
