# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many connections are open: all of them, and those of each address.

A connection counts from the moment in which it is accepted, before the handshake of TLS. One that is too many is told
so; those that are being told have a limit of their own, and beyond it they are closed without a word.
"""

from __future__ import annotations

import collections
import logging
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from catalog_server.networks import Network, is_in, network_of

# Descriptors that are not of connections: database, logs, storages
RESERVED_DESCRIPTORS = 256
# Connections that are being told that they are too many
MOST_LEAVING = 64
# Without a setting, what one address may have of all connections
_SHARE_OF_ONE = 4
_FULL_SHARE = 0.8

# Why a connection is sent away
ALL_TAKEN = "all_taken"
TOO_MANY_FROM_ADDRESS = "too_many_from_address"
REASONS = {
    ALL_TAKEN: "The server has too many connections; try again.",
    TOO_MANY_FROM_ADDRESS: "Your address has too many connections; close some, or try again.",
}

_log = logging.getLogger("catalog_server.connections")


def raise_descriptor_limit() -> int:
    """Raise the limit of open files to the hard one; return how many connections that leaves.

    Each may have a file open beside: the object or the index that it sends or receives.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, (wanted - RESERVED_DESCRIPTORS) // 2)


def share_of_one(limit: int) -> int:
    """Return how many of ``limit`` connections one address may have, if no setting says it."""
    return max(1, limit // _SHARE_OF_ONE)


@dataclass(eq=False)
class Place:
    """One connection that is counted. ``refused`` is one of REASONS if it must be sent away, None if it may stay."""

    network: str
    refused: str | None
    is_open: bool = True


@dataclass
class OpenConnections:
    """The connections of one process: at most ``limit``, and ``each`` from one address that is not ``trusted``.

    Addresses are counted as ``networks.network_of`` says.
    """

    limit: int
    each: int
    trusted: Sequence[Network] = ()
    count: int = 0
    # Those that are being told that they are too many
    leaving: int = 0
    # Learns of each that is too many, and for which reason
    observe: Callable[[str], None] = lambda reason: None
    _of_network: collections.Counter[str] = field(default_factory=collections.Counter)

    def open(self, address: str) -> Place | None:
        """Count a connection that was accepted; None if there is not even room to tell it that it is too many."""
        network = network_of(address)
        refused = self._why_not(address, network)
        if refused is not None:
            self.observe(refused)
            if self.leaving >= MOST_LEAVING:
                return None
            self.leaving += 1
            return Place(network, refused)
        self.count += 1
        self._of_network[network] += 1
        if self.count == int(_FULL_SHARE * self.limit):
            _log.warning("many connections", extra={"connections": self.count, "limit": self.limit})
        return Place(network, None)

    def close(self, place: Place) -> None:
        """Count a connection no longer. It may be called twice."""
        if not place.is_open:
            return
        place.is_open = False
        if place.refused is not None:
            self.leaving -= 1
            return
        self.count -= 1
        self._of_network[place.network] -= 1
        if not self._of_network[place.network]:
            del self._of_network[place.network]

    def _why_not(self, address: str, network: str) -> str | None:
        if self.count >= self.limit:
            return ALL_TAKEN
        if self._of_network[network] >= self.each and not is_in(address, self.trusted):
            return TOO_MANY_FROM_ADDRESS
        return None
