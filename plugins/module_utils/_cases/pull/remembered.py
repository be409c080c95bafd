# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the cache remembers of a version that the server shows: active, tainted or revoked."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.machine import KeepVm
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    PullRequest,
    architecture,
    meant,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache import records
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    CacheError,
)


def warn_of_state(planned: KeepVm, request: PullRequest, context: Context) -> None:
    if planned.blocked is not None:
        receipt = planned.vm.receipt
        context.warn(
            f"The virtual machine {request.name} stays as it is, made of {receipt.catalog_id} {receipt.version}. "
            f"{planned.blocked.message}"
        )


def note_state(request: PullRequest, context: Context) -> None:
    """Remember in the cache in which state the server shows the version now."""
    manifest = meant(request)
    if manifest is not None:
        version: t.Optional[str] = manifest.version
        state = records.REVOKED if manifest.revoked else records.TAINTED if manifest.tainted else records.ACTIVE
    elif request.blocked is not None:
        # If it is a tag, nothing has its name.
        version, state = request.version, request.blocked.code
    else:
        return
    cache = cached.look_at_cache(context)
    is_meant = cached.meaning(request.catalog_id, None, request.catalog_url, architecture(request))
    for entry in cache.entries():
        for address in entry.record.addresses:
            if address.version == version and address.state != state and is_meant(address):
                # An entry that has gone meanwhile has no state.
                with contextlib.suppress(CacheError):
                    cache.mark_manifest_state(entry.digest, dataclasses.replace(address, state=state))
