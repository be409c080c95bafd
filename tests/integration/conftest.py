# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One stage for all tests: nothing is as slow as setting it up."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration.gate import Gate
from ansible_collections.macfleet.parallels.tests.integration.stage import (
    BUILDER,
    HANGING,
    MACS,
    Mac,
    Server,
    Stage,
    User,
)
from ansible_collections.macfleet.parallels.tests.simulators.prlctl import control
from ansible_collections.macfleet.parallels.tests.support import ssh_hosts
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

TARGET_PYTHON = os.environ.get("MACFLEET_TEST_TARGET_PYTHON") or sys.executable
# Longer than all tests together take on a slow machine.
TOKEN_SECONDS = "7200"


def pytest_configure(config: pytest.Config) -> None:
    """Tell the words of this suite."""
    config.addinivalue_line("markers", "at_the_end: looks at what all others have left")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back comes last."""
    items.sort(key=lambda item: item.get_closest_marker("at_the_end") is not None)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """A directory of which the logs stay for a while, and the images do not."""
    directory = tmp_path_factory.mktemp("stage")
    yield directory
    for name in ("hosts", "server"):
        shutil.rmtree(directory / name, ignore_errors=True)


@pytest.fixture(scope="session")
def server(work: Path) -> t.Iterator[Server]:
    """The metadata server with its embedded storage."""
    with ServerProcess(work / "server", sys.executable, {"CATALOG_TOKEN_SECONDS": TOKEN_SECONDS}) as process:
        yield Server(process)


@pytest.fixture(scope="session")
def hosts(work: Path) -> t.Iterator[tuple[list[ssh_hosts.Host], str]]:
    """A build host and the hosts that pull; and why there is no SSH to them, if there is none."""
    names, directory = (BUILDER, *MACS, HANGING), work / "hosts"
    programs = directory / "bin"
    control.install(programs, TARGET_PYTHON)
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(ssh_hosts.ssh_hosts(names, directory, programs, TARGET_PYTHON)), ""
        except ssh_hosts.CannotRunSshd as error:
            yield ssh_hosts.local_hosts(names, directory, programs, TARGET_PYTHON), str(error)


@pytest.fixture(scope="session")
def lasting_stage(work: Path, server: Server, hosts: tuple[list[ssh_hosts.Host], str]) -> Stage:
    """Everything together, for what spans the tests of several modules."""
    return Stage(work, server, [Mac(host) for host in hosts[0]], hosts[1])


@pytest.fixture(scope="module")
def stage(lasting_stage: Stage) -> t.Iterator[Stage]:
    """Everything together. The tests of each module begin with empty hosts, whatever ran before them."""
    yield lasting_stage
    lasting_stage.clear_hosts()


@pytest.fixture(scope="session")
def reader(server: Server) -> User:
    """A user who may look and pull, but is in no role of anybody's images."""
    return server.add_user("reader", "--role", "USER")


@pytest.fixture(scope="session")
def pusher(server: Server) -> User:
    """A user who may push, too."""
    return server.add_user("pusher", "--role", "USER", "--claim", "PUSH_CATALOG_MANIFEST")


@pytest.fixture(scope="session")
def nowhere() -> str:
    """The URL of a server that does not run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def gate(server: Server) -> t.Iterator[Gate]:
    """A way to the server that can be shut."""
    with Gate(server.url) as made:
        yield made
