# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pusher and a puller that speak the native API step by step, so that tests can leave out or spoil any step."""

from __future__ import annotations

import ssl
import typing as t
from dataclasses import dataclass

import httpx
from catalog_server.models.transfers import Segment
from described import check_described
from packs import CHUNK_SIZE, HandMade, content, make_pack
from running import Server

Json = dict[str, t.Any]


def address(catalog_id: str, version: str = "1.0", **fields: t.Any) -> Json:
    """What a pusher says at begin."""
    return {
        "catalog_id": catalog_id,
        "version": version,
        "architecture": "arm64",
        "type": "macvm",
        "name": "Runner.macvm",
        "chunk_size": CHUNK_SIZE,
        **fields,
    }


# Of no begin
NO_REVISION = "0" * 32

FILES = {"config.pvs": content(1, 1), "disk/data": content(2) + bytes(3 * CHUNK_SIZE)}
NEXT_FILES = {"config.pvs": content(1, 1), "disk/data": content(3) + bytes(3 * CHUNK_SIZE)}


def error(response: httpx.Response, status: int, word: str) -> str:
    """Check that a response is that error, and return its message."""
    assert response.status_code == status, response.text[:1000]
    body = response.json()
    assert (body["code"], body["error"]) == (status, word)
    assert response.headers["content-type"] == "application/json"
    return str(body["message"])


def good(response: httpx.Response) -> t.Any:
    """Check that a response is none, and return its body."""
    assert response.status_code in (200, 201, 204), response.text[:1000]
    return response.json() if response.content else None


class Reached(t.Protocol):
    """A server, and tokens of the people of the tests."""

    url: str
    verify: ssl.SSLContext

    def token(self, name: str) -> str: ...


@dataclass
class Pushed:
    """A version that was pushed."""

    manifest: Json
    pack: HandMade
    upload_id: str

    @property
    def id(self) -> str:
        return str(self.manifest["id"])


class Client:
    """One caller, by a login token or a grant."""

    def __init__(self, server: Reached, token: str) -> None:
        self.http = httpx.Client(
            base_url=f"{server.url}/api",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
            event_hooks={"response": [check_described]},
            verify=server.verify,
        )
        # What the last begin of this client said of each upload
        self.revisions: dict[str, str] = {}
        # Signed URLs need no credentials, and get none.
        self.anybody = httpx.Client(
            timeout=30, trust_env=False, event_hooks={"response": [check_described]}, verify=server.verify
        )

    @classmethod
    def of(cls, server: Reached, name: str) -> Client:
        """One of the people of the tests."""
        return cls(server, server.token(name))

    def begin(self, catalog_id: str, version: str = "1.0", **fields: t.Any) -> httpx.Response:
        reply = self.http.post("/uploads", json=address(catalog_id, version, **fields))
        if reply.status_code == 200:
            self.revisions[reply.json()["id"]] = reply.json()["revision"]
        return reply

    def store_urls(self, upload_id: str, segments: t.Mapping[str, int]) -> httpx.Response:
        wanted = [{"sha256": sha256, "size": size} for sha256, size in segments.items()]
        return self.http.post(f"/uploads/{upload_id}/urls", json={"segments": wanted})

    def store(self, upload_id: str, pack: HandMade, leave_out: t.Container[str] = ()) -> None:
        """Store all new segments of a pack but some."""
        sizes = {sha256: len(data) for sha256, data in pack.segments.items() if sha256 not in leave_out}
        for made in good(self.store_urls(upload_id, sizes))["urls"]:
            good(self.anybody.put(made["url"], content=pack.segments[made["sha256"]], headers=made["headers"]))

    def commit(self, upload_id: str, index: bytes, revision: str | None = None) -> httpx.Response:
        """Commit by the last begin of this client, or by another revision."""
        return self.http.post(
            f"/uploads/{upload_id}/commit",
            params={"revision": revision or self.revisions.get(upload_id, NO_REVISION)},
            content=index,
            headers={"Content-Type": "application/octet-stream"},
        )

    def push(
        self,
        catalog_id: str,
        version: str = "1.0",
        files: t.Mapping[str, bytes] | None = None,
        base: Pushed | None = None,
        **fields: t.Any,
    ) -> Pushed:
        """All of a push."""
        if base is not None:
            fields["bases"] = [base.id]
        upload_id = good(self.begin(catalog_id, version, **fields))["id"]
        pack = make_pack(upload_id, files or FILES, base=base.pack if base is not None else None)
        self.store(upload_id, pack)
        return Pushed(good(self.commit(upload_id, pack.index)), pack, upload_id)

    def grant(self, verb: str, catalog_id: str, version: str = "1.0", **fields: t.Any) -> Json:
        return t.cast(
            Json,
            good(
                self.http.post("/grants", json={"verb": verb, "catalog_id": catalog_id, "version": version, **fields})
            ),
        )

    def granted(self, server: Reached, verb: str, catalog_id: str, version: str = "1.0", **fields: t.Any) -> Client:
        """The same caller, with a grant."""
        return Client(server, self.grant(verb, catalog_id, version, **fields)["grant"])

    def manifest(self, manifest_id: str) -> Json:
        return t.cast(Json, good(self.http.get(f"/manifests/{manifest_id}")))

    def read_urls(self, manifest_id: str, segments: t.Iterable[tuple[str, str]]) -> httpx.Response:
        wanted = [{"pack": pack, "sha256": sha256} for pack, sha256 in segments]
        return self.http.post(f"/manifests/{manifest_id}/urls", json={"segments": wanted})


def objects(server: Server, upload_id: str) -> set[str]:
    """Names of the files in the folder of a pack, but for its state, which a job writes at its own time."""
    folder = server.data_dir / "storage/packs" / upload_id
    return {path.name for path in folder.iterdir()} - {"state.json"} if folder.exists() else set()


def kept_segments(server: Server, upload_id: str) -> set[str]:
    """SHA-256 of the segments of a pack that are not condemned; those that are must still be in storage."""
    with server.services.database.reading() as session:
        rows = session.query(Segment).filter_by(pack=upload_id).all()
    assert {row.sha256 for row in rows} == {name for name in objects(server, upload_id) if "." not in name}
    return {row.sha256 for row in rows if row.condemned_at is None}
