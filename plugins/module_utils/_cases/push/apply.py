# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Carries out the plan of a push: uploads what is new, then commits."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload as OpenUpload
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import UploadedSegment, UploadRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import bases
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.keep import keep, will_keep
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.plan import (
    Change,
    Nothing,
    Subject,
    Upload,
    encoder,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.readable import readable
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.stopped import check_untouched
from ansible_collections.macfleet.parallels.plugins.module_utils._host import power
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, index, segments, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_apply import apply_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.delta_file import decode_delta
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import encode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageMissing

# Requests at once for the trailers of an upload that is resumed.
_TRAILERS = 4


@dataclass(frozen=True)
class Sizes:
    """Distinct chunks that are not holes, and bytes; ``encoded_bytes`` are those of the new chunks."""

    logical_bytes: int
    new_chunks: int = 0
    new_bytes: int = 0
    reused_chunks: int = 0
    reused_bytes: int = 0
    encoded_bytes: int = 0


@dataclass(frozen=True)
class DeltaSizes:
    """The bytes of a delta and of its patches, and the version that it starts from."""

    base: str
    delta_bytes: int
    patch_bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a push did, or in check mode would do; ``is_estimate`` if encoded bytes and deltas are not exact."""

    changed: bool
    manifest: t.Mapping[str, t.Any]
    before: t.Mapping[str, t.Any]
    sizes: Sizes
    is_estimate: bool = False
    cloned: bool = False
    resumed_bytes: int = 0
    bases: tuple[str, ...] = ()
    deltas: tuple[DeltaSizes, ...] = ()
    kept_in_cache: bool = False


def unchanged(made: Nothing) -> Outcome:
    """Returns the outcome of a push that has nothing to do: the catalog has every chunk."""
    scan, manifest = made.scan, made.existing.to_json()
    sizes = Sizes(
        made.subject.snapshot.logical_bytes,
        reused_chunks=scan.new_chunks + scan.reused_chunks,
        reused_bytes=scan.new_bytes + scan.reused_bytes,
    )
    return Outcome(False, manifest, manifest, sizes, bases=_versions(made.subject.bases))


def predict(made: Change, context: Context) -> Outcome:
    """Returns the outcome that a plan would have, without carrying it out."""
    scan = made.scan
    sizes = Sizes(
        made.subject.snapshot.logical_bytes,
        scan.new_chunks,
        scan.new_bytes,
        scan.reused_chunks,
        scan.reused_bytes,
        scan.encoded_bytes,
    )
    versions = {base.digest: base.version for base in made.subject.bases}
    return Outcome(
        True,
        _predicted_manifest(made),
        made.replaced.to_json() if made.replaced else {},
        sizes,
        is_estimate=scan.is_estimate,
        bases=_versions(made.subject.bases),
        deltas=tuple(DeltaSizes(versions[delta.base], delta.delta_bytes, delta.patch_bytes) for delta in scan.deltas),
        kept_in_cache=made.subject.request.keep_in_cache and will_keep(made.subject.snapshot.root, context),
    )


def apply(made: t.Union[Upload, Change], context: Context) -> Outcome:
    """Upload what is new, then commit. The next push of the same version resumes an upload that is interrupted.

    :raises BundleChanged, BundleInUse: somebody wrote to the bundle, or started its VM, while it was read
    """
    subject = made.subject
    upload = context.catalog.begin_upload(_upload_request(made))
    shared = tuple(base for base in upload.bases if base.chunk_size == subject.snapshot.chunk_size)
    with readable(subject, upload.id, context) as (snapshot, cloned):
        known = KnownChunks()
        resumed_bytes = _add_resumed(known, upload, context)
        read = bases.read_bases(shared, context.catalog)
        bases.add_bases(known, read)
        written = _write(snapshot, known, read, upload, subject, context)
        body = _index_of(written, written.deltas)
        _check_own_index(body, written, read, upload)
        if not cloned:
            check_untouched(subject.request, subject.snapshot, context.parallels)
        manifest, deltas = _commit(body, written, upload, context)
        kept = subject.request.keep_in_cache and keep(
            snapshot, written.listing, manifest, subject.request.catalog_url, context, cloned=cloned
        )
    sizes = Sizes(
        snapshot.logical_bytes,
        written.new_chunks,
        written.new_bytes,
        written.reused_chunks,
        written.reused_bytes,
        written.new_encoded_bytes,
    )
    replaced = made.replaced if isinstance(made, Change) else None
    return Outcome(
        True,
        manifest.to_json(),
        replaced.to_json() if replaced else {},
        sizes,
        cloned=cloned,
        resumed_bytes=resumed_bytes,
        bases=_versions(shared),
        deltas=_delta_sizes(shared, deltas),
        kept_in_cache=kept,
    )


def _index_of(written: writer.WrittenPack, deltas: t.Iterable[writer.WrittenDelta]) -> bytes:
    """Return the body of a commit."""
    files = [delta.file for delta in deltas]
    return encode_index(encode_listing(written.listing), encode_locator(written.locator), files)


def _commit(
    body: bytes, written: writer.WrittenPack, upload: OpenUpload, context: Context
) -> tuple[Manifest, tuple[writer.WrittenDelta, ...]]:
    """Commit an upload; return the manifest and the deltas that were taken with it."""
    try:
        return context.catalog.commit_upload(upload.id, upload.revision, body), written.deltas
    except Missing as error:
        # What is used of a base is leased, and its content may have been replaced since: no delta starts from it then.
        if error.code != "unknown_segment" or not written.deltas:
            raise
        manifest = context.catalog.commit_upload(upload.id, upload.revision, _index_of(written, ()))
        context.warn(
            f"{manifest.catalog_id} {manifest.version} is pushed without deltas, because a version that they start "
            f"from was changed meanwhile: {error.message}"
        )
        return manifest, ()


def _delta_sizes(shared: t.Iterable[Manifest], deltas: t.Iterable[writer.WrittenDelta]) -> tuple[DeltaSizes, ...]:
    versions = {base.digest: base.version for base in shared}
    return tuple(DeltaSizes(versions[delta.base], len(delta.file), delta.patch_bytes) for delta in deltas)


def _write(
    snapshot: bundle.Snapshot,
    known: KnownChunks,
    read: t.Sequence[bases.KnownBase],
    upload: OpenUpload,
    subject: Subject,
    context: Context,
) -> writer.WrittenPack:
    context.progress.start("push", snapshot.logical_bytes)
    sink, patch_sink = context.transfers.upload_sink(upload), context.transfers.patch_sink(upload)
    budget = bases.Budget(subject.request.delta_budget)

    def cancel() -> None:
        sink.cancel()
        patch_sink.cancel()

    with power.awake(power.caffeinate()):
        written = writer.write_pack(
            snapshot,
            known,
            encoder(subject.request),
            sink.put,
            uploads=context.transfers.put_workers,
            advance=context.progress.advance,
            cancel=cancel,
            bases=bases.compared(read if subject.request.deltas else (), budget, context).bases,
            put_patches=patch_sink.put,
            encoded=budget.earn,
        )
    context.progress.reused(written.reused_bytes)
    return written


def _add_resumed(known: KnownChunks, upload: OpenUpload, context: Context) -> int:
    """Make known what an interrupted push has uploaded already; returns its bytes.

    A segment that the storage has lost or damaged is left out: its chunks are uploaded again.
    """
    source = context.transfers.upload_source(upload)

    def rows_of(stored: UploadedSegment) -> tuple[index.SegmentRef, t.Optional[list[segments.TrailerRow]]]:
        segment = index.SegmentRef(upload.id, stored.sha256, stored.size)

        def fetch(offset: int, length: int) -> bytes:
            return bytes(source.fetch(segment, offset, length))

        try:
            return segment, segments.fetch_trailer(fetch, stored.size)
        except (StorageMissing, MalformedIndex):
            return segment, None

    total = 0
    stage = pipeline.ordered_map(
        rows_of, upload.segments, workers=_TRAILERS, window=2 * _TRAILERS, cancel=source.cancel
    )
    with contextlib.closing(stage) as trailers:
        for segment, rows in trailers:
            if rows is None:
                context.warn(
                    f"Segment {segment.sha256} of the interrupted upload {upload.id} cannot be read."
                    " Its chunks are uploaded again."
                )
                continue
            known.add_trailer(segment, rows)
            total += segment.size
    return total


def _upload_request(made: t.Union[Upload, Change]) -> UploadRequest:
    subject = made.subject
    request, snapshot = subject.request, subject.snapshot
    return UploadRequest(
        catalog_id=request.catalog_id,
        version=request.version,
        architecture=subject.architecture,
        type=snapshot.type,
        name=snapshot.name,
        chunk_size=snapshot.chunk_size,
        description=request.description,
        tags=_tuple(request.tags),
        required_roles=_tuple(request.required_roles),
        required_claims=_tuple(request.required_claims),
        minimum_requirements=request.minimum_requirements,
        bases=tuple(base.id for base in subject.bases),
        force=request.force,
        expected_digest=made.scan.listing.digest if isinstance(made, Change) else None,
    )


def _predicted_manifest(made: Change) -> dict[str, t.Any]:
    subject = made.subject
    return {
        "catalog_id": addresses.normalise_catalog_id(subject.request.catalog_id),
        "version": addresses.normalise_version(subject.request.version),
        "architecture": subject.architecture,
        "type": subject.snapshot.type,
        "name": subject.snapshot.name,
        **subject.metadata.to_json(),
        "digest": made.scan.listing.digest,
        "chunk_size": subject.snapshot.chunk_size,
        "logical_bytes": subject.snapshot.logical_bytes,
    }


def _check_own_index(
    body: bytes, written: writer.WrittenPack, read: t.Sequence[bases.KnownBase], upload: OpenUpload
) -> None:
    """Read back what is about to be committed: a fault of memory must not become a manifest."""
    again = decode_index(body)
    listings = {base.listing.digest: base.listing for base in read}
    is_same = again.listing == written.listing and again.locator == written.locator
    for delta, file in zip(written.deltas, again.delta_files):
        is_same = is_same and apply_delta(decode_delta(file, upload.id), listings[delta.base]).listing == again.listing
    if not is_same:
        raise PackError(
            "The index that was made does not read back as itself, so the memory or the processor of this host "
            "is faulty."
        )


def _versions(manifests: t.Iterable[Manifest]) -> tuple[str, ...]:
    return tuple(base.version for base in manifests)


def _tuple(names: t.Optional[t.Sequence[str]]) -> t.Optional[tuple[str, ...]]:
    return None if names is None else tuple(names)
