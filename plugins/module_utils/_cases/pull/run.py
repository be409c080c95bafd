# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Pull: this host has an image in its cache, a virtual machine made of it, or neither. Plan, then apply.

A plan is cheap and made without a lock; it says which kind of work there is. The image is planned once: without a
lock in check mode, under its lock in the real run. What is done is told by an ``Outcome``, never by the plan.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Blocked
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cached, host_facts
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.done import Done
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import ensure
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images.observe import ImageKey
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.absent import (
    apply_absent,
    is_there,
    removed,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.demands import expect, needs
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.machine import (
    apply_power,
    kept,
    make,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.plan import (
    CacheImage,
    KeepVm,
    MakeVm,
    Plan,
    RemoveVm,
    plan,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.remembered import note_state, warn_of_state
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.result import Outcome, result_of
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import (
    STARTED,
    PullRequest,
    address_of,
)


def predict(planned: Plan, request: PullRequest, context: Context) -> Outcome:
    """Return the outcome of a plan that is not carried out.

    :raises DiskFull: there is not enough room
    """
    if isinstance(planned, KeepVm):
        return kept(planned, planned.power)
    if isinstance(planned, RemoveVm):
        return removed(planned, planned.found is not None and is_there(planned.found), planned.purges)
    cache = cached.look_at_cache(context)
    home = planned.home if isinstance(planned, MakeVm) else ""
    image = ensure.plan_image(planned.manifest, cache, context, verify=request.verify)
    ensure.check_room(image, cache, needs(image, home, request, planned.manifest, cache))
    return Outcome(
        planned.manifest,
        image=ensure.predict(image),
        cache_path=cache.path,
        made=home,
        power=STARTED if isinstance(planned, MakeVm) and planned.starts else None,
    )


def apply(planned: Plan, request: PullRequest, context: Context) -> Outcome:
    """Carry out a plan; return what was done.

    :raises CacheLocked: another process worked on the same image or VM for too long
    :raises VmNotFound: the VM that should be started is not there any more
    """
    if isinstance(planned, KeepVm):
        is_done = planned.power is None and planned.vm.is_current
        return kept(planned, None) if is_done else apply_power(planned, request, context)
    if isinstance(planned, RemoveVm):
        return apply_absent(planned, request, context)
    return _apply_image(planned, request, context)


def run(request: PullRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    """Return the result of catalog_pull. A failure carries what had been done by then."""
    context = dataclasses.replace(context, done=Done())
    with context.done.told_by_failures():
        return _run(request, context, check_mode=check_mode)


def _run(request: PullRequest, context: Context, *, check_mode: bool) -> dict[str, t.Any]:
    started = time.monotonic()
    try:
        planned = plan(request, context)
    except Blocked:
        if not check_mode:
            note_state(request, context)
        raise
    host_facts.check_publishable(context)
    if isinstance(planned, KeepVm):
        warn_of_state(planned, request, context)
        if not check_mode:
            note_state(request, context)
    outcome = predict(planned, request, context) if check_mode else apply(planned, request, context)
    return {
        **result_of(outcome, request),
        "elapsed": round(time.monotonic() - started, 3),
        "parallels_catalog": host_facts.document_after(context, may_publish=not check_mode, machines=outcome.machines),
    }


# Images and virtual machines


def _apply_image(planned: t.Union[CacheImage, MakeVm], request: PullRequest, context: Context) -> Outcome:
    manifest = planned.manifest
    home = planned.home if isinstance(planned, MakeVm) else ""
    cache = cached.look_at_cache(context)
    expect(manifest, home, cache, request, context)
    first = None
    if not cache.exists:
        # A refusal leaves nothing, not even the directories of a cache.
        first = ensure.plan_image(manifest, cache, context, verify=request.verify)
        ensure.check_room(first, cache, needs(first, home, request, manifest, cache))
    cache = cached.open_cache(context)
    key = ImageKey(address_of(request, manifest), manifest.digest)
    held = ensure.held_image(
        key,
        manifest,
        cache,
        context,
        verify=request.verify,
        room_for=lambda image: needs(image, home, request, manifest, cache),
        planned=first,
    )
    with held as (entry, image):
        outcome = Outcome(manifest, image=image, cache_path=cache.path)
        if isinstance(planned, MakeVm):
            outcome = make(planned, entry, outcome, request, cache, context)
    cached.empty_trash(cache, context)
    return outcome
