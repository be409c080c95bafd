# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""A version that shares with another one is deleted, and time passes: what becomes free, and what must not."""

from __future__ import annotations

import datetime
import typing as t

from catalog_server.models.storage import Pack
from catalog_server.models.transfers import Segment
from rows import new_catalog_id, segments_of
from running import Server, command_work
from transfer_client import NEXT_FILES, Client, Pushed, good, objects

HOUR = datetime.timedelta(hours=1)


def age(server: Server) -> None:
    """Let an hour pass for everything that was let go."""
    with command_work(server.services) as work:
        for segment in work.session.query(Segment).where(Segment.condemned_at.is_not(None)):
            segment.condemned_at -= HOUR
        for pack in work.session.query(Pack):
            pack.condemned_at = pack.condemned_at and pack.condemned_at - HOUR
            pack.tidy_after = pack.tidy_after and pack.tidy_after - HOUR


def all_files(server: Server, pack: str) -> set[str]:
    folder = server.data_dir / "storage/packs" / pack
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


class Scene:
    """A base, a version that shares with it, and then the base is deleted."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = Client.of(server, "admin")
        self.base = self.client.push(new_catalog_id())
        self.other = self.client.push(self.base.manifest["catalog_id"], "2.0", NEXT_FILES, self.base)
        self.shared = {name for pack, name in segments_of(server, self.other.id) if pack == self.base.upload_id}
        self.own = self.base.pack.segments.keys() - self.shared
        assert self.shared and self.own

    @property
    def own_bytes(self) -> int:
        return sum(len(self.base.pack.segments[name]) for name in self.own)

    def delete(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", good(self.client.http.delete(f"/manifests/{self.base.id}")))

    def is_collected(self) -> bool:
        """What nothing uses is gone, and nothing else."""
        assert pulls(self.client, self.server, self.other)
        return objects(self.server, self.base.upload_id) == self.shared


def pulls(client: Client, server: Server, pushed: Pushed) -> bool:
    urls = good(client.read_urls(pushed.id, segments_of(server, pushed.id)))["urls"]
    return all(client.anybody.get(made["url"]).status_code == 200 for made in urls)
