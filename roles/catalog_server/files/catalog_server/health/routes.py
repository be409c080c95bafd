# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes, and what the server says about itself to anybody."""

from __future__ import annotations

import typing as t

from fastapi import APIRouter, Request
from sqlalchemy import select

from catalog_server import API, NAME, VERSION
from catalog_server.bodies import ResponseBody
from catalog_server.health.readiness import Readiness
from catalog_server.models.catalog import Catalog
from catalog_server.openapi.operation import ANYBODY, operation
from catalog_server.unit_of_work import Context

FEATURES = ("segmented", "signed", "grants", "identity")

router = APIRouter(tags=["server"])


_PUBLIC = operation(ANYBODY)


class Status(ResponseBody):
    """What a probe says when all is well."""

    status: t.Literal["OK"] = "OK"
    """Always `OK`; otherwise the answer is an error."""


class ReadyStatus(Status):
    """What the server says when it can work."""

    warnings: list[str] = []
    """What the administrator should see to, such as a clock that has jumped; nothing is deleted until then."""


class Limits(ResponseBody):
    """Limits of the server, by its settings."""

    page: int
    """Most items of a page."""
    json_bytes: int
    """Longest JSON body of a request, in bytes."""
    index_bytes: int
    """Longest index of a commit, in bytes."""
    upload_seconds: int
    """Life of an upload that is not committed."""
    grant_seconds: int
    """Life of a grant, and of each renewal of it."""
    grant_limit_seconds: int
    """Age after which a grant is no longer renewed."""


class ServerInfo(ResponseBody):
    """What clients may know before they log in."""

    name: str = NAME
    """Name of the server's software."""
    version: str = VERSION
    """Version of the server's software."""
    catalog_uuid: str
    """Id of the catalog, a UUID; it stays the same for the life of the database."""
    api: int = API
    """Version of this API."""
    features: tuple[str, ...] = FEATURES
    """Words for what the server can do beside the stock service."""
    limits: Limits
    """What the settings of the server allow."""


@router.head("/health/probe", name="head_probe", openapi_extra=_PUBLIC)
@router.head("/health/live", name="head_live", openapi_extra=_PUBLIC)
@router.get("/health/probe", name="get_probe", openapi_extra=_PUBLIC)
@router.get("/health/live", name="get_live", openapi_extra=_PUBLIC)
async def live() -> Status:
    """Tell whether the process is running."""
    return Status()


@router.head("/health/ready", name="head_ready", openapi_extra=_PUBLIC)
@router.get("/health/ready", name="get_ready", openapi_extra=_PUBLIC)
def ready(request: Request) -> ReadyStatus:
    """Tell whether the server can work.

    The database has the schema of this release, and every storage is there, has the mark of this catalog, and has room.
    """
    readiness: Readiness = request.app.state.readiness
    return ReadyStatus(warnings=list(readiness.check()))


@router.get("/server", openapi_extra=_PUBLIC)
def get_server(context: Context) -> ServerInfo:
    """Tell which catalog this is, and what the server can do."""
    settings = context.services.settings
    with context.services.database.reading() as session:
        catalog_uuid = session.scalars(select(Catalog.uuid)).one()
    return ServerInfo(
        catalog_uuid=catalog_uuid,
        limits=Limits(
            page=settings.max_page,
            json_bytes=settings.max_json_bytes,
            index_bytes=settings.max_index_bytes,
            upload_seconds=settings.upload_seconds,
            grant_seconds=settings.grant_seconds,
            grant_limit_seconds=settings.grant_limit_seconds,
        ),
    )
