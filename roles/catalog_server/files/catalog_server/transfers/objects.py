# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded object store: signed URLs in, bytes out and in.

A signature is all the right that there is, and it ends with what the URL was made for: see ``holders.py``. A
PUT is hashed while it is received, and becomes an object only if its bytes are what the URL was made for.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import (
    InvalidKey,
    StorageChanged,
    StorageMissing,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import OpenObject
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from catalog_server.errors import BadRequest, Forbidden, NotFound
from catalog_server.openapi import octets
from catalog_server.openapi.operation import ANYBODY, operation
from catalog_server.parameters import Natural
from catalog_server.receivers import Body
from catalog_server.settings import LONGEST_URL_SECONDS
from catalog_server.storages.embedded import EmbeddedStorage
from catalog_server.storages.signing import GET, PUT, Permit
from catalog_server.texts import Line
from catalog_server.transfers import holders, packs
from catalog_server.transfers.streaming import object_response, receive_object
from catalog_server.unit_of_work import Services

# To clients these are whatever a signed URL opens, here or at a provider, and no part of the API.
router = APIRouter(tags=["objects"])

_IMMUTABLE = f"max-age={LONGEST_URL_SECONDS}, immutable"
_Storage = t.Annotated[Line, Path(max_length=1000, description="Name of the storage.")]
_Key = t.Annotated[Line, Path(max_length=1000, description="Key of the object; it may have slashes.")]
_Method = t.Annotated[Line, Query(max_length=128, description="What the URL was made for: `GET` or `PUT`.")]
_Expires = t.Annotated[Natural, Query(description="When the URL expires, in seconds since 1970.")]
_Size = t.Annotated[Natural, Query(description="Size of the object in bytes.")]
_Holder = t.Annotated[
    Line,
    Query(alias="for", max_length=400, description="The manifest or upload, and the user, that the URL was made for."),
]
_Signature = t.Annotated[Line, Query(max_length=128, description="The server's signature of all other parts.")]

_READ = operation(
    ANYBODY,
    "forbidden",
    "not_found",
    "range_not_satisfiable",
    parameters=octets.RANGES,
    responses=octets.sent("The object"),
)
_HEAD = operation(
    ANYBODY,
    "forbidden",
    "not_found",
    "range_not_satisfiable",
    parameters=octets.RANGES,
    responses=octets.sent("The object", head=True),
)
_STORE = operation(
    ANYBODY,
    "forbidden",
    "not_found",
    "too_many_receivers",
    "being_received",
    "insufficient_storage",
    body="object",
    requestBody=octets.received("The bytes of the object."),
    responses={"200": {"description": "The object is stored."}},
)


def _admitted(request: Request, permit: Permit, signature: str) -> tuple[EmbeddedStorage, str]:
    """The storage of a permit and the user it was made for, if the signature is good and that has not ended.

    :raises Forbidden: it is not, or not any more; which of the two is told to nobody
    """
    services: Services = request.app.state.services
    now = services.clock()
    storage = services.storages.embedded(permit.storage)
    if storage is not None and storage.admits(permit, signature, now.timestamp()):
        with services.database.reading() as session:
            user_id = holders.user_of(session, permit.holder, now)
        if user_id is not None:
            return storage, user_id
    raise Forbidden("The signature of this URL does not allow this, or has expired.")


@router.get("/objects/{storage}/{key:path}", name="read_object", response_class=octets.Octets, openapi_extra=_READ)
@router.head("/objects/{storage}/{key:path}", name="head_object", response_class=octets.Octets, openapi_extra=_HEAD)
async def read_object(
    request: Request,
    storage: _Storage,
    key: _Key,
    method: _Method,
    expires: _Expires,
    holder: _Holder,
    signature: _Signature,
) -> Response:
    """Read an object of the embedded storage, or one range of it, by a signed URL.

    Clients take such URLs as they are, and never make one.
    """
    if method != GET:
        raise Forbidden("This URL was not made for reading.")
    permit = Permit(GET, storage, key, expires, holder)

    def opening() -> OpenObject:
        storage_of_it, _user_id = _admitted(request, permit, signature)
        return storage_of_it.open(key)

    pool = request.app.state.services.pools.objects
    try:
        opened = await pool.run(opening)
    except (StorageMissing, InvalidKey):
        raise NotFound(f"There is no object {key}.") from None
    return object_response(request, opened, packs.sha256_of(key), pool, {"Cache-Control": _IMMUTABLE})


@router.put("/objects/{storage}/{key:path}", response_class=octets.Octets, openapi_extra=_STORE)
async def store_object(
    request: Request,
    storage: _Storage,
    key: _Key,
    method: _Method,
    expires: _Expires,
    size: _Size,
    holder: _Holder,
    signature: _Signature,
) -> Response:
    """Store an object in the embedded storage by a signed URL.

    Its bytes must have the size and the SHA-256 that the URL was made for. Storing the same again changes nothing.
    """
    if method != PUT:
        raise Forbidden("This URL was not made for storing.")
    permit = Permit(PUT, storage, key, expires, holder, size)

    services: Services = request.app.state.services
    pool = services.pools.objects
    admitted, user_id = await pool.run(partial(_admitted, request, permit, signature))
    services.storages.require_current()
    if request.headers.get("content-length") != str(size):
        raise BadRequest(f"This URL was made for an object of {size} bytes; Content-Length must say so.")

    @contextmanager
    def still_admitting() -> Iterator[None]:
        # A body takes its time: what its URL was made for may have ended meanwhile, or the storage been taken over.
        with services.storages.own(storage):
            _admitted(request, permit, signature)
            yield

    volume = await pool.run(partial(services.receivers.volume, admitted.root))
    try:
        with services.receivers.place(Body(user_id, size, key=f"{storage}/{key}"), volume):
            incoming = await pool.run(partial(admitted.files.receive, key, packs.sha256_of(key), size))
            await receive_object(request, incoming, pool, still_admitting)
    except (StorageChanged, InvalidKey) as error:
        raise BadRequest(error.message) from None
    except StorageMissing:
        raise NotFound("The pack that this object belongs to is gone.") from None
    return Response(status_code=200)
