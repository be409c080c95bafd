# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What the use cases work with. The composition root of ``_bridge`` makes it, or a test does."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.done import Done
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.transfers import Transfers
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import PrlctlMissing
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl


class NoServer(CatalogError):
    """A task that was set up to work on the host alone needs the metadata server."""

    code = "no_server"


@dataclass(frozen=True)
class CacheSettings:
    """Where the cache lies, whose it is, and how long to wait for its locks, in seconds."""

    path: str
    facts_directory: str
    owner: str
    lock_timeout_seconds: float


@dataclass(frozen=True)
class Remote:
    """The metadata server, and the way to the bytes in storage."""

    catalog: CatalogClient
    transfers: Transfers


@dataclass(frozen=True)
class Context:
    """All that a use case needs of the world around it.

    ``doing`` says in a few words what the task does, for whoever waits for its locks. ``parallels`` is None where
    Parallels Desktop is not installed, ``remote`` where the task works on the host alone. ``warn`` reaches the user.
    ``before_long`` is called, any number of times, before something that takes long: the controller watches from then
    on. ``done`` is the record of what the task has changed; a use case begins a new one.
    """

    cache: CacheSettings
    progress: Progress
    warn: t.Callable[[str], None]
    doing: str = "a task of macfleet.parallels"
    parallels: t.Optional[Prlctl] = None
    remote: t.Optional[Remote] = None
    before_long: t.Callable[[], None] = lambda: None
    done: Done = field(default_factory=Done)

    @property
    def prlctl(self) -> Prlctl:
        """The commands of Parallels Desktop.

        :raises PrlctlMissing: it is not installed
        """
        if self.parallels is None:
            raise PrlctlMissing(
                "Looking for prlctl failed: Parallels Desktop is not installed on this host.",
                "Install Parallels Desktop (Pro, Business or Enterprise), or set prlctl_path.",
            )
        return self.parallels

    @property
    def catalog(self) -> CatalogClient:
        """The client of the metadata server.

        :raises NoServer: there is none
        """
        return self._remote.catalog

    @property
    def transfers(self) -> Transfers:
        """The sources and sinks of the transfer.

        :raises NoServer: there is none
        """
        return self._remote.transfers

    @property
    def _remote(self) -> Remote:
        if self.remote is None:
            raise NoServer("This task needs the metadata server, but was set up to work on this host alone.")
        return self.remote
