# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps segments: manifests that use them, and open uploads whose bases did until they were replaced.

As long as a base is what it was at begin, its own uses keep its segments, and nothing is remembered of the lease but
its name. When it is replaced, what it used until then is written down for each open upload that named it.

What nothing keeps any more is condemned: no commit may refer to it, and the garbage collection removes it when no
signed URL can open it any more, so that pulls that have begun may finish.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import update

from catalog_server.models.storage import CONDEMNED, Pack
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.transfers import queries
from catalog_server.unit_of_work import UnitOfWork


def keep(work: UnitOfWork, manifest_id: str) -> None:
    """Before a manifest is replaced: keep what it uses for the open uploads that have it as a base."""
    work.session.flush()
    queries.lease_uses(work.session, manifest_id, work.now)


def release(work: UnitOfWork, let_go: Iterable[queries.SegmentName] = ()) -> int:
    """Condemn the segments that are let go, or whose lease has ended, and that nothing keeps; returns their bytes.

    A lease ends when its upload is closed or expires, or begins again without that base.
    """
    work.session.flush()
    ended = queries.end_leases(work.session, work.now)
    unused = queries.unused(work.session, {*let_go, *ended})
    queries.condemn(work.session, sorted(unused), work.now)
    return sum(unused.values())


def let_go_pack(work: UnitOfWork, pack: str) -> None:
    """No manifest has its index in this pack any more. The index stays as long as the segments that it was for."""
    work.session.execute(
        update(Pack)
        .where(Pack.id == pack)
        .values(state=CONDEMNED, condemned_at=work.now, tidy_after=work.in_seconds(LONGEST_URL_SECONDS))
        .execution_options(synchronize_session=False)
    )
