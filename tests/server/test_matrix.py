# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every route for every kind of caller. A route that has no row here fails the tests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from routes import all_routes
from rows import new_catalog_id, put_manifest, segments_of
from running import Server

CALLERS = (
    "anonymous",
    "nobody",  # a user without any right
    "reader",
    "pusher",
    "staff",  # another pusher
    "editor",
    "admin",
    "pull grant",
    "pull grant for another manifest",
    "push grant",
    "push grant for another version",
)

Cells = tuple[int, ...]
OPEN: Cells = (200,) * 11
UNSIGNED: Cells = (400,) * 11
READ: Cells = (401, 403, 200, 200, 200, 200, 200, 403, 403, 403, 403)
EDIT: Cells = (401, 403, 403, 403, 403, 200, 200, 403, 403, 403, 403)
SUPER: Cells = (401, 403, 403, 403, 403, 403, 200, 403, 403, 403, 403)
INDEX: Cells = (401, 403, 200, 200, 200, 200, 200, 200, 403, 200, 403)
PULL: Cells = (401, 403, 200, 200, 200, 200, 200, 200, 403, 403, 403)
MINT_PUSH: Cells = (401, 403, 403, 200, 200, 403, 200, 403, 403, 403, 403)
BEGIN: Cells = (401, 403, 403, 200, 200, 403, 200, 403, 403, 200, 403)
# An upload is its pusher's own, also against whoever sees everything.
UPLOAD: Cells = (401, 404, 404, 200, 404, 404, 404, 403, 403, 200, 403)
RENEW: Cells = (401, 403, 400, 400, 400, 400, 400, 200, 200, 200, 200)
KNOWN: Cells = (401, 200, 200, 200, 200, 200, 200, 403, 403, 403, 403)
OTHERS_KEY: Cells = (401, 404, 404, 404, 404, 404, 204, 403, 403, 403, 403)
OWN_GRANT: Cells = (401, 404, 204, 404, 404, 404, 204, 403, 403, 403, 403)


def _with(cells: Cells, status: int) -> Cells:
    return tuple(status if cell == 200 else cell for cell in cells)


@dataclass(frozen=True)
class Row:
    """A route, what is sent to it, and its answers. A row can have a name of its own behind the route."""

    cells: Cells
    body: Callable[[Scene], object] = lambda _scene: None


@dataclass
class Scene:
    """A manifest, another one, an upload, and grants for them."""

    server: Server

    def __post_init__(self) -> None:
        self.catalog_id = new_catalog_id()
        self.manifest_id = put_manifest(self.server, self.catalog_id, "1.0")
        self.other_id = put_manifest(self.server)
        self.segment = segments_of(self.server, self.manifest_id)[0]
        mine = {"catalog_id": self.catalog_id}
        pull = self.mint("reader", verb="pull", version="1.0", **mine)
        self.jti = pull["id"]
        other = self.server.call("GET", f"/manifests/{self.other_id}", "reader").json()["catalog_id"]
        self.grants = {
            "pull grant": pull["grant"],
            "pull grant for another manifest": self.mint("reader", verb="pull", catalog_id=other)["grant"],
            "push grant": self.mint("pusher", verb="push", version="2.0", bases=["1.0"], **mine)["grant"],
            "push grant for another version": self.mint("pusher", verb="push", version="3.0", bases=[], **mine)[
                "grant"
            ],
        }
        self.upload: dict[str, str] = {}
        # Somebody who asks for nothing, a role and a catalog id that nobody uses.
        self.user = f"user-{secrets.token_hex(6)}"
        self.role = f"ROLE-{secrets.token_hex(6).upper()}"
        self.empty = new_catalog_id()
        self.made("POST", "/users", {"username": self.user, "roles": ["READER"]})
        body = {"name": "matrix", "expires_in": 3600}
        self.key = self.made("POST", f"/users/{self.user}/api_keys", body)["key"]
        self.made("PUT", f"/roles/{self.role}", {})
        self.made("PUT", f"/catalog_ids/{self.empty}", {})

    def made(self, method: str, path: str, body: object) -> dict[str, str]:
        reply = self.server.call(method, path, "admin", json=body)
        assert reply.is_success, reply.text
        return dict(reply.json())

    def mint(self, by: str, **body: object) -> dict[str, str]:
        reply = self.server.call("POST", "/grants", by, json=body)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def begin_body(self) -> dict[str, object]:
        return {
            "catalog_id": self.catalog_id,
            "version": "2.0",
            "architecture": "arm64",
            "type": "pvm",
            "name": "Image.pvm",
            "chunk_size": 262144,
        }

    def path(self, template: str) -> str:
        if "{upload_id}" in template:
            # Each call gets an open one, of the pusher.
            self.upload = self.server.call("POST", "/uploads", "pusher", json=self.begin_body()).json()
        return template.format(
            manifest_id=self.manifest_id,
            upload_id=self.upload.get("id"),
            revision=self.upload.get("revision"),
            jti=self.jti,
            storage="local",
            key=f"packs/{'0' * 32}/{'0' * 64}" if "/objects/" in template else self.key,
            user=self.user,
            role=self.role,
            name="outbox",
            catalog_id=self.empty,
        )


MATRIX: dict[tuple[str, str, str], Row] = {
    ("GET", "/health/live", ""): Row(OPEN),
    ("GET", "/health/probe", ""): Row(OPEN),
    ("GET", "/health/ready", ""): Row(OPEN),
    ("GET", "/server", ""): Row(OPEN),
    ("GET", "/openapi.json", ""): Row(OPEN),
    ("POST", "/auth/token", ""): Row(
        _with(OPEN, 401), lambda _scene: {"email": secrets.token_hex(8), "password": "wrong"}
    ),
    ("POST", "/grants", "pull"): Row(READ, lambda scene: {"verb": "pull", "catalog_id": scene.catalog_id}),
    ("POST", "/grants", "push"): Row(
        MINT_PUSH, lambda scene: {"verb": "push", "catalog_id": scene.catalog_id, "version": "9"}
    ),
    ("POST", "/grants/renew", ""): Row(RENEW),
    ("DELETE", "/grants/{jti}", ""): Row(OWN_GRANT),
    ("GET", "/grants", ""): Row(KNOWN),
    ("GET", "/grants?user={user}", "of somebody else"): Row(SUPER),
    ("DELETE", "/grants?user={user}", ""): Row(_with(SUPER, 204)),
    ("GET", "/me", ""): Row(KNOWN),
    ("GET", "/users", ""): Row(SUPER),
    ("POST", "/users", ""): Row(_with(SUPER, 201), lambda _scene: {"username": f"new-{secrets.token_hex(6)}"}),
    ("GET", "/users/{user}", ""): Row(SUPER),
    ("PATCH", "/users/{user}", ""): Row(SUPER, lambda _scene: {"name": "Somebody"}),
    ("PATCH", "/users/{user}", "password"): Row(SUPER, lambda _scene: {"password": "another long password"}),
    ("DELETE", "/users/{user}", ""): Row(_with(SUPER, 204)),
    ("POST", "/users/{user}/logout", ""): Row(_with(SUPER, 204)),
    ("GET", "/users/{user}/api_keys", ""): Row(SUPER),
    ("POST", "/users/{user}/api_keys", ""): Row(_with(SUPER, 201), lambda _scene: {"name": "x", "expires_in": None}),
    ("DELETE", "/api_keys/{key}", ""): Row(OTHERS_KEY),
    ("GET", "/roles", ""): Row(SUPER),
    ("GET", "/roles/{role}", ""): Row(SUPER),
    ("PUT", "/roles/{role}", ""): Row(SUPER, lambda _scene: {"description": "x"}),
    ("DELETE", "/roles/{role}", ""): Row(_with(SUPER, 204)),
    ("GET", "/claims", ""): Row(SUPER),
    ("GET", "/audit", ""): Row(SUPER),
    ("GET", "/jobs", ""): Row(SUPER),
    ("GET", "/jobs/gc/plan", ""): Row(SUPER),
    ("GET", "/jobs/retention/plan", ""): Row(SUPER),
    ("GET", "/jobs/{name}", ""): Row(SUPER),
    ("POST", "/jobs/{name}/run", ""): Row(_with(SUPER, 202)),
    ("GET", "/catalog_ids", ""): Row(READ),
    ("GET", "/catalog_ids/{catalog_id}", ""): Row(READ),
    ("PUT", "/catalog_ids/{catalog_id}", ""): Row(SUPER, lambda _scene: {"native_only": True}),
    ("DELETE", "/catalog_ids/{catalog_id}", ""): Row(_with(SUPER, 204)),
    ("GET", "/manifests", ""): Row(READ),
    ("GET", "/manifests/resolve?catalog_id={manifest_id}", ""): Row(_with(READ, 404)),
    ("GET", "/manifests/{manifest_id}", ""): Row(READ),
    ("PATCH", "/manifests/{manifest_id}", ""): Row(EDIT, lambda _scene: {"description": "x"}),
    ("DELETE", "/manifests/{manifest_id}", ""): Row(EDIT),
    ("POST", "/manifests/{manifest_id}/taint", ""): Row(SUPER),
    ("POST", "/manifests/{manifest_id}/untaint", ""): Row(SUPER),
    ("POST", "/manifests/{manifest_id}/revoke", ""): Row(SUPER),
    ("GET", "/manifests/{manifest_id}/listing", ""): Row(INDEX),
    ("GET", "/manifests/{manifest_id}/locator", ""): Row(INDEX),
    ("POST", "/manifests/{manifest_id}/urls", ""): Row(
        PULL, lambda scene: {"segments": [{"pack": scene.segment[0], "sha256": scene.segment[1]}]}
    ),
    ("POST", "/uploads", ""): Row(BEGIN, lambda scene: scene.begin_body()),
    ("GET", "/uploads/{upload_id}", ""): Row(UPLOAD),
    ("POST", "/uploads/{upload_id}/urls", ""): Row(
        UPLOAD, lambda _scene: {"segments": [{"sha256": "0" * 64, "size": 100}]}
    ),
    # An empty body is no index.
    ("POST", "/uploads/{upload_id}/commit?revision={revision}", ""): Row(_with(UPLOAD, 400)),
    ("DELETE", "/uploads/{upload_id}", ""): Row(_with(UPLOAD, 204)),
    # Only the signature in the URL counts.
    ("GET", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
    ("HEAD", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
    ("HEAD", "/health/probe", ""): Row(OPEN),
    ("HEAD", "/health/live", ""): Row(OPEN),
    ("HEAD", "/health/ready", ""): Row(OPEN),
    ("PUT", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
}


@pytest.fixture(scope="module", name="scene")
def scene_fixture(server: Server) -> Scene:
    """One for the routes that change nothing that the others look at."""
    return Scene(server)


@pytest.mark.parametrize("route", list(MATRIX), ids=" ".join)
def test_who_may_do_what(server: Server, scene: Scene, route: tuple[str, str, str]) -> None:
    method, template, _name = route
    row = MATRIX[route]
    lasting = method == "DELETE" or template.endswith(("taint", "revoke"))
    answers: dict[str, int] = {}
    for caller in CALLERS:
        here = Scene(server) if lasting else scene
        bearer = here.grants.get(caller)
        by = None if bearer or caller == "anonymous" else caller
        more = {"json": row.body(here)} if row.body(here) is not None else {}
        answers[caller] = server.call(method, here.path(template), by, bearer=bearer, **more).status_code
    assert answers == dict(zip(CALLERS, row.cells, strict=True))


def test_every_route_has_a_row() -> None:
    rows = {(method, template.partition("?")[0]) for method, template, _name in MATRIX}
    assert rows == all_routes()


def test_what_is_reserved_for_some_needs_the_very_claim(server: Server) -> None:
    manifest_id = put_manifest(server)
    refused = server.call("PATCH", f"/manifests/{manifest_id}", "reader", json={"description": "x"})
    assert refused.json() == {
        "message": "You need the claim UPDATE_CATALOG_MANIFEST or CATALOG_MANAGER_UPDATE for this.",
        "code": 403,
        "error": "forbidden",
    }
