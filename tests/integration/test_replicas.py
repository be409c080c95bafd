# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A push and a pull through nginx, before two servers on PostgreSQL of which one dies in the middle."""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ansible_collections.macfleet.parallels.tests.integration.gate import DOWN, UP, Gate
from ansible_collections.macfleet.parallels.tests.integration.images import MIB, small_bundle, tree
from ansible_collections.macfleet.parallels.tests.integration.stage import Results, Stage, task
from ansible_collections.macfleet.parallels.tests.support import certificates, nginx
from ansible_collections.macfleet.parallels.tests.support.postgres import NoPostgres, running
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

IMAGE = "replicated-image"
# Seven full segments, which nginx hands to the servers by turns.
SIZE = 224 * MIB
# A server dies in the middle of an object: these bytes of its first ones have passed.
HELD_BYTES = 10 * MIB
PATIENCE_SECONDS = 180


@dataclass(frozen=True)
class Installation:
    """What the servers share, and what they are started with."""

    directory: Path
    python: str
    settings: t.Mapping[str, str]
    certificate: certificates.Certificate

    def server(self, name: str) -> ServerProcess:
        """One of them, with a data directory of its own."""
        return ServerProcess(self.directory / name, self.python, self.settings)


@dataclass(frozen=True)
class Survived:
    """A transfer that went on when a server died.

    ``by_other`` counts the objects that the other server had moved when it died, and at the end; ``by_dead`` those of
    the dead one.
    """

    result: dict[str, t.Any]
    by_other: tuple[int, int]
    by_dead: tuple[int, int]


@pytest.fixture(scope="module")
def installation(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Installation]:
    directory = tmp_path_factory.mktemp("replicas")
    secrets = directory / "secrets"
    secrets.write_text("a secret that all servers share, and long enough\n", encoding="ascii")
    with contextlib.ExitStack() as blocks:
        try:
            postgres = blocks.enter_context(running())
        except NoPostgres as reason:
            pytest.skip(str(reason))
        settings = {
            "CATALOG_DATABASE_URL": postgres.url(postgres.create()),
            "CATALOG_SERVER_SECRET_FILE": str(secrets),
            "CATALOG_STORAGE_ROOT": str(directory / "storage"),
        }
        yield Installation(directory, stage.server.process.python, settings, certificates.make(directory))


def _moved(server: ServerProcess) -> int:
    return sum("/objects/" in request for request in server.requests())


def _transfer(
    stage: Stage,
    installation: Installation,
    module: str,
    args: t.Mapping[str, t.Any],
    direction: str,
    *,
    on: str,
    dies: int,
) -> Survived:
    """Run a module through the proxy; one server dies in the middle of an object.

    Its gate is shut when bytes of its objects have passed, so it cannot end before it dies, however fast the rest is.
    """
    with contextlib.ExitStack() as blocks:
        servers = [blocks.enter_context(installation.server(name)) for name in ("server-1", "server-2")]
        dead, other = servers[dies], servers[1 - dies]
        gate = blocks.enter_context(Gate(dead.url))
        addresses = [urlsplit(url).netloc for url in (gate.url, other.url)]
        directory = installation.directory / module
        directory.mkdir()
        try:
            url = blocks.enter_context(nginx.running(directory, addresses, installation.certificate))
        except nginx.NoNginx as reason:
            pytest.skip(str(reason))
        gate.hold(direction, lambda total: total > HELD_BYTES)
        wanted = {
            **args,
            "catalog_url": url,
            "catalog_token": "{{ token_of_replicas }}",
            "ca_path": str(installation.certificate.path),
        }
        run = stage.start(on, [task(module, module, wanted)], {"token_of_replicas": other.token()})
        assert gate.wait_until_held(PATIENCE_SECONDS), run.log.read_text(encoding="utf-8")
        before = (_moved(other), _moved(dead))
        dead.kill()
        # Nobody listens there any more, as when a machine is off.
        gate.close()
        result = Results(run.wait(PATIENCE_SECONDS), run.log)[module].result
        return Survived(result, (before[0], _moved(other)), (before[1], _moved(dead)))


@pytest.fixture(scope="module")
def bundle(stage: Stage) -> Path:
    return small_bundle(stage.builder.home / "replicas", "Replicated", SIZE)


@pytest.fixture(scope="module")
def push(stage: Stage, installation: Installation, bundle: Path) -> Survived:
    wanted = {"path": str(bundle), "catalog_id": IMAGE, "version": "1.0.0", "codec": "raw"}
    return _transfer(stage, installation, "catalog_push", wanted, UP, on="builder", dies=0)


@pytest.fixture(scope="module")
def pull(stage: Stage, installation: Installation, push: Survived) -> Survived:
    cache = stage.mac("mac03").home / "replicas"
    wanted = {"catalog_id": IMAGE, "state": "cached", "cache_path": str(cache)}
    return _transfer(stage, installation, "catalog_pull", wanted, DOWN, on="mac03", dies=1)


def test_a_push_goes_on_when_a_server_dies(push: Survived) -> None:
    assert push.result["changed"], push.result
    assert push.result["manifest"]["version"] == "1.0.0"
    # The one that is dead ended nothing any more, and the other one did.
    assert push.by_dead[1] == push.by_dead[0]
    assert push.by_other[1] > push.by_other[0]


def test_a_pull_goes_on_when_a_server_dies(stage: Stage, push: Survived, pull: Survived, bundle: Path) -> None:
    assert pull.result["changed"], pull.result
    assert pull.by_dead[1] == pull.by_dead[0]
    assert pull.by_other[1] > pull.by_other[0]
    cache = stage.mac("mac03").home / "replicas"
    assert os.listdir(cache / "bundles") == [push.result["manifest"]["digest"]]
    assert tree(cache / "bundles" / push.result["manifest"]["digest"] / "bundle") == tree(bundle)
    assert os.listdir(cache / "partial") == []
