# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The document of this host's caches and virtual machines: gathered, and published for gather_facts to read."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.cached import look_at_cache
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.context import Context
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import FactsTooLarge, PrlctlError
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts


def gather(context: Context) -> dict[str, t.Any]:
    """Return the result of catalog_cache_facts: reads only, publishes nothing."""
    document = current_document(look_at_cache(context), context, may_publish=False)
    return {"changed": False, "ansible_facts": {"parallels_catalog": document}}


def check_publishable(context: Context) -> None:
    """Check, before anything is changed, that facts could be published.

    :raises FactsUnsafe: they could not
    """
    facts.check_publishable(context.cache.facts_directory, context.cache.owner)


def current_document(
    cache: Cache,
    context: Context,
    *,
    may_publish: bool,
    machines: t.Optional[t.Sequence[VirtualMachine]] = None,
) -> dict[str, t.Any]:
    """Return the complete document of this host, and publish it if that is allowed.

    ``machines`` spares a call of prlctl to those who know them already.
    """
    settings = context.cache
    document = facts.read_published(settings.facts_directory)
    if not cache.exists:
        return document
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
    documents = facts.vm_documents(receipts, machines)
    if may_publish:
        try:
            facts.publish(settings.facts_directory, settings.owner, cache.path, own, documents)
        except FactsTooLarge as error:
            context.warn(f"The published facts of this host stay as they were. {error}")
    return facts.with_cache(document, cache.path, own, documents)


def _machines(context: Context) -> t.Optional[t.Sequence[VirtualMachine]]:
    if context.parallels is None:
        return None
    try:
        return context.parallels.list_machines()
    except PrlctlError as error:
        context.warn(f"The states of the virtual machines are unknown: {error.message}")
        return None
