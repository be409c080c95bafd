# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Filling the cache from a segmented pack: plan, then download what is missing."""

from __future__ import annotations

import dataclasses
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import PATCHES
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import ApiError, Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.content import Content
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import (
    Hashed,
    has_content,
    hash_place,
    listed_directories,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.seeds import Seeds
from ansible_collections.macfleet.parallels.plugins.module_utils._host import file_clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import require_unwritten
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import Partial, Place
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.stamps import (
    TreeStamps,
    read_stamps,
    written_since,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import CacheError, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs, reader, verify
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import (
    DamagedBundle,
    DamagedChunk,
    UnsupportedCodec,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_NAMES,
    Index,
    Listing,
    ObjectRef,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.plan import plan_pull
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.pull_plan import PullPlan
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageError, StorageMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.sources import Buffer, Source


@dataclass(frozen=True)
class Fill:
    """What has to happen for an image to be in the cache.

    ``content`` is what the manifest contains. ``kept`` are the stamps of the files that lie there already, taken before
    they were hashed; ``complete`` those of them that nothing has to be written to.
    """

    manifest: Manifest
    content: Content
    pack: PullPlan
    seeds: Seeds
    kept: TreeStamps
    complete: TreeStamps

    @property
    def index(self) -> Index:
        """The index of the manifest."""
        return self.content.index

    @property
    def index_bytes(self) -> int:
        """What the index, or the deltas in place of it, have taken so far."""
        return self.content.fetched_bytes + self.content.whole_locator.fetched_bytes

    @property
    def has_told_places(self) -> bool:
        """True if deltas tell where the chunks lie that are downloaded whole, and not the locator in storage."""
        return self.index.locator_file is None and self.pack.locator is self.index.locator

    @property
    def resumes(self) -> bool:
        """True if something of the image lies there already."""
        return bool(self.kept.files)

    @property
    def unpacked_bytes(self) -> int:
        """What a copy of the image takes on disk."""
        return self.index.listing.unpacked_bytes


def plan_fill(
    manifest: Manifest,
    content: Content,
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
    index = content.index
    present = _hashed(place, index.listing, hashed, context)
    pack = plan_pull(
        index.listing,
        index.rows,
        index.locator,
        present_ids=present.chunk_ids,
        seeds=list(seeds.values()),
        can_clone=can_clone,
        link=context.transfers.link(),
        patches=content.patches,
        whole_locator=content.whole_locator,
    )
    _check_codecs(pack, manifest)
    complete = {file.path for file in index.listing.files() if has_content(file, index.listing, present)}
    kept = TreeStamps({path: stamp for path, stamp in present.stamps.files.items() if path in present.chunk_ids})
    return Fill(manifest, content, pack, seeds, kept, kept.only(complete))


def _hashed(place: t.Optional[Place], listing: Listing, hashed: t.Optional[Hashed], context: Context) -> Hashed:
    """Return the chunk ids of all files of a place, and the stamps from before the first of them was read."""
    if place is None:
        return Hashed(TreeStamps(), {})
    before = hashed or Hashed(read_stamps(place.bundle_path, listed_directories(listing)), {})
    rest = [file for file in listing.files() if file.path not in before.chunk_ids]
    return Hashed(before.stamps, {**before.chunk_ids, **hash_place(place, rest, listing, context)})


def download(fill: Fill, partial: Partial, context: Context) -> reader.Applied:
    """Carry out a plan in a partial image, whose lock is held.

    :raises CacheChanged: somebody has written to what is kept since it was hashed
    :raises DamagedChunk: what was downloaded is not what it should be
    :raises DiskFull: the volume has no room left
    """
    manifest, pack = fill.manifest, fill.pack
    _require_unwritten(fill.kept, partial, _read_stamps(fill, partial))
    with translated(CacheError, f"Writing the index of {manifest.catalog_id} {manifest.version} to {partial.path}"):
        files.write_file_durably(partial.listing_path, fill.index.listing_file, 0o600)
        if fill.index.locator_file is not None:
            files.write_file_durably(partial.locator_path, fill.index.locator_file, 0o600)
    context.progress.reused(pack.kept_bytes + pack.copied_bytes)
    arrived = 0

    def advance(count: int) -> None:
        nonlocal arrived
        arrived += count
        context.progress.advance(count)

    try:
        return _apply(fill, pack, partial, advance, context)
    except (DamagedChunk, StorageMissing, Missing) as error:
        if not fill.has_told_places:
            raise
        # The version may have been pushed beside those that the deltas come through, with chunks in other segments.
        pack = dataclasses.replace(pack, locator=fill.content.whole_locator())
        context.warn(
            f"Chunks of {manifest.catalog_id} {manifest.version} do not lie where its deltas of "
            f"{fill.content.fetched_bytes} bytes tell, so its locator is downloaded: {error.message}"
        )
    lost = arrived
    applied = _apply(fill, pack, partial, advance, context)
    return dataclasses.replace(applied, downloaded_bytes=applied.downloaded_bytes + lost)


def _apply(fill: Fill, pack: PullPlan, partial: Partial, advance: reader.Advance, context: Context) -> reader.Applied:
    """Carry out a plan from its beginning."""
    manifest = fill.manifest
    source = context.transfers.pull_source(manifest.id, pack.segments)
    patches = _PatchSource(context.transfers.pull_source(manifest.id, pack.patch_objects, PATCHES))

    def cancel() -> None:
        source.cancel()
        patches.cancel()

    context.progress.start("download", pack.download_bytes)
    with translated(CacheError, f"Writing {manifest.catalog_id} {manifest.version} to {partial.bundle_path}"):
        applied = reader.apply_plan(
            pack,
            partial.bundle_path,
            fetch=source.fetch,
            clone_file=file_clone.clone_file,
            transfers=context.transfers.fetch_workers,
            advance=advance,
            cancel=cancel,
            fetch_patches=patches.fetch,
            whole_locator=fill.content.whole_locator,
        )
    if applied.failed_patches:
        why = f": {patches.error.message}" if patches.error is not None else "."
        context.warn(
            f"Patches of {applied.lost_patch_bytes} bytes for {manifest.catalog_id} {manifest.version} could not be "
            f"used, so {applied.failed_patches} chunks were downloaded whole{why}"
        )
    return applied


class _PatchSource:
    """Fetches patches. What cannot be had is not an error: the whole chunk is downloaded."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.cancel = source.cancel
        self.error: t.Optional[CatalogError] = None

    def fetch(self, item: ObjectRef, offset: int, length: int) -> t.Optional[Buffer]:
        """Return the bytes of a range, or None."""
        try:
            return self._source.fetch(item, offset, length)
        except (StorageError, ApiError) as error:
            self.error = error
            return None


def stamps_after(fill: Fill, partial: Partial) -> TreeStamps:
    """Return the stamps of a bundle as the download has left it.

    :raises CacheChanged: somebody has written to a file that the download left alone
    """
    stamps = _read_stamps(fill, partial)
    _require_unwritten(fill.complete, partial, stamps)
    return stamps


def _read_stamps(fill: Fill, partial: Partial) -> TreeStamps:
    return read_stamps(partial.bundle_path, listed_directories(fill.index.listing))


def _require_unwritten(files: TreeStamps, partial: Partial, now: TreeStamps) -> None:
    require_unwritten(partial, written_since(files, now.only(files.paths)))


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
            f"{partial.bundle_path} does not have the content that was written to it ({', '.join(damaged[:3])}): the "
            "disk or the memory of this host is faulty.",
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
