# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The description of the API, as OpenAPI.

Anybody may read it: it is the same for every server of this version and tells nothing of this one. There is no page
with forms beside it, as such pages load their scripts from the network. ``document.py`` makes the file that is sent.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

from catalog_server.openapi.operation import ANYBODY, operation

router = APIRouter(tags=["server"])

FILE = Path(__file__).with_name("openapi.json")
_ANSWERS = {
    "200": {
        "description": "An OpenAPI document.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.get("/openapi.json", openapi_extra=operation(ANYBODY, responses=_ANSWERS))
def get_openapi() -> Response:
    """Get this description of the API."""
    return Response(FILE.read_bytes(), media_type="application/json")
