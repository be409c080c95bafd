# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses of clients, and the networks that they are in."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parsed_networks(text: str) -> list[Network]:
    """Return the networks of a list with commas between them. An address is a network of its own.

    :raises ValueError: one of them is neither an address nor a network
    """
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def is_in(address: str, networks: Sequence[Network]) -> bool:
    """Return True if an address is in one of the networks; what is no address is in none."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def network_of(address: str, ipv4_bits: int = 32) -> str:
    """Return the network that an address is counted under: 64 bits of IPv6, ``ipv4_bits`` of IPv4."""
    parsed = _parsed(address)
    if parsed is None:
        return "unknown"
    bits = ipv4_bits if parsed.version == 4 else 64
    return str(ipaddress.ip_network(f"{parsed}/{bits}", strict=False))


def _parsed(address: str) -> Address | None:
    """Return an address as it is written in a log; one of IPv4 in the form of IPv6 is one of IPv4."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed
