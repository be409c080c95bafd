# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Filling the cache from a segmented pack: fetch its index, plan, download what is missing."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import Hashed, hash_place
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.seeds import Seeds
from ansible_collections.macfleet.parallels.plugins.module_utils._host import file_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import Partial, Place
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, reader, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    DamagedBundle,
    MalformedIndex,
    UnsupportedCodec,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_NAMES, Index, chunk_rows
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.listing import decode_listing
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.locator import decode_locator
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import plan_pull
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan


@dataclass(frozen=True)
class Fill:
    """What has to happen for an image to be in the cache; ``resumes`` says that something of it lies there already."""

    manifest: Manifest
    index: Index
    pack: PullPlan
    resumes: bool

    @property
    def unpacked_bytes(self) -> int:
        """What a copy of the image takes on disk."""
        return self.index.listing.unpacked_bytes


def fetch_index(manifest: Manifest, catalog: CatalogClient) -> Index:
    """Fetch and check the index of a manifest.

    :raises MalformedIndex: it breaks its grammar, or is that of another content
    """
    listing_file = catalog.listing(manifest.id)
    listing = decode_listing(listing_file)
    if listing.digest != manifest.digest:
        raise MalformedIndex(
            f"The listing of {manifest.catalog_id} {manifest.version} has the digest {listing.digest} instead of "
            f"{manifest.digest}.",
            hint="Tell the administrator of the catalog; nothing was changed on this host.",
        )
    locator_file = catalog.locator(manifest.id)
    rows = chunk_rows(listing)
    return Index(listing, rows, decode_locator(locator_file, listing, rows), listing_file, locator_file)


def plan_fill(
    manifest: Manifest,
    index: Index,
    place: t.Optional[Place],
    hashed: t.Optional[Hashed],
    seeds: Seeds,
    can_clone: bool,
    context: Context,
) -> Fill:
    """Return what has to be done, given what lies at ``place`` already; changes nothing.

    Files that ``hashed`` does not hold are hashed now.

    :raises UnsupportedCodec: this host cannot decode what it would download
    """
    present: t.Dict[str, bytes] = {}
    if place is not None:
        present.update(hashed.chunk_ids if hashed is not None else {})
        rest = [file for file in index.listing.files() if file.path not in present]
        present.update(hash_place(place, rest, index.listing, context).chunk_ids)
    pack = plan_pull(
        index.listing,
        index.rows,
        index.locator,
        present_ids=present,
        seeds=list(seeds.values()),
        can_clone=can_clone,
        link=context.transfers.link(),
    )
    _check_codecs(pack, manifest)
    return Fill(manifest, index, pack, bool(present))


def download(fill: Fill, partial: Partial, context: Context) -> reader.Applied:
    """Carry out a plan in a partial image, whose lock is held.

    :raises DamagedChunk: what was downloaded is not what it should be
    :raises DiskFull: the volume has no room left
    """
    manifest, pack = fill.manifest, fill.pack
    with translated(CacheError, f"Writing the index of {manifest.catalog_id} {manifest.version} to {partial.path}"):
        files.write_file_durably(partial.listing_path, fill.index.listing_file, 0o600)
        files.write_file_durably(partial.locator_path, fill.index.locator_file, 0o600)
    source = context.transfers.pull_source(manifest.id, pack.segments)
    context.progress.start("download", pack.download_bytes)
    context.progress.reused(pack.kept_bytes + pack.copied_bytes)
    with translated(CacheError, f"Writing {manifest.catalog_id} {manifest.version} to {partial.bundle_path}"):
        return reader.apply_plan(
            pack,
            partial.bundle_path,
            fetch=source.fetch,
            clone_file=file_clone.clone_file,
            transfers=context.transfers.fetch_workers,
            advance=context.progress.advance,
        )


def prove(fill: Fill, partial: Partial, context: Context) -> None:
    """Read back all that was written.

    :raises DamagedBundle: it is not what was written
    """
    listing = fill.index.listing
    context.progress.start("verify", listing.logical_bytes)
    with translated(CacheError, f"Reading {partial.bundle_path}"):
        damaged = verify.damaged_paths(partial.bundle_path, listing, advance=context.progress.advance)
    if damaged:
        raise DamagedBundle(
            f"{partial.bundle_path} does not have the content that was written to it ({', '.join(damaged[:3])}): disk "
            "or memory of this host are at fault.",
            hint="Check the disk, then pull again.",
        )


def _check_codecs(pack: PullPlan, manifest: Manifest) -> None:
    missing = pack.codecs - codecs.decodable()
    if missing:
        names = " and ".join(sorted(CODEC_NAMES[codec] for codec in missing))
        raise UnsupportedCodec(
            f"Pulling {manifest.catalog_id} {manifest.version} failed: its chunks are encoded as {names}, which the "
            "Python of this host cannot decode.",
            hint="Install the Python package zstandard on this host, or push the image with codec=deflate.",
        )
