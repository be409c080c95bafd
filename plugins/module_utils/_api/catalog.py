# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The calls of the metadata server about images: grants, manifests, indexes, uploads."""

from __future__ import annotations

import dataclasses
import typing as t
from urllib.parse import quote

from ansible_collections.macfleet.parallels.plugins.module_utils._api import paged
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import bearer
from ansible_collections.macfleet.parallels.plugins.module_utils._api.deltas import DeltaList
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.json_reader import JsonReader
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest, manifests_from_json
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_info import ServerInfo
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import MintedGrant, RenewedGrant
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import (
    Upload,
    UploadRequest,
    signed_url_from_json,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl

# Beyond any index of a bundle that a Mac can hold: a million chunks make about a tenth of it.
MAX_INDEX_BYTES = 512 << 20
URLS_OF_A_PULL = 500
URLS_OF_AN_UPLOAD = 64
# The server looks up every object of the upload before it answers.
COMMIT_TIMEOUT_SECONDS = 900.0

# Kinds of objects of a pack, as requests for URLs name them, and how messages do.
SEGMENTS, DELTAS, PATCHES = "segments", "deltas", "patches"
_KINDS = {SEGMENTS: "segments", DELTAS: "deltas", PATCHES: "objects of patches"}

ObjectName = t.Tuple[str, str]


def _address(catalog_id: str, version: str | None, architecture: str | None) -> dict[str, str]:
    fields = {"catalog_id": catalog_id, "version": version, "architecture": architecture}
    return {name: value for name, value in fields.items() if value}


def _named(catalog_id: str, version: str | None, architecture: str | None) -> str:
    text = f"catalog id {catalog_id!r}"
    if version:
        text += f", version {version!r}"
    return f"{text}, for {architecture}" if architecture else text


class CatalogClient:
    """One server, called by one caller."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def server_info(self) -> ServerInfo:
        """Return what the server says about itself; this needs no credentials."""
        return ServerInfo.from_json(self._http.json("GET", "server", "ask what it can do", authorization={}))

    # Grants

    def mint_pull_grant(self, catalog_id: str, version: str | None, architecture: str | None = None) -> MintedGrant:
        """Return a grant to pull what ``version`` means (a version, tag or range); None means ``latest``."""
        body = {"verb": "pull", **_address(catalog_id, version, architecture)}
        doing = f"get a grant to pull {_named(catalog_id, version, architecture)}"
        return MintedGrant.from_json(self._http.json("POST", "grants", doing, body=body, idempotent=True))

    def mint_push_grant(
        self,
        catalog_id: str,
        version: str,
        architecture: str | None = None,
        bases: t.Sequence[str] | None = None,
        required_roles: t.Sequence[str] | None = None,
        required_claims: t.Sequence[str] | None = None,
    ) -> MintedGrant:
        """Return a grant to push a version. ``bases`` are versions; with None the server chooses them."""
        named = {"bases": bases, "required_roles": required_roles, "required_claims": required_claims}
        body: dict[str, t.Any] = {"verb": "push", **_address(catalog_id, version, architecture)}
        body.update({name: list(values) for name, values in named.items() if values is not None})
        doing = f"get a grant to push {_named(catalog_id, version, architecture)}"
        return MintedGrant.from_json(self._http.json("POST", "grants", doing, body=body, idempotent=True))

    def renew_grant(self, token: str) -> RenewedGrant:
        """Return the next grant for ``token``, the current one. The server reads the rights anew."""
        reply = self._http.json(
            "POST", "grants/renew", "renew the grant", body={}, authorization=bearer(token), idempotent=True
        )
        return RenewedGrant.from_json(reply)

    # Manifests

    def manifests(self, filters: t.Mapping[str, str | bool | None] | None = None) -> t.Iterator[Manifest]:
        """Yield the manifests that the caller may see and that match the filters; they come page by page."""
        query: dict[str, str] = {}
        for name, value in (filters or {}).items():
            if isinstance(value, bool):
                query[name] = "true" if value else "false"
            elif value:
                query[name] = value
        for item in paged.items(self._http, "manifests", "manifests", "list manifests", query):
            yield Manifest.from_json(item)

    def resolve(
        self, catalog_id: str, version: str | None = None, architecture: str | None = None
    ) -> tuple[Manifest, ...]:
        """Return the manifests that a version, tag or range means, at most one for each architecture."""
        query = _address(catalog_id, version, architecture)
        doing = f"find {_named(catalog_id, version, architecture)}"
        reply = self._http.json("GET", "manifests/resolve", doing, query=query)
        return manifests_from_json(reply.get("manifests") if isinstance(reply, dict) else None)

    def manifest(self, manifest_id: str) -> Manifest:
        """Return one manifest."""
        return Manifest.from_json(self._http.json("GET", _of(manifest_id), f"read the manifest {manifest_id}"))

    def edit_manifest(self, manifest_id: str, changes: t.Mapping[str, t.Any]) -> Manifest:
        """Set fields of a manifest; return it as it is afterwards."""
        doing = f"change {_listed(changes)} of the manifest {manifest_id}"
        return Manifest.from_json(self._http.json("PATCH", _of(manifest_id), doing, body=dict(changes)))

    def taint(self, manifest_id: str, reason: str | None = None) -> Manifest:
        """Forbid its pull, reversibly."""
        return self._mark(manifest_id, "taint", reason)

    def untaint(self, manifest_id: str) -> Manifest:
        """Remove its taint."""
        return self._mark(manifest_id, "untaint", None)

    def revoke(self, manifest_id: str, reason: str | None = None) -> Manifest:
        """Forbid its pull for good."""
        return self._mark(manifest_id, "revoke", reason)

    def _mark(self, manifest_id: str, verb: str, reason: str | None) -> Manifest:
        body = {"reason": reason} if reason else {}
        path = f"{_of(manifest_id)}/{verb}"
        reply = self._http.json("POST", path, f"{verb} the manifest {manifest_id}", body=body, idempotent=True)
        return Manifest.from_json(reply)

    def delete_manifest(self, manifest_id: str) -> int:
        """Delete a manifest; return how many stored bytes become free by it, 0 if the server does not say."""
        reply = self._http.json("DELETE", _of(manifest_id), f"delete the manifest {manifest_id}")
        return 0 if reply is None else JsonReader(reply, "deletion").number("freed_bytes", 0)

    # What a transfer needs

    def listing(self, manifest_id: str) -> bytes:
        """Return the listing file of a manifest."""
        doing = f"read the listing of the manifest {manifest_id}"
        return self._http.read_bytes(f"{_of(manifest_id)}/listing", doing, max_bytes=MAX_INDEX_BYTES)

    def locator(self, manifest_id: str) -> bytes:
        """Return the locator file of a manifest."""
        doing = f"read the locator of the manifest {manifest_id}"
        return self._http.read_bytes(f"{_of(manifest_id)}/locator", doing, max_bytes=MAX_INDEX_BYTES)

    def deltas(self, manifest_id: str) -> DeltaList:
        """Return the deltas that lead to a manifest, directly or one after another."""
        doing = f"read the deltas of the manifest {manifest_id}"
        return DeltaList.from_json(self._http.json("GET", f"{_of(manifest_id)}/deltas", doing))

    def object_urls(
        self, manifest_id: str, objects: t.Iterable[ObjectName], kind: str = SEGMENTS
    ) -> dict[ObjectName, SignedUrl]:
        """Return URLs that read objects of one kind, each named by pack and SHA-256, for a pull of a manifest."""
        found: dict[ObjectName, SignedUrl] = {}
        for page in _pages(objects, URLS_OF_A_PULL):
            reply = self._http.json(
                "POST",
                f"{_of(manifest_id)}/urls",
                f"get URLs of {len(page)} {_KINDS[kind]} for the manifest {manifest_id}",
                body={kind: [{"pack": pack, "sha256": sha256} for pack, sha256 in page]},
                idempotent=True,
            )
            urls = {(item.get("pack"), item.get("sha256")): item for item in _items(reply, "urls")}
            found.update({name: _url_of(urls, name) for name in page})
        return found

    def begin_upload(self, request: UploadRequest) -> Upload:
        """Begin a push, or resume the open one of the same pusher for the same address."""
        doing = f"begin the push of {_named(request.catalog_id, request.version, request.architecture)}"
        reply = self._http.json("POST", "uploads", doing, body=request.to_json(), idempotent=True)
        return self._whole(Upload.from_json(reply))

    def upload(self, upload_id: str) -> Upload:
        """Return an open upload as it is now."""
        return self._whole(self._page_of_upload(upload_id))

    def _page_of_upload(self, upload_id: str, cursor: t.Optional[str] = None) -> Upload:
        query = {"cursor": cursor} if cursor is not None else None
        return Upload.from_json(self._http.json("GET", _upload(upload_id), f"read the upload {upload_id}", query=query))

    def _whole(self, first: Upload) -> Upload:
        """Return an upload with the segments of all pages.

        :raises BadReply: the server sends a page again
        """
        segments, cursor = list(first.segments), first.next
        seen: set[str] = set()
        while cursor is not None:
            if cursor in seen:
                raise BadReply(f"Could not read the upload {first.id}: the server sends the same page again and again.")
            seen.add(cursor)
            page = self._page_of_upload(first.id, cursor)
            segments += page.segments
            cursor = page.next
        return dataclasses.replace(first, segments=tuple(segments), next=None)

    def upload_urls(
        self, upload_id: str, objects: t.Iterable[tuple[str, int]], kind: str = SEGMENTS
    ) -> dict[str, SignedUrl]:
        """Return URLs that store objects of one kind, each given by SHA-256 and size in bytes."""
        found: dict[str, SignedUrl] = {}
        for page in _pages(objects, URLS_OF_AN_UPLOAD):
            reply = self._http.json(
                "POST",
                f"{_upload(upload_id)}/urls",
                f"get URLs for {len(page)} {_KINDS[kind]} of the upload {upload_id}",
                body={kind: [{"sha256": sha256, "size": size} for sha256, size in page]},
                idempotent=True,
            )
            urls = {item.get("sha256"): item for item in _items(reply, "urls")}
            found.update({sha256: _url_of(urls, sha256) for sha256, _size in page})
        return found

    def commit_upload(self, upload_id: str, revision: str, index: bytes) -> Manifest:
        """Make what was pushed visible, as the begin that answered with ``revision`` asked for.

        It is not repeated: if the answer is lost, the next push finds out what it said.

        :raises Conflict: another push of the same user has begun for the same address since then and asks for something
            else; or the version has other content
        """
        reply = self._http.json(
            "POST",
            f"{_upload(upload_id)}/commit",
            f"commit the upload {upload_id}",
            query={"revision": revision},
            data=index,
            timeout_seconds=COMMIT_TIMEOUT_SECONDS,
        )
        return Manifest.from_json(reply)

    def abort_upload(self, upload_id: str) -> None:
        """Give up a push; the server removes its objects."""
        self._http.json("DELETE", _upload(upload_id), f"abort the upload {upload_id}")


Item = t.TypeVar("Item")
Key = t.TypeVar("Key")


def _of(manifest_id: str) -> str:
    return f"manifests/{quote(manifest_id, safe='')}"


def _upload(upload_id: str) -> str:
    return f"uploads/{quote(upload_id, safe='')}"


def _listed(names: t.Iterable[str]) -> str:
    return ", ".join(sorted(name.replace("_", " ") for name in names))


def _pages(items: t.Iterable[Item], length: int) -> t.Iterator[list[Item]]:
    page: list[Item] = []
    for item in items:
        page.append(item)
        if len(page) == length:
            yield page
            page = []
    if page:
        yield page


def _items(reply: t.Any, name: str) -> list[dict[str, t.Any]]:
    items = reply.get(name) if isinstance(reply, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadReply(f"The server sent a reply whose field {name!r} is missing or not valid.")
    return items


def _url_of(urls: t.Mapping[t.Any, t.Any], key: Key) -> SignedUrl:
    if key not in urls:
        raise BadReply("The server did not send all the URLs that it was asked for.")
    return signed_url_from_json(urls[key])
