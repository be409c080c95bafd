# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a push would do. Nothing is changed by it.

A version that is not there is not compared with anything, so its bundle is read only once, while it is uploaded.
Otherwise, and to predict what a push would do, the bundle is read to know its digest.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadRequest, Conflict
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push import bases
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import Metadata, PushRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.stopped import check_stopped
from ansible_collections.macfleet.parallels.plugins.module_utils._host import requirements
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, chunks, codecs, index, writer
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reuse import KnownChunks

# What a prediction downloads at most to compare some chunks with those of bases that this host does not have.
_SAMPLED_BYTES = 16 << 20

CODECS = {"deflate": index.CODEC_DEFLATE, "zstd": index.CODEC_ZSTD, "raw": index.CODEC_RAW}


@dataclass(frozen=True)
class Subject:
    """The bundle, and the version that it is pushed as; ``bases`` have chunks that may be reused."""

    request: PushRequest
    architecture: str
    metadata: Metadata
    snapshot: bundle.Snapshot
    bases: tuple[Manifest, ...]


@dataclass(frozen=True)
class Upload:
    """The version is not there. The bundle was not read."""

    subject: Subject


@dataclass(frozen=True)
class Nothing:
    """The version is there with the content of the bundle."""

    subject: Subject
    existing: Manifest
    scan: writer.Scan


@dataclass(frozen=True)
class Change:
    """The version is not there, or is replaced, and the bundle was read."""

    subject: Subject
    replaced: t.Optional[Manifest]
    scan: writer.Scan


Plan = t.Union[Upload, Nothing, Change]


def plan(request: PushRequest, context: Context) -> Plan:
    """Check everything that can be checked, and read the bundle if that is the only way to know what to do.

    :raises PackError: the bundle cannot be packed
    :raises Conflict: the version exists with other content, and ``force`` is not set
    """
    subject, existing = _observe(request, context)
    return Upload(subject) if existing is None else _compare(subject, existing, context)


def plan_exactly(request: PushRequest, context: Context) -> t.Union[Nothing, Change]:
    """Plan as ``plan`` does, but always read the bundle, to predict what a push would do."""
    return _compare(*_observe(request, context), context, exactly=True)


def encoder(request: PushRequest) -> t.Callable[[codecs.Buffer], tuple[int, bytes]]:
    """Returns the function that encodes a chunk, with the options of the request."""
    return codecs.make_encoder(CODECS[request.codec], request.compression_level)


def _observe(request: PushRequest, context: Context) -> tuple[Subject, t.Optional[Manifest]]:
    architecture = addresses.normalise_architecture(request.architecture or requirements.hardware_architecture())
    existing = next((manifest for manifest in request.manifests if manifest.architecture == architecture), None)
    metadata = Metadata.wanted(request, existing)
    check_stopped(request, context.parallels)
    shared = tuple(
        base
        for base in request.bases
        if base.architecture == architecture and Metadata.of(base).audience == metadata.audience
    )
    chunk_size = _chunk_size(request, existing, shared, context)
    snapshot = bundle.inspect(request.path, chunk_size, allow_suspended=request.allow_suspended)
    for warning in snapshot.warnings:
        context.warn(warning)
    usable = tuple(base for base in shared if base.chunk_size == chunk_size)
    return Subject(request, architecture, metadata, snapshot, usable), existing


def _compare(
    subject: Subject, existing: t.Optional[Manifest], context: Context, *, exactly: bool = False
) -> t.Union[Nothing, Change]:
    request, snapshot = subject.request, subject.snapshot
    scan = _scan(subject, context, exactly)
    # prlctl is asked again when something is uploaded.
    bundle.check_unchanged(snapshot, allow_suspended=request.allow_suspended)
    if existing is None:
        return Change(subject, None, scan)
    if existing.digest == scan.listing.digest:
        return Nothing(subject, existing, scan)
    if not request.force:
        raise Conflict(
            f"{request.catalog_id} {existing.version} ({subject.architecture}) exists with other content, and a "
            "version is immutable.",
            hint="Push the bundle as another version, or set force to true to replace this one.",
            code="version_exists",
        )
    return Change(subject, existing, scan)


def _scan(subject: Subject, context: Context, exactly: bool) -> writer.Scan:
    """Read the bundle. Deltas are predicted ``exactly`` where this host has the chunks of all bases."""
    snapshot, encode = subject.snapshot, encoder(subject.request)
    known = KnownChunks()
    read = bases.read_bases(subject.bases, context.catalog)
    bases.add_bases(known, read)
    context.progress.start("read", snapshot.logical_bytes)
    advance = context.progress.advance
    if not exactly:
        return writer.scan(snapshot, known, advance=advance)
    budget = subject.request.delta_budget
    compared = read if subject.request.deltas else ()
    found = bases.compared(compared, bases.Budget(_SAMPLED_BYTES if budget is None else budget), context)
    if found.bases and found.is_local:
        return writer.rehearse(snapshot, known, encode, found.bases, advance=advance)
    return writer.scan(snapshot, known, encode, bases=found.bases, advance=advance)


def _chunk_size(
    request: PushRequest, existing: t.Optional[Manifest], shared: t.Sequence[Manifest], context: Context
) -> int:
    """Returns the chunk size in bytes: that of the version, of the task, of the base, or what the size asks for."""
    if request.chunk_size is not None and not chunks.is_chunk_size(request.chunk_size):
        raise BadRequest(
            f"The chunk_size {request.chunk_size} is not a valid one for packing {request.path}.",
            hint=f"Set chunk_size to a power of two from {chunks.MIN_CHUNK_SIZE} to {chunks.MAX_CHUNK_SIZE}, "
            "or leave it out.",
            code="invalid_option",
        )
    if existing is None and request.chunk_size is not None:
        return request.chunk_size
    # The digest covers the chunk size: only with the same one can contents be compared, and chunks be shared.
    earlier = existing or (shared[0] if shared else None)
    extent = bundle.measure(request.path)
    if earlier is not None and extent.most_chunks(earlier.chunk_size) <= index.MAX_CHUNKS:
        return earlier.chunk_size
    own = chunks.chunk_size_for(extent.logical_bytes)
    if earlier is not None:
        context.warn(
            f"The bundle {request.path} has grown too large for the chunks of {earlier.chunk_size} bytes of version "
            f"{earlier.version}. It is pushed in chunks of {own} bytes, and nothing of that version is reused."
        )
    return own
