# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of several workers: they share an address, one that dies is replaced, none outlives the supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from ansible_collections.macfleet.parallels.tests.support import certificates
from catalog_server import listening
from catalog_server.errors import Unavailable
from catalog_server.settings import Settings
from catalog_server.shares import of_one_worker
from conftest import StartServer
from running import PASSWORD, Program, Server, Template, environment, start, wait_until
from sockets import connect, everything, status_of
from test_monitoring import value
from test_receivers import Push

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc, which Linux has")

COUNT = 3
# So many connections that each worker gets some: the kernel chooses by the ports of both ends.
CONNECTIONS = 40


def workers_of(server: Server) -> set[int]:
    """The process ids of the workers."""
    pid = server.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()}


def statuses(server: Server, path: str, bearer: str, count: int = CONNECTIONS) -> list[int]:
    """The answers to one request on each of so many connections."""

    def ask(_number: int) -> int:
        url = f"{server.url}/api/v1{path}"
        return httpx.get(url, headers={"Authorization": f"Bearer {bearer}"}, trust_env=False, timeout=30).status_code

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(ask, range(count)))


def serves(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/api/health/live", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# Those to PostgreSQL would be counted, too.
@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_connections_are_shared_out_among_all_workers(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    before = {pid: _open_sockets(pid) for pid in workers_of(server)}
    assert len(before) == COUNT
    with ExitStack() as stack:
        for _number in range(CONNECTIONS):
            client = stack.enter_context(httpx.Client(base_url=server.url, trust_env=False))
            assert client.get("/api/health/live").status_code == 200
        added = {pid: _open_sockets(pid) - count for pid, count in before.items()}
        assert sum(added.values()) == CONNECTIONS
        assert all(added.values())


def _open_sockets(pid: int) -> int:
    return sum(link.startswith("socket:") for link in _links(pid))


def _links(pid: int) -> list[str]:
    """What the descriptors of a process are; nothing of one that has ended."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(descriptor))
    return found


def test_what_is_revoked_is_refused_by_every_worker(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    token = server.token("reader")
    assert set(statuses(server, "/manifests", token)) == {200}
    assert server.call("POST", "/users/reader/logout", "admin").status_code == 204
    assert set(statuses(server, "/manifests", token)) == {401}


def test_a_worker_that_dies_is_replaced(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    before = workers_of(server)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(workers_of(server)) == COUNT and killed not in workers_of(server))
    assert workers_of(server) & before == before - {killed}
    assert set(statuses(server, "/manifests", server.token("reader"))) == {200}
    assert server.lines_with('"message": "worker ended"')


def test_a_worker_that_cannot_come_back_leaves_its_connections_to_the_others(
    start_server: StartServer, tmp_path: Path
) -> None:
    certificate = certificates.make(tmp_path)
    server = start_server(
        CATALOG_WORKERS=str(COUNT),
        CATALOG_TLS_CERTIFICATE=str(certificate.path),
        CATALOG_TLS_KEY=str(certificate.key),
    )
    context = ssl.create_default_context(cafile=str(certificate.path))
    right = certificate.path.read_bytes()
    certificate.path.write_text("no certificate\n", encoding="ascii")
    os.kill(min(workers_of(server)), signal.SIGKILL)
    # The next one, too, finds no certificate.
    wait_until(lambda: server.log.count('"message": "worker ended"') >= 2)
    for _number in range(CONNECTIONS):
        assert httpx.get(f"{server.url}/api/health/live", verify=context, trust_env=False, timeout=5).status_code == 200
    certificate.path.write_bytes(right)
    wait_until(lambda: len(workers_of(server)) == COUNT, 60)
    wait_until(lambda: all(map(_listens, workers_of(server))))
    before = {pid: _open_sockets(pid) for pid in workers_of(server)}
    with ExitStack() as stack:
        for _number in range(CONNECTIONS):
            client = stack.enter_context(httpx.Client(base_url=server.url, trust_env=False, verify=context))
            assert client.get("/api/health/live").status_code == 200
        assert all(_open_sockets(pid) > count for pid, count in before.items())


def _listens(pid: int) -> bool:
    """Whether a process has a socket that listens."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:] for name in ("tcp", "tcp6")]
    # The state of a socket that listens is 0A, and the tenth field is its number.
    listening = {f"socket:[{line.split()[9]}]" for table in tables for line in table if line.split()[3] == "0A"}
    return any(link in listening for link in _links(pid))


def test_those_that_come_while_a_server_ends_are_refused(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS="2")
    push = Push(server)
    parts = urlsplit(push.url)
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(push.data)}\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(head.encode() + push.data[:-1])
        wait_until(lambda: any(push.id in link for pid in workers_of(server) for link in _links(pid)))
        server.ended = True
        server.process.terminate()
        wait_until(lambda: _refuses(server))
        connection.sendall(push.data[-1:])
        assert status_of(everything(connection)) == 200
    assert server.process.wait(60) == 0


def _refuses(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_counts_of_a_worker_outlive_it(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = start_server(CATALOG_WORKERS="2")

    def counted() -> float:
        return value(server, "catalog_http_requests_total", method="GET", route="/server", status="200")

    for round_ in range(1, 4):
        for _number in range(CONNECTIONS):
            assert httpx.get(f"{server.url}/api/v1/server", trust_env=False).status_code == 200
        wait_until(lambda expected=round_ * CONNECTIONS: counted() == expected)
        files = {path.name for path in tmp_path.glob("catalog-metrics-*/*.db")}
        assert files == {f"{kind}_{number}.db" for kind in ("counter", "histogram") for number in range(2)}
        killed = min(workers_of(server))
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda gone=killed: len(workers_of(server)) == 2 and gone not in workers_of(server))
        wait_until(lambda: all(map(_listens, workers_of(server))))


def supervised(place: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that supervises workers of its own, until it ends."""
    file = place / "supervisor.py"
    file.write_text(script, encoding="utf-8")
    return run_to_its_end([str(file)], environment(place))


def run_to_its_end(words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with these words and variables."""
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_worker_that_does_not_answer_any_more_is_replaced(tmp_path: Path) -> None:
    done = supervised(tmp_path, _STANDS_STILL)
    assert (done.returncode, done.stdout.split()) == (0, ["ready", "replaced"]), done.stderr
    assert done.stderr.count("it does not answer") == 1


_STANDS_STILL = """
import os, pathlib, signal, sys, time
from catalog_server import listening, telemetry, workers

telemetry.configure("info")
once = pathlib.Path(sys.argv[0]).with_name("once")

def work(number, listening_socket, answers):
    if number == 0 and once.exists():
        print("replaced", flush=True)
        os.kill(os.getppid(), signal.SIGTERM)
    for beat in range(600):
        answers()
        time.sleep(0.1)
        if number == 0 and beat == 10:
            once.touch()
            time.sleep(600)
    return 0

sockets = listening.sockets("127.0.0.1", 0, 2)
sys.exit(workers.supervise(work, sockets, lambda: print("ready", flush=True), 1, silent_seconds=2))
"""


def test_a_worker_that_was_silent_has_a_second_chance(tmp_path: Path) -> None:
    done = supervised(tmp_path, _SECOND_CHANCE)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "answers: True, doubted: False",
            "doubted: True",
            "answers: True, doubted: False",
            "doubted: True",
            "killed: -9",
        ],
    ), done.stderr


# The times are set by the test, so that nothing depends on how fast the machine is.
_SECOND_CHANCE = """
import time
from catalog_server import listening, telemetry, workers

telemetry.configure("info")

def work(number, listening_socket, answers):
    while True:
        answers()
        time.sleep(0.1)

def wait():
    begun = time.monotonic()
    workers._wait([one], stop, 1000)
    print(f"answers: {one.silent_at >= begun + 1000}, doubted: {one.is_doubted}", flush=True)

def silence():
    one.silent_at = 0.0
    workers._kill_silent([one], 1000)
    assert one.process.exitcode is None

stop = workers._Stop()
one = workers._start(work, listening.sockets("127.0.0.1", 0, 1), 0)
wait()
for _time in range(2):
    silence()
    print(f"doubted: {one.is_doubted}", flush=True)
    # It gets a quarter of the time.
    assert 249 < one.silent_at - time.monotonic() <= 250
    if _time == 0:
        wait()
one.silent_at = 0.0
workers._kill_silent([one], 1000)
one.process.join(30)
print(f"killed: {one.process.exitcode}", flush=True)
"""


def test_a_worker_goes_on_to_say_that_it_answers(template: Template, tmp_path: Path) -> None:
    """The beats of real workers: with a supervisor that is sooner impatient, none is killed."""
    script = tmp_path / "impatient.py"
    script.write_text(_IMPATIENT, encoding="utf-8")
    with template.copied(tmp_path / "data", {"CATALOG_WORKERS": "2"}) as settings:
        server = start(tmp_path / "data", settings, Program((str(script),)))
        try:
            stopped = min(workers_of(server))
            os.kill(stopped, signal.SIGSTOP)
            wait_until(lambda: stopped not in workers_of(server) and len(workers_of(server)) == 2, 60)
        finally:
            server.stop()
        assert server.log.count("it does not answer") == 1


_IMPATIENT = """
import functools, sys
from catalog_server import workers
from catalog_server.cli import main

workers.BEAT_SECONDS = 0.2
workers.supervise = functools.partial(workers.supervise, silent_seconds=10)
sys.exit(main(sys.argv[1:]))
"""


def test_a_supervisor_that_cannot_fork_tries_again(tmp_path: Path) -> None:
    done = supervised(tmp_path, _CANNOT_FORK)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "ready", "0", "2"]), done.stderr
    assert "a worker cannot be started" in done.stderr


_CANNOT_FORK = """
import os, signal, sys, time
from catalog_server import listening, telemetry, workers

telemetry.configure("info")
fork, forks = os.fork, []

def seldom():
    forks.append(1)
    # The first two begin; when one is to be replaced there is no room at first.
    if len(forks) in (3, 4):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = seldom

def work(number, listening_socket, on_ready):
    if number == 0:
        print(0, flush=True)
        if len(forks) > 2:
            print(2, flush=True)
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
        on_ready()
        # Longer than the other one needs to be ready
        time.sleep(3)
        return 1
    time.sleep(0.5)
    print(1, flush=True)
    on_ready()
    time.sleep(60)
    return 0

sys.exit(workers.supervise(work, listening.sockets("127.0.0.1", 0, 2), lambda: print("ready", flush=True), 1))
"""


def test_no_worker_outlives_the_supervisor(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    workers = workers_of(server)
    server.process.kill()
    server.process.wait()
    server.ended = True
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert not serves(server)


def test_sigterm_ends_all_in_order(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    workers = workers_of(server)
    server.ended = True
    assert server.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_server_whose_workers_cannot_start_ends_and_says_why(template: Template, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate\n", encoding="ascii")
    with template.copied(tmp_path / "data", {}) as settings:
        settings |= {
            "CATALOG_WORKERS": "2",
            "CATALOG_TLS_CERTIFICATE": str(wrong),
            "CATALOG_TLS_KEY": str(wrong),
        }
        words = ["-m", "catalog_server", "serve", "--port", "0"]
        done = run_to_its_end(words, environment(tmp_path / "data", settings))
    assert done.returncode == 1
    assert f"the certificate {wrong} with the key {wrong} cannot be used" in done.stderr
    assert "ready" not in done.stdout


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_server_is_not_let_in_beside_the_first(count: int) -> None:
    """Also before the first one has begun to accept connections."""
    with ExitStack() as stack:
        first = [stack.enter_context(one) for one in listening.sockets("127.0.0.1", 0, count)]
        port = first[0].getsockname()[1]
        for other in (1, 2):
            with pytest.raises(Unavailable, match=f"Cannot listen on 127.0.0.1 port {port}: Address already in use"):
                listening.sockets("127.0.0.1", port, other)


@pytest.mark.parametrize("taken", [1, 2])
def test_two_servers_of_several_workers_that_come_at_once(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    """The second one comes while the first has bound ``taken`` of its sockets, and listens on none."""
    bound, refused = listening._bound, []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def interrupted(host: str, port: int, *, shared: bool) -> socket.socket:
        made = bound(host, port, shared=shared)
        if shared and len(refused) < taken:
            refused.append("")
            if len(refused) == taken:
                with pytest.raises(Unavailable, match="Address already in use"):
                    listening.sockets(host, port, 2)
        return made

    monkeypatch.setattr(listening, "_bound", interrupted)
    with ExitStack() as stack:
        assert len([stack.enter_context(one) for one in listening.sockets("127.0.0.1", port, 2)]) == 2
    assert len(refused) == taken


def test_of_two_servers_that_have_bound_an_address_one_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one has bound it at the same time, and listens first."""
    bound = listening._bound
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        def interrupted(host: str, port: int, *, shared: bool) -> socket.socket:
            made = bound(host, port, shared=shared)
            other.listen()
            return made

        monkeypatch.setattr(listening, "_bound", interrupted)
        with pytest.raises(Unavailable, match=f"Cannot listen on 127.0.0.1 port {port}: Address already in use"):
            listening.sockets("127.0.0.1", port, 1)


@pytest.mark.parametrize("workers", [1, 3, 16, 64])
def test_workers_share_the_limits_of_the_server(tmp_path: Path, workers: int) -> None:
    settings = Settings(data_dir=tmp_path, workers=workers, max_connections=1000, max_connections_each=50)
    of_each = [of_one_worker(settings, number) for number in range(workers)]
    limits = ("commits_at_once", "login_burst", "max_connections", "max_connections_each", "threads", "writers")
    for name in (*limits, "object_threads", "receivers", "receivers_each", "receive_bytes"):
        shares = [getattr(one, name) for one in of_each]
        assert min(shares) >= 1 and max(shares) - min(shares) <= 1
        assert sum(shares) == max(workers, getattr(settings, name)), name
    assert {one.logins_per_minute for one in of_each} == {settings.logins_per_minute / workers}
    assert of_each[0].database == settings.database
    assert of_one_worker(Settings(data_dir=tmp_path, workers=4), 0).max_connections is None


def test_a_right_password_is_taken_by_any_worker(start_server: StartServer) -> None:
    server = start_server(CATALOG_WORKERS=str(COUNT))
    url = f"{server.url}/api/v1/auth/token"

    def log_in(_number: int) -> int:
        reply = httpx.post(url, json={"email": "reader", "password": PASSWORD}, trust_env=False, timeout=60)
        return reply.status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(log_in, range(16))) == {200}
