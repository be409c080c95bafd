# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many statements a request sends to the database: exactly so many, however much there is.

BEGIN and the advisory locks of PostgreSQL are not counted: which of them there are depends on the database.
"""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from catalog_server import telemetry
from catalog_server.app import create_app
from catalog_server.connections import OpenConnections
from catalog_server.settings_sources import load_settings
from catalog_server.unit_of_work import Services, utc_now
from packs import make_pack
from rows import new_catalog_id
from running import PASSWORD, Template, no_authorities, wait_until
from sqlalchemy import event
from transfer_client import FILES, NEXT_FILES, Client, Pushed, good

_NUMBERS = itertools.count()
_NOT_COUNTED = ("BEGIN", "SELECT pg_advisory")


class Counting:
    """The application on a real socket in this process, where its statements can be seen."""

    def __init__(self, services: Services, url: str) -> None:
        self.url = url
        self.verify = no_authorities()
        self.statements: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
        self._tokens: dict[str, str] = {}
        event.listen(services.database.engine, "before_cursor_execute", self._see)

    def _see(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        request_id = telemetry.request_id.get()
        if request_id is not None and not statement.startswith(_NOT_COUNTED):
            self.statements[request_id].append(statement)

    def token(self, name: str) -> str:
        """A login token of one of the people of the tests."""
        if name not in self._tokens:
            self._tokens[name] = good(self.login(name))["token"]
        return self._tokens[name]

    def login(self, name: str) -> httpx.Response:
        body = {"username": name, "password": PASSWORD}
        return httpx.post(f"{self.url}/api/v1/auth/token", json=body, trust_env=False, timeout=30)

    def of(self, response: httpx.Response) -> list[str]:
        """The statements of the request that was answered so."""
        assert response.is_success, response.text[:1000]
        return self.statements[response.headers["x-request-id"]]


@pytest.fixture(name="counting", scope="module")
def counting_fixture(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """A server whose statements are counted. Its jobs do not run by themselves."""
    data_dir = tmp_path_factory.mktemp("counting") / "data"
    with template.copied(data_dir, {"CATALOG_DATA_DIR": str(data_dir), "CATALOG_JOBS_SECONDS": "0"}) as settings:
        app = create_app(load_settings(settings), OpenConnections(100, 100))
        services: Services = app.state.services
        services.storages.prepare(utc_now())
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Counting(services, f"http://127.0.0.1:{port}")
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class Scene:
    """A catalog id with one version, and some people."""

    counting: Counting
    catalog_id: str
    pushed: Pushed
    pusher: Client
    reader: Client
    editor: Client

    @property
    def address(self) -> str:
        """The path of the manifest."""
        return f"/manifests/{self.pushed.id}"

    @property
    def used(self) -> list[tuple[str, str]]:
        """Its segments."""
        return [(one.pack, one.sha256) for one in self.pushed.pack.locator.segments]


@pytest.fixture(name="scene")
def scene_fixture(counting: Counting) -> Scene:
    """Everybody has done something before: what is needed once is there."""
    pusher, reader, editor = (Client(counting, counting.token(name)) for name in ("pusher", "reader", "editor"))
    catalog_id = new_catalog_id()
    return Scene(counting, catalog_id, pusher.push(catalog_id), pusher, reader, editor)


def get(scene: Scene) -> httpx.Response:
    return scene.reader.http.get(scene.address)


def page(scene: Scene) -> httpx.Response:
    return scene.reader.http.get("/manifests")


def list_one(scene: Scene) -> httpx.Response:
    return scene.reader.http.get("/manifests", params={"catalog_id": scene.catalog_id})


def get_catalog_id(scene: Scene) -> httpx.Response:
    return scene.reader.http.get(f"/catalog_ids/{scene.catalog_id}")


def list_catalog_ids(scene: Scene) -> httpx.Response:
    return scene.reader.http.get("/catalog_ids")


def resolve(scene: Scene) -> httpx.Response:
    return scene.reader.http.get("/manifests/resolve", params={"catalog_id": scene.catalog_id})


def mint_pull(scene: Scene) -> httpx.Response:
    return scene.reader.http.post("/grants", json={"verb": "pull", "catalog_id": scene.catalog_id})


def mint_push(scene: Scene) -> httpx.Response:
    return scene.pusher.http.post("/grants", json={"verb": "push", "catalog_id": scene.catalog_id, "version": "2.0"})


def granted(scene: Scene) -> Client:
    return Client(scene.counting, good(mint_pull(scene))["grant"])


def renew(scene: Scene) -> httpx.Response:
    return granted(scene).http.post("/grants/renew")


def first_urls(scene: Scene) -> httpx.Response:
    return granted(scene).read_urls(scene.pushed.id, scene.used)


def urls_again(scene: Scene) -> httpx.Response:
    client = granted(scene)
    good(client.read_urls(scene.pushed.id, scene.used[:1]))
    return client.read_urls(scene.pushed.id, scene.used)


def listing(scene: Scene) -> httpx.Response:
    return granted(scene).http.get(f"{scene.address}/listing")


def locator(scene: Scene) -> httpx.Response:
    return granted(scene).http.get(f"{scene.address}/locator")


def read_object(scene: Scene) -> httpx.Response:
    url = good(first_urls(scene))["urls"][0]["url"]
    return scene.reader.anybody.get(url)


def begin(scene: Scene) -> httpx.Response:
    return scene.pusher.begin(scene.catalog_id, f"2.{next(_NUMBERS)}", bases=[scene.pushed.id])


def store_urls(scene: Scene) -> httpx.Response:
    upload_id = good(begin(scene))["id"]
    return scene.pusher.store_urls(upload_id, {"a" * 64: 1000, "b" * 64: 1000})


def store_object(scene: Scene) -> httpx.Response:
    upload_id = good(begin(scene))["id"]
    sha256, data = next(iter(make_pack(upload_id, NEXT_FILES).segments.items()))
    made = good(scene.pusher.store_urls(upload_id, {sha256: len(data)}))["urls"][0]
    return scene.pusher.anybody.put(made["url"], content=data, headers=made["headers"])


def commit(scene: Scene) -> httpx.Response:
    upload_id = good(begin(scene))["id"]
    pack = make_pack(upload_id, NEXT_FILES, base=scene.pushed.pack)
    scene.pusher.store(upload_id, pack)
    return scene.pusher.commit(upload_id, pack.index)


def first_commit(scene: Scene) -> httpx.Response:
    catalog_id = new_catalog_id()
    upload_id = good(scene.pusher.begin(catalog_id))["id"]
    pack = make_pack(upload_id, FILES)
    scene.pusher.store(upload_id, pack)
    return scene.pusher.commit(upload_id, pack.index)


def edit(scene: Scene) -> httpx.Response:
    return scene.editor.http.patch(scene.address, json={"description": f"change {next(_NUMBERS)}"})


def edit_nothing(scene: Scene) -> httpx.Response:
    return scene.editor.http.patch(scene.address, json={"tags": []})


def log_in(scene: Scene) -> httpx.Response:
    return scene.counting.login("reader")


COUNTS: dict[Callable[[Scene], httpx.Response], int] = {
    get: 2,
    page: 3,
    list_one: 3,
    get_catalog_id: 4,
    list_catalog_ids: 4,
    resolve: 3,
    mint_pull: 3,
    mint_push: 5,
    renew: 3,
    first_urls: 4,
    urls_again: 4,
    listing: 3,
    locator: 3,
    read_object: 3,
    begin: 19,
    store_urls: 4,
    store_object: 5,
    commit: 79,
    first_commit: 64,
    edit: 14,
    edit_nothing: 9,
    log_in: 8,
}


@pytest.mark.parametrize("ask", COUNTS, ids=lambda ask: ask.__name__)
def test_a_request_takes_so_many_statements(scene: Scene, ask: Callable[[Scene], httpx.Response]) -> None:
    ask(scene)
    statements = scene.counting.of(ask(scene))
    assert len(statements) == COUNTS[ask], "\n\n".join(statements)
