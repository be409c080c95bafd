# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The document of this host's caches and virtual machines: gathered, and published for gather_facts to read."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import look_at_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlError
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts


def gather(context: Context) -> dict[str, t.Any]:
    """Return the result of catalog_cache_facts: reads only, publishes nothing."""
    document, _own = _documents(context, None)
    return {"changed": False, "ansible_facts": {"parallels_catalog": document}}


def check_publishable(context: Context) -> None:
    """Check, before anything is changed, that facts could be published.

    :raises FactsUnsafe: they could not
    """
    facts.check_publishable(context.cache.facts_directory, context.cache.owner)


def document_after(
    context: Context, *, may_publish: bool, machines: t.Optional[t.Sequence[VirtualMachine]] = None
) -> dict[str, t.Any]:
    """Return the complete document of this host after a task, and publish it if that is allowed.

    The task has done its work, so what goes wrong here is a warning. ``machines`` are what prlctl lists now, None if
    it was not asked.
    """
    settings = context.cache
    try:
        document, own = _documents(context, machines)
    except (CatalogError, OSError) as error:
        context.warn(f"The facts of the cache {settings.path} are not shown as they are now. {error}")
        return facts.read_published(settings.facts_directory)
    if own is not None and may_publish:
        try:
            facts.publish(settings.facts_directory, settings.owner, own.cache_path, own.cache, own.vms)
        except (CatalogError, OSError) as error:
            context.warn(f"The published facts of this host stay as they were. {error}")
    return document


@dataclasses.dataclass(frozen=True)
class _Own:
    """What this host's document says of one cache and of the VMs made from it."""

    cache_path: str
    cache: facts.Document
    vms: t.Sequence[facts.Document]


def _documents(
    context: Context, machines: t.Optional[t.Sequence[VirtualMachine]]
) -> tuple[facts.Document, t.Optional[_Own]]:
    """Return the document of this host, and the part of it about the cache of this task, None if it has none."""
    settings = context.cache
    document = facts.read_published(settings.facts_directory)
    cache = look_at_cache(context)
    if not cache.exists:
        return document, None
    own = facts.cache_document(cache, settings.owner, utc_text(time.time()))
    for reason in own["unreadable"].values():
        context.warn(reason)
    receipts, unreadable = Receipts(cache.receipts_path).read_all()
    for name in unreadable:
        context.warn(
            f"The receipt {name} in {cache.receipts_path} cannot be read, so its virtual machine is not shown."
        )
    if machines is None and receipts:
        machines = _machines(context)
    vms = facts.vm_documents(receipts, machines)
    return facts.with_cache(document, cache.path, own, vms), _Own(cache.path, own, vms)


def _machines(context: Context) -> t.Optional[t.Sequence[VirtualMachine]]:
    if context.parallels is None:
        return None
    try:
        return context.parallels.list_machines()
    except PrlctlError as error:
        context.warn(f"The states of the virtual machines are unknown: {error.message}")
        return None
