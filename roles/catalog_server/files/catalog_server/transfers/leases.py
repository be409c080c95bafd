# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps segments: manifests that use them, and open uploads whose bases did until they were replaced.

As long as a base is what it was at begin, its own uses keep its segments, and nothing is remembered of the lease but
its name. When it is replaced, what it used until then is written down for each open upload that named it.
"""

from __future__ import annotations

from collections.abc import Iterable

from catalog_server.transfers import queries
from catalog_server.transfers.leftovers import Garbage
from catalog_server.unit_of_work import UnitOfWork


def keep(work: UnitOfWork, manifest_id: str) -> None:
    """Before a manifest is replaced: keep what it uses for the open uploads that have it as a base."""
    work.session.flush()
    queries.lease_uses(work.session, manifest_id, work.now)


def release(work: UnitOfWork, let_go: Iterable[queries.SegmentName] = ()) -> tuple[Garbage, ...]:
    """Forget the segments that are let go, or whose lease has ended, and that nothing keeps; their objects can go.

    A lease ends when its upload is closed or expires, or begins again without that base.
    """
    work.session.flush()
    ended = queries.end_leases(work.session, work.now)
    unused = queries.unused(work.session, {*let_go, *ended})
    queries.remove_segments(work.session, sorted(unused))
    by_pack: dict[tuple[str, str], list[str]] = {}
    for (pack, sha256), storage in sorted(unused.items()):
        by_pack.setdefault((storage, pack), []).append(sha256)
    return tuple(Garbage(storage, pack, tuple(names)) for (storage, pack), names in by_pack.items())
