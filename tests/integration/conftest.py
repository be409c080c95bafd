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
from ansible_collections.macfleet.parallels.tests.integration import installation as installations
from ansible_collections.macfleet.parallels.tests.integration.gate import Gate
from ansible_collections.macfleet.parallels.tests.integration.installation import Installation
from ansible_collections.macfleet.parallels.tests.integration.leaks import leaks
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
from ansible_collections.macfleet.parallels.tests.support import ssh_hosts, systemd_host
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import RunFailed
from ansible_collections.macfleet.parallels.tests.support.process_list import Watched
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess
from ansible_collections.macfleet.parallels.tests.support.waiting import holds_within

# A directory for what a host with systemd needs; the tests of a role run on one only if it is named.
SYSTEMD = os.environ.get("MACFLEET_TEST_SYSTEMD", "")
TARGET_PYTHON = os.environ.get("MACFLEET_TEST_TARGET_PYTHON") or sys.executable
# Longer than all tests together take on a slow machine.
TOKEN_SECONDS = "7200"
# The files that take longest, in this order
LONGEST = (
    "test_parallels_fails",
    "test_playbooks",
    "test_server_role",
    "test_refused_pulls",
    "test_documentation",
    "test_life_of_an_image",
    "test_refused_pushes",
    "test_host_role",
)
# async_wrapper looks every few seconds whether its module has ended, and then removes them.
ANSIBLE_SECONDS = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Tell the words of this suite."""
    config.addinivalue_line("markers", "at_the_end: waits long for what was begun before, while the others run")
    config.addinivalue_line("markers", "deployed(how): only where the role has deployed a server in this way")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that all processes end at about the same time.

    In a file, what waits comes last.
    """
    items[:] = [item for item in items if _is_possible(item)]
    items.sort(key=lambda item: (_rank(item), item.get_closest_marker("at_the_end") is not None))


def _rank(item: pytest.Item) -> int:
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)


def _is_possible(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("deployed")
    if marker is None:
        return True
    assert isinstance(item, pytest.Function)
    return bool(item.callspec.params["installation"] == marker.args[0])


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
def lasting_stage(work: Path, server: Server, hosts: tuple[list[ssh_hosts.Host], str]) -> t.Iterator[Stage]:
    """Everything together, for what spans the tests of several modules; at its end no secret may lie anywhere."""
    macs = [Mac(host) for host in hosts[0]]
    made = Stage(work, server, macs, hosts[1])
    yield made
    _wait_for_ansible(macs)
    assert leaks(made) == []


def _wait_for_ansible(macs: t.Iterable[Mac]) -> None:
    """Behind an asynchronous task, Ansible removes its files on a host some seconds later, with the options in them."""
    holds_within(ANSIBLE_SECONDS, lambda: not any(list((mac.home / ".ansible/tmp").glob("*")) for mac in macs))


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


@pytest.fixture(scope="session", params=["none", *(["systemd"] if SYSTEMD else [])])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Installation]:
    """A server that the role catalog_server has deployed, and that runs."""
    directory = tmp_path_factory.mktemp(f"server-role-{request.param}")
    if request.param == "none":
        yield from _deployed(installations.without_service_manager(directory))
        return
    cache = Path(SYSTEMD)
    cache.mkdir(parents=True, exist_ok=True)
    try:
        wheels = {installations.WHEELS: installations.wheels(cache)}
        with systemd_host.systemd_host(directory, cache, wheels) as host:
            yield from _deployed(installations.on_systemd(directory, host))
    except systemd_host.NoSystemdHost as error:
        pytest.skip(f"There is no host with systemd: {error}.")


def _deployed(made: Installation) -> t.Iterator[Installation]:
    """The first run has a wrong interpreter; what the next one shows is looked through for secrets."""
    with pytest.raises(RunFailed) as refused:
        made.run(catalog_server_python=installations.broken_python(made))
    made.refusal = " ".join(str(refused.value).split())
    assert not (made.program / "current").exists()
    with Watched() as watched:
        run = made.start(words=["-vvv", "--diff"])
        run.wait(installations.SECONDS)
    made.first_run, made.first_arguments = run, watched.arguments
    yield made
    made.run(catalog_server_state="absent")
