# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes, and what the server says about itself to anybody."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import select

from catalog_server import API, NAME, VERSION, errors
from catalog_server.health.readiness import Readiness
from catalog_server.models.catalog import Catalog
from catalog_server.unit_of_work import Context

FEATURES = ("segmented", "signed", "grants", "identity")

router = APIRouter(tags=["health"])


class Status(BaseModel):
    """What a probe says when all is well."""

    status: t.Literal["OK"] = "OK"


class ServerInfo(BaseModel):
    """What clients may know before they log in."""

    name: str = NAME
    version: str = VERSION
    catalog_uuid: str
    api: int = API
    features: tuple[str, ...] = FEATURES
    limits: dict[str, int]


@router.head("/health/probe", openapi_extra=errors.PUBLIC, include_in_schema=False)
@router.head("/health/live", openapi_extra=errors.PUBLIC, include_in_schema=False)
@router.get("/health/probe", openapi_extra=errors.PUBLIC)
@router.get("/health/live", openapi_extra=errors.PUBLIC)
async def live() -> Status:
    """The process is there."""
    return Status()


@router.head("/health/ready", openapi_extra=errors.PUBLIC, include_in_schema=False)
@router.get("/health/ready", openapi_extra=errors.PUBLIC)
def ready(request: Request) -> Status:
    """It can work: the database has the schema of this release, and every storage is there and has room."""
    readiness: Readiness = request.app.state.readiness
    readiness.check()
    return Status()


@router.get("/server", openapi_extra=errors.PUBLIC)
def server(context: Context) -> ServerInfo:
    """Which catalog this is, and what it can do."""
    settings = context.services.settings
    with context.services.database.reading() as session:
        catalog_uuid = session.scalars(select(Catalog.uuid)).one()
    return ServerInfo(
        catalog_uuid=catalog_uuid,
        limits={
            "page": settings.max_page,
            "json_bytes": settings.max_json_bytes,
            "index_bytes": settings.max_index_bytes,
            "upload_seconds": settings.upload_seconds,
            "grant_seconds": settings.grant_seconds,
            "grant_limit_seconds": settings.grant_limit_seconds,
        },
    )
