# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Push: a version of a catalog id exists with the content of a bundle. Plan, then apply."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.apply import (
    Outcome,
    apply,
    predict,
    unchanged,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import (
    Metadata,
    PushRequest,
    shown,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.plan import Nothing, plan, plan_exactly
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle

# Below this many bytes to read, a push is short: the task waits for it.
SHORT_BYTES = 64 << 20


def run(request: PushRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the result of catalog_push."""
    started = time.monotonic()
    if not check_mode and bundle.bytes_to_read(request.path) > SHORT_BYTES:
        context.before_long()
    outcome = _preview(request, context) if check_mode else _push(request, context)
    sizes = outcome.sizes
    return {
        "changed": outcome.changed,
        "bundle": request.path,
        "manifest": outcome.manifest,
        "chunks": {"new": sizes.new_chunks, "reused": sizes.reused_chunks},
        "bytes": {
            "logical": sizes.logical_bytes,
            "new": sizes.new_bytes,
            "reused": sizes.reused_bytes,
            "encoded": sizes.encoded_bytes,
        },
        "deltas": [
            {"base": delta.base, "bytes": delta.delta_bytes, "patch_bytes": delta.patch_bytes}
            for delta in outcome.deltas
        ],
        "encoded_is_estimate": outcome.is_estimate,
        "cloned": outcome.cloned,
        "kept_in_cache": outcome.kept_in_cache,
        "resumed_bytes": outcome.resumed_bytes,
        "bases": list(outcome.bases),
        "diff": {"before": shown(outcome.before), "after": shown(outcome.manifest)},
        "elapsed": round(time.monotonic() - started, 3),
    }


def _push(request: PushRequest, context: Context) -> Outcome:
    made = plan(request, context)
    return _nothing(made, context) if isinstance(made, Nothing) else apply(made, context)


def _preview(request: PushRequest, context: Context) -> Outcome:
    made = plan_exactly(request, context)
    return _nothing(made, context) if isinstance(made, Nothing) else predict(made, context)


def _nothing(made: Nothing, context: Context) -> Outcome:
    existing = made.existing
    names = made.subject.metadata.differences(Metadata.of(existing))
    if names:
        context.warn(
            f"{existing.catalog_id} {existing.version} ({existing.architecture}) has this content already, and what "
            f"this task says of {', '.join(names)} was not set. Set it by catalog_manifest."
        )
    return unchanged(made)
