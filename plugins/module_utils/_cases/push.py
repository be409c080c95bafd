# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Push: a version of a catalog id exists with the content of a bundle. Plan, then apply.

The plan is made without side effects. Where the version exists already, or nothing may be changed, it
reads the bundle once to know its digest; otherwise reading is left to apply, which hashes, encodes and
uploads in one pass.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import typing as t
from dataclasses import dataclass, field, fields, replace

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadRequest, Conflict
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import (
    Manifest,
    MinimumRequirements,
    Upload,
    UploadedSegment,
    UploadRequest,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base import pipeline
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host import (
    clone,
    locks,
    prlctl,
    requirements,
    volumes,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import (
    bundle,
    chunks,
    codecs,
    index,
    segments,
    writer,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import BundleInUse, PackError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index_file import decode_index, encode_index
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing, encode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator, encode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks

Params = t.Mapping[str, t.Any]
CODECS = {"deflate": index.CODEC_DEFLATE, "zstd": index.CODEC_ZSTD, "raw": index.CODEC_RAW}
# Below this much data a push is done at once, without a background job and its polling.
SHORT_BYTES = 64 << 20
# Requests at once for the trailers of an upload that is gone on with.
_TRAILERS = 4


@dataclass(frozen=True)
class PushRequest:
    """What the task asks for, and what the controller found out: manifests at the address, and bases.

    What describes the version and is None stays as it is, or becomes empty.
    """

    path: str
    catalog_id: str
    version: str
    architecture: t.Optional[str]
    codec: str
    compression_level: int
    chunk_size: t.Optional[int]
    description: t.Optional[str]
    tags: t.Optional[t.Sequence[str]]
    required_roles: t.Optional[t.Sequence[str]]
    required_claims: t.Optional[t.Sequence[str]]
    minimum_requirements: t.Optional[MinimumRequirements]
    force: bool
    allow_suspended: bool
    manifests: tuple[Manifest, ...] = ()
    bases: tuple[Manifest, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """What describes a version, as the server will have it; lists are sorted."""

    description: str
    tags: tuple[str, ...]
    required_roles: tuple[str, ...]
    required_claims: tuple[str, ...]
    minimum_requirements: MinimumRequirements

    @classmethod
    def of(cls, manifest: Manifest) -> Metadata:
        """What a manifest says."""
        return cls(
            manifest.description,
            tuple(sorted(manifest.tags)),
            tuple(sorted(manifest.required_roles)),
            tuple(sorted(manifest.required_claims)),
            manifest.minimum_requirements,
        )

    @classmethod
    def wanted(cls, request: PushRequest, existing: t.Optional[Manifest]) -> Metadata:
        """What a request makes of what is there. A push adds tags, and takes none away."""
        before = cls.of(existing) if existing is not None else cls("", (), (), (), MinimumRequirements())
        minimum = request.minimum_requirements
        # The server alone moves "latest".
        tags = {addresses.normalise_tag(tag) for tag in request.tags or ()} - {addresses.LATEST}
        return cls(
            before.description if request.description is None else request.description,
            tuple(sorted({*before.tags, *tags})),
            _rights(request.required_roles, before.required_roles),
            _rights(request.required_claims, before.required_claims),
            before.minimum_requirements if minimum is None else minimum,
        )


def _rights(wanted: t.Optional[t.Sequence[str]], before: tuple[str, ...]) -> tuple[str, ...]:
    return before if wanted is None else tuple(sorted({addresses.normalise_right(name) for name in wanted}))


@dataclass(frozen=True)
class Plan:
    """What a push would do. ``scan`` is None when the bundle is read only while it is pushed."""

    request: PushRequest
    architecture: str
    snapshot: bundle.Snapshot
    existing: t.Optional[Manifest]
    metadata: Metadata
    bases: tuple[Manifest, ...]
    known: KnownChunks
    scan: t.Optional[writer.Scan]

    @property
    def changed(self) -> bool:
        """Whether the catalog would be changed."""
        return self.existing is None or self.scan is None or self.scan.listing.digest != self.existing.digest


@dataclass(frozen=True)
class Outcome:
    """What a push did, or in check mode would do; ``encoded_is_estimate`` marks the latter."""

    changed: bool
    manifest: t.Mapping[str, t.Any]
    before: t.Mapping[str, t.Any]
    chunks: t.Mapping[str, int]
    bytes: t.Mapping[str, int]
    encoded_is_estimate: bool
    cloned: bool = False
    resumed_bytes: int = 0
    bases: tuple[str, ...] = field(default=())


def plan(request: PushRequest, context: Context, *, must_scan: bool) -> Plan:
    """Check everything that can be checked, and read the bundle if that is the only way to know.

    ``must_scan`` is set in check mode.

    :raises PackError: the bundle cannot be packed
    :raises Conflict: the version exists with other content, and ``force`` is not set
    """
    architecture = addresses.normalise_architecture(request.architecture or requirements.hardware_architecture())
    existing = next((manifest for manifest in request.manifests if manifest.architecture == architecture), None)
    metadata = Metadata.wanted(request, existing)
    check_stopped(request, context.parallels)
    bases = tuple(base for base in request.bases if base.architecture == architecture and _is_shared(base, metadata))
    chunk_size = _chunk_size(request, existing, bases)
    snapshot = bundle.inspect(request.path, chunk_size, allow_suspended=request.allow_suspended)
    for warning in snapshot.warnings:
        context.warn(warning)
    bases = tuple(base for base in bases if base.chunk_size == chunk_size)
    known = KnownChunks()
    made = Plan(request, architecture, snapshot, existing, metadata, bases, known, None)
    if existing is None and not must_scan:
        return made
    _add_bases(known, bases, context.catalog)
    context.progress.start("read", snapshot.logical_bytes)
    scan = writer.scan(snapshot, known, _encoder(request), advance=context.progress.advance)
    check_untouched(made, context)
    made = replace(made, scan=scan)
    if existing is not None and made.changed and not request.force:
        raise Conflict(
            f"{request.catalog_id} {existing.version} ({architecture}) exists with other content, and a version is "
            "immutable.",
            hint="Push the bundle as another version, or set force to true to replace this one.",
            code="version_exists",
        )
    return made


def predict(made: Plan) -> Outcome:
    """The outcome of a plan that was made with ``must_scan``, without carrying it out."""
    scan = t.cast(writer.Scan, made.scan)
    changed = made.changed
    return Outcome(
        changed,
        _predicted_manifest(made) if changed else t.cast(Manifest, made.existing).to_json(),
        made.existing.to_json() if made.existing else {},
        {"new": scan.new_chunks, "reused": scan.reused_chunks},
        {
            "logical": made.snapshot.logical_bytes,
            "new": scan.new_bytes,
            "reused": scan.reused_bytes,
            "encoded": scan.estimated_encoded_bytes,
        },
        True,
        bases=tuple(base.version for base in made.bases),
    )


def apply(made: Plan, context: Context) -> Outcome:
    """Carry out a plan that changes something: upload what is new, then commit.

    An upload that is interrupted is gone on with by the next push of the same version.
    """
    request = made.request
    upload = context.catalog.begin_upload(_upload_request(made))
    with _readable(made, upload, context) as (snapshot, cloned):
        known = KnownChunks()
        resumed_bytes = _add_resumed(known, upload, context)
        _add_bases(known, _usable_bases(made, upload), context.catalog)
        context.progress.start("push", snapshot.logical_bytes)
        sink = context.transfers.upload_sink(upload)
        written = writer.write_pack(snapshot, known, _encoder(request), sink.put, advance=context.progress.advance)
        body = encode_index(encode_listing(written.listing), encode_locator(written.locator))
        _check_own_index(body, written)
        if not cloned:
            check_untouched(made, context)
    manifest = context.catalog.commit_upload(upload.id, upload.revision, body)
    return Outcome(
        True,
        manifest.to_json(),
        made.existing.to_json() if made.existing else {},
        {"new": written.new_chunks, "reused": written.reused_chunks},
        {
            "logical": snapshot.logical_bytes,
            "new": written.new_bytes,
            "reused": written.reused_bytes,
            "encoded": written.new_encoded_bytes,
        },
        False,
        cloned,
        resumed_bytes,
        tuple(base.version for base in _usable_bases(made, upload)),
    )


def run(request: PushRequest, context: Context, *, check_mode: bool, may_defer: bool) -> dict[str, t.Any]:
    """The result of catalog_push; with ``may_defer``, a long transfer is announced instead of carried out."""
    started = time.monotonic()
    if may_defer and not check_mode and bundle.bytes_to_read(request.path) > SHORT_BYTES:
        return {"changed": False, "transfer_pending": True}
    made = plan(request, context, must_scan=check_mode)
    outcome = predict(made) if check_mode or not made.changed else apply(made, context)
    if not outcome.changed:
        _warn_of_differences(made, context)
    return {
        "changed": outcome.changed,
        "bundle": request.path,
        "manifest": outcome.manifest,
        "chunks": outcome.chunks,
        "bytes": outcome.bytes,
        "encoded_is_estimate": outcome.encoded_is_estimate,
        "cloned": outcome.cloned,
        "resumed_bytes": outcome.resumed_bytes,
        "bases": list(outcome.bases),
        "diff": {"before": _shown(outcome.before), "after": _shown(outcome.manifest)},
        "elapsed": round(time.monotonic() - started, 3),
    }


def _warn_of_differences(made: Plan, context: Context) -> None:
    existing = t.cast(Manifest, made.existing)
    there = Metadata.of(existing)
    names = [one.name for one in fields(Metadata) if getattr(made.metadata, one.name) != getattr(there, one.name)]
    if names:
        context.warn(
            f"{existing.catalog_id} {existing.version} ({existing.architecture}) has this content already, and what "
            f"this task says of {', '.join(names)} was not set. Set it by catalog_manifest."
        )


def _shown(manifest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    names = (
        "catalog_id",
        "version",
        "architecture",
        "digest",
        "logical_bytes",
        *(one.name for one in fields(Metadata)),
    )
    shown = {name: manifest[name] for name in names if name in manifest}
    if "tags" in shown:
        # The server moves it by itself, to this version or not.
        shown["tags"] = [tag for tag in shown["tags"] if tag != addresses.LATEST]
    return shown


def check_untouched(made: Plan, context: Context) -> None:
    """Nobody has written to the bundle since the plan was begun, nor does a VM run from it.

    :raises BundleChanged, BundleInUse: somebody has, or one does
    """
    bundle.check_unchanged(made.snapshot, allow_suspended=made.request.allow_suspended)
    check_stopped(made.request, context.parallels)


def check_stopped(request: PushRequest, control: t.Optional[prlctl.Prlctl]) -> None:
    """Refuse a bundle whose VM is not stopped; without prlctl the bundle's own marks have to do.

    :raises BundleInUse: Parallels Desktop says that it runs, or is suspended and that is not allowed
    """
    if control is None:
        return
    real_path = os.path.realpath(request.path)
    allowed = {"stopped", "invalid"} | ({"suspended"} if request.allow_suspended else set())
    for machine in control.list_machines():
        if machine.home and os.path.realpath(machine.home.rstrip("/")) == real_path and machine.state not in allowed:
            raise BundleInUse(
                f"The virtual machine {machine.name} of the bundle {request.path} is {machine.state}.",
                hint="Shut it down, and push it again.",
            )


def _is_shared(base: Manifest, metadata: Metadata) -> bool:
    """Whether a base is shown to the same users: the server lets no others share segments."""
    there = Metadata.of(base)
    return (there.required_roles, there.required_claims) == (metadata.required_roles, metadata.required_claims)


def _chunk_size(request: PushRequest, existing: t.Optional[Manifest], bases: t.Sequence[Manifest]) -> int:
    if request.chunk_size is not None and not chunks.is_chunk_size(request.chunk_size):
        raise BadRequest(
            f"Packing {request.path} in chunks of {request.chunk_size} bytes cannot be.",
            hint=f"Set chunk_size to a power of two from {chunks.MIN_CHUNK_SIZE} to {chunks.MAX_CHUNK_SIZE}, "
            "or leave it out.",
            code="invalid_option",
        )
    if existing is not None:
        # The digest covers the chunk size: only with the same one can the content be compared.
        return existing.chunk_size
    if request.chunk_size:
        return request.chunk_size
    return bases[0].chunk_size if bases else chunks.DEFAULT_CHUNK_SIZE


def _encoder(request: PushRequest) -> t.Callable[[codecs.Buffer], tuple[int, bytes]]:
    return codecs.make_encoder(CODECS[request.codec], request.compression_level)


def _add_bases(known: KnownChunks, bases: t.Iterable[Manifest], catalog: CatalogClient) -> None:
    for base in bases:
        listing = decode_listing(catalog.listing(base.id))
        known.add_index(listing, decode_locator(catalog.locator(base.id), listing))


def _usable_bases(made: Plan, upload: Upload) -> tuple[Manifest, ...]:
    """The bases that the server leased for this upload, as far as chunks of them can be reused."""
    return tuple(base for base in upload.bases if base.chunk_size == made.snapshot.chunk_size)


def _add_resumed(known: KnownChunks, upload: Upload, context: Context) -> int:
    """Know what an interrupted push has uploaded already; its bytes."""
    source = context.transfers.upload_source(upload)

    def rows_of(stored: UploadedSegment) -> tuple[index.SegmentRef, list[segments.TrailerRow]]:
        segment = index.SegmentRef(upload.id, stored.sha256, stored.size)

        def fetch(offset: int, length: int) -> bytes:
            return bytes(source.fetch(segment, offset, length))

        return segment, segments.fetch_trailer(fetch, stored.size)

    total = 0
    stage = pipeline.ordered_map(rows_of, upload.segments, workers=_TRAILERS, window=2 * _TRAILERS)
    with contextlib.closing(stage) as trailers:
        for segment, rows in trailers:
            known.add_trailer(segment, rows)
            total += segment.size
    return total


def _upload_request(made: Plan) -> UploadRequest:
    request = made.request
    return UploadRequest(
        catalog_id=request.catalog_id,
        version=request.version,
        architecture=made.architecture,
        type=made.snapshot.type,
        name=made.snapshot.name,
        chunk_size=made.snapshot.chunk_size,
        description=request.description,
        tags=_tuple(request.tags),
        required_roles=_tuple(request.required_roles),
        required_claims=_tuple(request.required_claims),
        minimum_requirements=request.minimum_requirements,
        bases=tuple(base.id for base in made.bases),
        force=request.force,
        expected_digest=made.scan.listing.digest if made.scan else None,
    )


def _tuple(names: t.Optional[t.Sequence[str]]) -> t.Optional[tuple[str, ...]]:
    return None if names is None else tuple(names)


def _predicted_manifest(made: Plan) -> dict[str, t.Any]:
    request, metadata, scan = made.request, made.metadata, t.cast(writer.Scan, made.scan)
    return {
        "catalog_id": addresses.normalise_catalog_id(request.catalog_id),
        "version": addresses.normalise_version(request.version),
        "architecture": made.architecture,
        "type": made.snapshot.type,
        "name": made.snapshot.name,
        "description": metadata.description,
        "tags": list(metadata.tags),
        "required_roles": list(metadata.required_roles),
        "required_claims": list(metadata.required_claims),
        "minimum_requirements": metadata.minimum_requirements.to_json(),
        "digest": scan.listing.digest,
        "chunk_size": made.snapshot.chunk_size,
        "logical_bytes": made.snapshot.logical_bytes,
    }


@contextlib.contextmanager
def _readable(made: Plan, upload: Upload, context: Context) -> t.Iterator[tuple[bundle.Snapshot, bool]]:
    """The bundle itself, or a clone of it where that costs nothing: then its VM may start at once."""
    root = made.snapshot.root
    directory, name = os.path.split(root)
    with locks.hold_directory(root, "pushing it"):
        if not (volumes.has_clones(directory) and os.access(directory, os.W_OK) and clone.probe(directory)):
            yield made.snapshot, False
            return
        # Of what is held here there is one push at a time, so any other clone is what a killed one has left.
        _discard_clones(directory, name)
        copy = os.path.join(directory, f".push-{upload.id}-{name}")
        clone.clone_tree(root, copy)
        try:
            # Until now somebody may have written, or started the VM; from now on nobody can.
            check_untouched(made, context)
            snapshot = bundle.inspect(copy, made.snapshot.chunk_size, allow_suspended=made.request.allow_suspended)
            yield snapshot, True
        finally:
            clone.remove_tree(copy)


def _discard_clones(directory: str, name: str) -> None:
    """Remove clones of the bundle ``name``, complete or not."""
    left = re.compile(rf"\.{{1,2}}push-[0-9a-f]{{32}}-{re.escape(name)}(\.incomplete)?")
    for found in os.listdir(directory):
        if left.fullmatch(found):
            clone.remove_tree(os.path.join(directory, found))


def _check_own_index(body: bytes, written: writer.WrittenPack) -> None:
    """Read back what is about to be committed: a fault of memory must not become a manifest."""
    again = decode_index(body)
    if again.listing != written.listing or again.locator != written.locator:
        raise PackError(
            "The index that was made does not read back as itself, so memory or processor of this host are at fault."
        )
