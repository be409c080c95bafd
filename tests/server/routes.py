# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All routes that the server has, those that its description leaves out included."""

from __future__ import annotations

import re
import typing as t

from catalog_server.app import ROUTERS
from fastapi import APIRouter
from fastapi.routing import APIRoute


def all_routes() -> set[tuple[str, str]]:
    """Method and path of each, without the prefix of the API."""
    return {
        (method, re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path))
        for route in all_api_routes()
        for method in route.methods
    }


def all_api_routes() -> t.Iterator[APIRoute]:
    """The routes themselves."""
    for router in ROUTERS:
        yield from _flat(router)


def _flat(router: APIRouter) -> t.Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            # A router in a router; what it holds has the same paths, as none of ours gives a prefix.
            yield from _flat(route.original_router)  # type: ignore[attr-defined]
