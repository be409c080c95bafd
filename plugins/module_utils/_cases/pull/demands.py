# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a pull demands of the host: a place, processor, memory, room; and whether it will take long."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import room
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import observe
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.ensure import ImagePlan
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.segmented import Fill
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import naming
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    PullRequest,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host import requirements, volumes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
    RequirementsUnmet,
)

# Below this many bytes to move a pull is short: the controller need not watch it.
SHORT_BYTES = 64 << 20


def home_of(request: PullRequest, manifest: Manifest, context: Context) -> str:
    directory = request.directory or context.prlctl.vm_home() or os.path.join("~", "Parallels")
    return naming.home_path(os.path.abspath(os.path.expanduser(directory)), request.name, manifest.type)


def check_compute(request: PullRequest, manifest: Manifest) -> None:
    """Check processor and memory, for a VM that is going to be made or started."""
    minimum = manifest.minimum_requirements.to_json()
    _check_requirements(request, manifest, requirements.unmet_compute(minimum, requirements.read_resources("/")))


def _check_requirements(request: PullRequest, manifest: Manifest, sentences: t.Sequence[str]) -> None:
    if sentences:
        raise RequirementsUnmet(
            f"{request.catalog_id} {manifest.version} cannot run on this host: {' '.join(sentences)}",
            hint="Choose another host, or lower minimum_requirements of the manifest.",
            details={"unmet": list(sentences)},
        )


def needs(image: ImagePlan, home: str, request: PullRequest, manifest: Manifest, cache: Cache) -> t.Sequence[room.Need]:
    """Return what is written besides the image, having checked the disk space that the image demands.

    Space is demanded of what is going to be done only: what the image takes already counts as free.

    :raises RequirementsUnmet: there is less
    """
    if not home and not isinstance(image, Fill):
        return ()
    directory = os.path.dirname(home) if home else cache.path
    taken = 0 if isinstance(image, Fill) else image.entry.record.allocated_bytes
    free_mb = requirements.read_resources(directory).disk_free_mb
    minimum = manifest.minimum_requirements.to_json()
    _check_requirements(request, manifest, requirements.unmet_disk(minimum, free_mb, taken >> 20))
    if not home or volumes.can_clone(cache.path, directory):
        return ()
    size = image.unpacked_bytes if isinstance(image, Fill) else taken
    return (room.Need(directory, size, f"copying {manifest.catalog_id} {manifest.version} to {home}"),)


def expect(manifest: Manifest, home: str, cache: Cache, request: PullRequest, context: Context) -> None:
    """Announce a long transfer, as far as a quick look without a lock can tell."""
    try:
        seen = observe.observe(cache, manifest.digest)
    except CacheError:
        # Somebody is removing or repairing it; what matters is seen under the lock.
        seen = observe.Seen()
    if seen.is_trusted and not request.verify and seen.entry is not None:
        is_cloned = not home or volumes.can_clone(cache.path, os.path.dirname(home))
        size = 0 if is_cloned else seen.entry.record.allocated_bytes
    elif seen.entry is not None or seen.partial is not None:
        size = manifest.logical_bytes
    else:
        size = manifest.stored_bytes or manifest.logical_bytes
    if size > SHORT_BYTES:
        context.before_long()
