# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a pull asks for, and which manifest that means. Pure but for the architecture of this host."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses, resolution
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked, Missing
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import power
from ansible_collections.macfleet.parallels.plugins.module_utils._host import requirements
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.records import CachedAddress

CACHED = "cached"
PRESENT = "present"
STARTED = "started"
STOPPED = "stopped"
ABSENT = "absent"


@dataclass(frozen=True)
class PullRequest:
    """What the task asks for, and what the controller found out.

    ``manifests`` are what the version means, at most one for each architecture. ``blocked`` holds the error
    of a version that must not be pulled for any of them. ``headless`` is for :func:`power.start`;
    ``stop_timeout_seconds`` and ``force_stop`` are for :func:`power.stop`.
    """

    state: str
    catalog_url: str
    catalog_id: str
    version: t.Optional[str]
    architecture: t.Optional[str]
    name: str
    directory: t.Optional[str]
    verify: bool
    purge_cache: bool = False
    manifests: tuple[Manifest, ...] = ()
    blocked: t.Optional[Blocked] = None
    headless: bool = True
    stop_timeout_seconds: float = power.STOP_SECONDS
    force_stop: bool = False


def architecture(request: PullRequest) -> str:
    """Return the architecture that is meant: the one that the task names, or that of this host."""
    return addresses.normalise_architecture(request.architecture or requirements.hardware_architecture())


def meant(request: PullRequest) -> t.Optional[Manifest]:
    """Return the manifest for the architecture that is meant, None if there is none."""
    wanted = architecture(request)
    return next((manifest for manifest in request.manifests if manifest.architecture == wanted), None)


def choose(request: PullRequest) -> Manifest:
    """Return the manifest to pull.

    :raises Blocked: the version must not be pulled
    :raises Missing: there is none, or the user may not see it
    """
    if request.blocked is not None:
        raise request.blocked
    manifest = meant(request)
    if manifest is not None:
        resolution.check_pullable(manifest, request.catalog_id, request.version)
        return manifest
    raise Missing(
        f"There is no {request.catalog_id} {request.version or addresses.LATEST} for {architecture(request)}, or none "
        "that you may see.",
        hint="Look at catalog_manifest_info, and check catalog_id, version and architecture.",
        code="unknown_manifest",
    )


def address_of(request: PullRequest, manifest: Manifest) -> CachedAddress:
    """Return the address under which the cache knows a manifest."""
    return CachedAddress(request.catalog_url, manifest.catalog_id, manifest.version, manifest.architecture)
