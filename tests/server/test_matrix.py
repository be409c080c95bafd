# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every route for every kind of caller, at every kind of catalog id. A route that has no row here fails the tests."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from routes import all_routes
from rows import new_catalog_id, put_manifest, segments_of
from running import PASSWORD, Server

CALLERS = (
    "anonymous",
    "nobody",  # a user without any right
    "reader",
    "owner",  # one whom the foreign catalog id names; nowhere else it may push
    "pusher",
    "staff",  # another pusher
    "editor",
    "manager",
    "helper",  # one who manages users, and reads
    "admin",
    "pull grant",
    "pull grant for another manifest",
    "push grant",
    "push grant for another version",
)

OWN = "own"  # open to all: each may do there what its claims allow
FOREIGN = "foreign"  # all see its versions, and its roles for pushes and tags are those of others
INVISIBLE = "invisible"  # only whoever has the role SUPER_USER sees its versions
PLACES = (OWN, FOREIGN, INVISIBLE)

# In place of the status 200: the list was answered, and nothing of the catalog id is in it.
NOT_LISTED = 0

Cells = tuple[int, ...]
OPEN: Cells = (200,) * 14
UNSIGNED: Cells = (400,) * 14
READ: Cells = (401, 403, 200, 200, 200, 200, 200, 200, 200, 200, 403, 403, 403, 403)
EDIT: Cells = (401, 403, 403, 403, 403, 403, 200, 200, 403, 200, 403, 403, 403, 403)
MARK: Cells = (401, 403, 403, 403, 403, 403, 403, 200, 403, 200, 403, 403, 403, 403)
SUPER: Cells = (401, 403, 403, 403, 403, 403, 403, 403, 403, 200, 403, 403, 403, 403)
# Whoever manages users, and whoever may do everything
PEOPLE: Cells = (401, 403, 403, 403, 403, 403, 403, 403, 200, 200, 403, 403, 403, 403)
INDEX: Cells = (401, 403, 200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 200, 403)
PULL: Cells = (401, 403, 200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 403, 403)
MINT_PUSH: Cells = (401, 403, 403, 403, 200, 200, 403, 200, 403, 200, 403, 403, 403, 403)
BEGIN: Cells = (401, 403, 403, 403, 200, 200, 403, 200, 403, 200, 403, 403, 200, 403)
# An upload is its pusher's own, also against whoever sees everything.
UPLOAD: Cells = (401, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200, 403)
RENEW: Cells = (401, 403, 400, 400, 400, 400, 400, 400, 400, 400, 200, 200, 200, 200)
KNOWN: Cells = (401, 200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 403, 403, 403)
OTHERS_KEY: Cells = (401, 404, 404, 404, 404, 404, 404, 404, 204, 204, 403, 403, 403, 403)
OWN_GRANT: Cells = (401, 404, 204, 404, 404, 404, 404, 404, 404, 204, 403, 403, 403, 403)


def _with(cells: Cells, status: int) -> Cells:
    return tuple(status if cell == 200 else cell for cell in cells)


def _for(cells: Cells, *callers: str, otherwise: int) -> Cells:
    """200 for these callers, and another status for all others that ``cells`` let in."""
    return tuple(
        200 if caller in callers else otherwise if cell == 200 else cell
        for caller, cell in zip(CALLERS, cells, strict=True)
    )


def _also(cells: Cells, *callers: str) -> Cells:
    """The cells, and 200 for these callers."""
    return tuple(200 if caller in callers else cell for caller, cell in zip(CALLERS, cells, strict=True))


@dataclass(frozen=True)
class Row:
    """A route, what is sent to it, and its answers in each place: where none are given, they are those of the own one.

    A row can have a name of its own behind the route. ``lists`` says that an answer has to name the catalog id.
    """

    own: Cells
    foreign: Cells | None = None
    invisible: Cells | None = None
    body: Callable[[Scene], object] = lambda _scene: None
    lists: bool = False

    def cells(self, place: str) -> Cells:
        return {OWN: self.own, FOREIGN: self.foreign, INVISIBLE: self.invisible}[place] or self.own


@dataclass
class Scene:
    """A manifest, another one, an upload, and grants for them, all given out before the catalog id was closed."""

    server: Server
    place: str = OWN

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
        self.upload = self.made("POST", "/uploads", self.begin_body(), "pusher")
        # Somebody who asks for nothing, a role and a catalog id that nobody uses.
        self.user = f"user-{secrets.token_hex(6)}"
        self.role = f"ROLE-{secrets.token_hex(6).upper()}"
        self.empty = new_catalog_id()
        # One who may as much as whoever manages users, and two who may more; the last one is disabled.
        self.equal, self.stronger, self.mighty = (f"{self.user}-{number}" for number in range(3))
        for name, role in ((self.user, "READER"), (self.equal, "READER"), (self.stronger, "PUBLISHER")):
            self.made("POST", "/users", {"username": name, "roles": [role]})
        self.made("POST", "/users", {"username": self.mighty, "roles": ["SUPER_USER"]})
        self.made("PATCH", f"/users/{self.mighty}", {"disabled": True})
        body = {"name": "matrix", "expires_in": 3600}
        self.key = self.made("POST", f"/users/{self.user}/api_keys", body)["key"]
        self.made("PUT", f"/roles/{self.role}", {})
        self.made("PUT", f"/catalog_ids/{self.empty}", {})
        self.close()

    def close(self) -> None:
        """What makes it foreign or invisible."""
        if self.place == FOREIGN:
            for name in (self.catalog_id, self.empty):
                self.made("PUT", f"/catalog_ids/{name}", {"push_roles": ["OWNERS"], "tag_roles": ["OWNERS"]})
        elif self.place == INVISIBLE:
            self.made("PATCH", f"/manifests/{self.manifest_id}", {"required_roles": ["HIDDEN"]})

    def made(self, method: str, path: str, body: object, by: str = "admin") -> dict[str, str]:
        reply = self.server.call(method, path, by, json=body)
        assert reply.is_success, reply.text
        return dict(reply.json())

    def mint(self, by: str, **body: object) -> dict[str, str]:
        return self.made("POST", "/grants", body, by)

    def begin_body(self, **more: object) -> dict[str, object]:
        return {
            "catalog_id": self.catalog_id,
            "version": "2.0",
            "architecture": "arm64",
            "type": "pvm",
            "name": "Image.pvm",
            "chunk_size": 262144,
            **more,
        }

    def path(self, template: str) -> str:
        return template.format(
            manifest_id=self.manifest_id,
            upload_id=self.upload["id"],
            revision=self.upload["revision"],
            jti=self.jti,
            storage="local",
            key=f"packs/{'0' * 32}/{'0' * 64}" if "/objects/" in template else self.key,
            user=self.user,
            equal=self.equal,
            stronger=self.stronger,
            mighty=self.mighty,
            role=self.role,
            name="outbox",
            catalog_id=self.catalog_id,
            empty=self.empty,
        )

    def status(self, caller: str, method: str, template: str, row: Row) -> int:
        """What a caller is answered."""
        bearer = self.grants.get(caller)
        by = None if bearer or caller == "anonymous" else caller
        body = row.body(self)
        more = {"json": body} if body is not None else {}
        reply = self.server.call(method, self.path(template), by, bearer=bearer, **more)
        if row.lists and reply.status_code == 200 and self.catalog_id not in reply.text:
            return NOT_LISTED
        return reply.status_code


# Where the roles of the catalog id count, and where a push is over that was begun before
MAY_PUSH = _also(MINT_PUSH, "owner")
MAY_BEGIN = _also(BEGIN, "owner")
REPLACE: Cells = _also(MINT_PUSH)
MAY_REPLACE = _also(REPLACE, "owner")
CLOSED = _with(UPLOAD, 403)
MARKED = Row(MARK, _for(MARK, "admin", otherwise=403), _for(MARK, "admin", otherwise=404))
# Whoever may not push there any more needs no base.
INDEXED = Row(INDEX, PULL, _for(PULL, "admin", otherwise=404))


def _edited(body: object) -> Row:
    """The row of a change of a manifest."""
    return Row(EDIT, _for(EDIT, "admin", otherwise=403), _for(EDIT, "admin", otherwise=404), lambda _scene: body)


def _new_user(**rights: list[str]) -> dict[str, object]:
    return {"username": f"new-{secrets.token_hex(6)}", **rights}


NEW_KEY = {"name": "x", "expires_in": None}

MATRIX: dict[tuple[str, str, str], Row] = {
    ("GET", "/health/live", ""): Row(OPEN),
    ("GET", "/health/probe", ""): Row(OPEN),
    ("GET", "/health/ready", ""): Row(OPEN),
    ("GET", "/server", ""): Row(OPEN),
    ("GET", "/openapi.json", ""): Row(OPEN),
    ("POST", "/auth/token", ""): Row(
        _with(OPEN, 401), body=lambda _scene: {"email": secrets.token_hex(8), "password": "wrong"}
    ),
    ("POST", "/grants", "pull"): Row(
        READ, READ, _for(READ, "admin", otherwise=404), lambda scene: {"verb": "pull", "catalog_id": scene.catalog_id}
    ),
    ("POST", "/grants", "push"): Row(
        MINT_PUSH,
        _for(MAY_PUSH, "owner", "admin", otherwise=403),
        _for(MINT_PUSH, "admin", otherwise=403),
        lambda scene: {"verb": "push", "catalog_id": scene.catalog_id, "version": "9"},
    ),
    ("POST", "/grants/renew", ""): Row(
        RENEW,
        _for(RENEW, "pull grant", "pull grant for another manifest", otherwise=403),
        (401, 403, 400, 400, 400, 400, 400, 400, 400, 400, 404, 200, 403, 403),
    ),
    ("DELETE", "/grants/{jti}", ""): Row(OWN_GRANT),
    ("GET", "/grants", ""): Row(KNOWN),
    ("GET", "/grants?user={user}", "of somebody else"): Row(PEOPLE),
    ("DELETE", "/grants?user={user}", ""): Row(_with(PEOPLE, 204)),
    ("GET", "/me", ""): Row(KNOWN),
    ("GET", "/users", ""): Row(PEOPLE),
    ("POST", "/users", ""): Row(_with(PEOPLE, 201), body=lambda _scene: _new_user(roles=["READER"])),
    ("GET", "/users/{user}", ""): Row(PEOPLE),
    ("PATCH", "/users/{user}", ""): Row(PEOPLE, body=lambda _scene: {"name": "Somebody"}),
    ("PATCH", "/users/{user}", "password"): Row(PEOPLE, body=lambda _scene: {"password": "another long password"}),
    ("DELETE", "/users/{user}", ""): Row(_with(PEOPLE, 204)),
    ("POST", "/users/{user}/logout", ""): Row(_with(PEOPLE, 204)),
    ("GET", "/users/{user}/api_keys", ""): Row(PEOPLE),
    ("POST", "/users/{user}/api_keys", ""): Row(_with(PEOPLE, 201), body=lambda _scene: NEW_KEY),
    # Nobody gets a right by somebody else that he has not got himself.
    ("POST", "/users", "with more rights"): Row(_with(SUPER, 201), body=lambda _scene: _new_user(roles=["PUBLISHER"])),
    ("PATCH", "/users/{equal}", "more roles"): Row(SUPER, body=lambda _scene: {"roles": ["READER", "PUBLISHER"]}),
    ("PATCH", "/users/{equal}", "more claims"): Row(SUPER, body=lambda _scene: {"claims": ["PUSH_CATALOG_MANIFEST"]}),
    ("PATCH", "/users/{stronger}", "fewer roles"): Row(SUPER, body=lambda _scene: {"roles": ["READER"]}),
    ("PATCH", "/users/{mighty}", "password"): Row(SUPER, body=lambda _scene: {"password": "another long password"}),
    ("PATCH", "/users/{mighty}", "mail address"): Row(SUPER, body=lambda scene: {"email": f"{scene.mighty}@x"}),
    ("PATCH", "/users/{mighty}", "enabled"): Row(SUPER, body=lambda _scene: {"disabled": False}),
    ("POST", "/users/{mighty}/api_keys", ""): Row(_with(SUPER, 201), body=lambda _scene: NEW_KEY),
    ("GET", "/users/{mighty}/api_keys", ""): Row(PEOPLE),
    ("POST", "/users/{mighty}/logout", ""): Row(_with(SUPER, 204)),
    ("DELETE", "/users/{mighty}", ""): Row(_with(SUPER, 204)),
    ("DELETE", "/grants?user={mighty}", ""): Row(_with(SUPER, 204)),
    ("DELETE", "/api_keys/{key}", ""): Row(OTHERS_KEY),
    ("GET", "/roles", ""): Row(PEOPLE),
    ("GET", "/roles/{role}", ""): Row(PEOPLE),
    ("PUT", "/roles/{role}", ""): Row(SUPER, body=lambda _scene: {"description": "x"}),
    ("DELETE", "/roles/{role}", ""): Row(_with(SUPER, 204)),
    ("GET", "/claims", ""): Row(PEOPLE),
    ("GET", "/audit", ""): Row(SUPER),
    ("GET", "/jobs", ""): Row(SUPER),
    ("GET", "/jobs/gc/plan", ""): Row(SUPER),
    ("GET", "/jobs/retention/plan", ""): Row(SUPER),
    ("GET", "/jobs/{name}", ""): Row(SUPER),
    ("POST", "/jobs/{name}/run", ""): Row(_with(SUPER, 202)),
    ("GET", "/catalog_ids", ""): Row(READ),
    ("GET", "/catalog_ids/{catalog_id}", ""): Row(READ, READ, _for(READ, "admin", otherwise=404)),
    ("PUT", "/catalog_ids/{catalog_id}", ""): Row(
        MARK,
        _for(MARK, "admin", otherwise=403),
        _for(MARK, "admin", otherwise=403),
        lambda _scene: {"native_only": True},
    ),
    ("DELETE", "/catalog_ids/{catalog_id}", "with versions"): Row(
        _with(MARK, 409),
        _with(_for(MARK, "admin", otherwise=403), 409),
        _with(_for(MARK, "admin", otherwise=404), 409),
    ),
    # To nobody it is invisible.
    ("DELETE", "/catalog_ids/{empty}", "without versions"): Row(
        _with(MARK, 204), _with(_for(MARK, "admin", otherwise=404), 204)
    ),
    ("GET", "/manifests", ""): Row(READ),
    ("GET", "/manifests?catalog_id={catalog_id}", "of a catalog id"): Row(
        READ, READ, _for(READ, "admin", otherwise=NOT_LISTED), lists=True
    ),
    ("GET", "/manifests/resolve?catalog_id={catalog_id}", ""): Row(READ, READ, _for(READ, "admin", otherwise=404)),
    ("GET", "/manifests/{manifest_id}", ""): Row(READ, READ, _for(READ, "admin", otherwise=404)),
    ("PATCH", "/manifests/{manifest_id}", ""): _edited({"description": "x"}),
    ("PATCH", "/manifests/{manifest_id}", "tags"): _edited({"tags": ["stable"]}),
    ("PATCH", "/manifests/{manifest_id}", "roles"): _edited({"required_claims": []}),
    ("DELETE", "/manifests/{manifest_id}", ""): _edited(None),
    ("POST", "/manifests/{manifest_id}/taint", ""): MARKED,
    ("POST", "/manifests/{manifest_id}/untaint", ""): MARKED,
    ("POST", "/manifests/{manifest_id}/revoke", ""): MARKED,
    ("GET", "/manifests/{manifest_id}/listing", ""): INDEXED,
    ("GET", "/manifests/{manifest_id}/locator", ""): INDEXED,
    ("GET", "/manifests/{manifest_id}/deltas", ""): Row(PULL, PULL, _for(PULL, "admin", otherwise=404)),
    ("POST", "/manifests/{manifest_id}/urls", ""): Row(
        INDEX,
        PULL,
        _for(PULL, "admin", otherwise=404),
        lambda scene: {"segments": [{"pack": scene.segment[0], "sha256": scene.segment[1]}]},
    ),
    ("POST", "/uploads", ""): Row(
        BEGIN,
        _for(MAY_BEGIN, "owner", "admin", otherwise=403),
        _for(BEGIN, "admin", otherwise=403),
        lambda scene: scene.begin_body(),
    ),
    ("POST", "/uploads", "force"): Row(
        REPLACE,
        _for(MAY_REPLACE, "owner", "admin", otherwise=403),
        _for(REPLACE, "admin", otherwise=403),
        lambda scene: scene.begin_body(version="1.0", force=True),
    ),
    ("GET", "/uploads/{upload_id}", ""): Row(UPLOAD, CLOSED, CLOSED),
    ("POST", "/uploads/{upload_id}/urls", ""): Row(
        UPLOAD, CLOSED, CLOSED, lambda _scene: {"segments": [{"sha256": "0" * 64, "size": 100}]}
    ),
    # An empty body is no index.
    ("POST", "/uploads/{upload_id}/commit?revision={revision}", ""): Row(_with(UPLOAD, 400), CLOSED, CLOSED),
    # Whoever may not push there any more still aborts what he began.
    ("DELETE", "/uploads/{upload_id}", ""): Row(_with(UPLOAD, 204)),
    # Only the signature in the URL counts.
    ("GET", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
    ("HEAD", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
    ("HEAD", "/health/probe", ""): Row(OPEN),
    ("HEAD", "/health/live", ""): Row(OPEN),
    ("HEAD", "/health/ready", ""): Row(OPEN),
    ("PUT", "/objects/{storage}/{key}", ""): Row(UNSIGNED),
}


# Of the session, as the server is: a process that shares the tests with others may come back to this file.
@pytest.fixture(scope="session", name="scenes")
def scenes_fixture(server: Server) -> dict[str, Scene]:
    """One of each place, for the requests that change nothing that the others look at."""
    for name, roles, claims in (
        ("manager", ["MANAGER"], []),
        ("owner", ["USER", "OWNERS"], []),
        ("helper", ["READER"], ["MANAGE_USERS"]),
    ):
        body = {"username": name, "password": PASSWORD, "roles": roles, "claims": claims}
        server.call("POST", "/users", "admin", json=body).raise_for_status()
    return {place: Scene(server, place) for place in PLACES}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("route", list(MATRIX), ids=" ".join)
def test_who_may_do_what(server: Server, scenes: dict[str, Scene], route: tuple[str, str, str], place: str) -> None:
    method, template, _name = route
    lasting = method == "DELETE" or template.endswith(("taint", "revoke"))
    here = Scene(server, place) if lasting else scenes[place]
    answers: dict[str, int] = {}
    for caller in CALLERS:
        answers[caller] = here.status(caller, method, template, MATRIX[route])
        if lasting and answers[caller] < 300:
            here = Scene(server, place)
    assert answers == dict(zip(CALLERS, MATRIX[route].cells(place), strict=True))


def test_every_route_has_a_row() -> None:
    rows = {(method, _route_of(template)) for method, template, _name in MATRIX}
    assert rows == all_routes()


def _route_of(template: str) -> str:
    path = template.partition("?")[0].replace("{empty}", "{catalog_id}")
    return re.sub(r"\{(equal|stronger|mighty)\}", "{user}", path)


def test_every_kind_of_caller_and_place_makes_a_difference() -> None:
    """No two columns of the matrix are the same, so none of them is there for nothing."""
    by_caller = {
        caller: [row.cells(place)[number] for row in MATRIX.values() for place in PLACES]
        for number, caller in enumerate(CALLERS)
    }
    by_place = {place: [row.cells(place) for row in MATRIX.values()] for place in PLACES}
    for columns in (by_caller, by_place):
        assert [pair for pair in itertools.combinations(columns, 2) if columns[pair[0]] == columns[pair[1]]] == []


def test_what_names_a_manifest_is_answered_otherwise_where_it_is_invisible() -> None:
    named = {route: row for route, row in MATRIX.items() if re.search(r"\{(manifest|catalog|upload)_id\}", route[1])}
    same = [route for route, row in named.items() if row.cells(INVISIBLE) == row.cells(OWN)]
    # One's own upload is one's own wherever it is.
    assert same == [("DELETE", "/uploads/{upload_id}", "")]


def test_what_is_reserved_for_some_needs_the_very_claim(server: Server) -> None:
    manifest_id = put_manifest(server)
    refused = server.call("PATCH", f"/manifests/{manifest_id}", "reader", json={"description": "x"})
    assert refused.json() == {
        "message": "You need the claim UPDATE_CATALOG_MANIFEST or CATALOG_MANAGER_UPDATE for this.",
        "code": 403,
        "error": "forbidden",
    }
