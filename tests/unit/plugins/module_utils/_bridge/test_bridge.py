# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Missing, Unreachable
from ansible_collections.macfleet.parallels.plugins.module_utils._base.connection_errors import NotConnected
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import (
    Request,
    Response,
    Transport,
    TransportSettings,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import (
    background,
    boundary,
    connections,
    handover,
    options,
    progress_file,
)
from ansible_collections.macfleet.parallels.tests.unit.support import modules
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest

SPEC = {
    **options.connection_spec(),
    **options.handover_spec(),
    **options.transfer_spec(),
    **options.cache_spec(),
}


def params(**options: t.Any) -> t.Mapping[str, t.Any]:
    return modules.module(SPEC, options).params


def test_what_a_function_returns_is_what_the_module_returns() -> None:
    with modules.outcome() as result:
        boundary.run(modules.module(), lambda: {"changed": True, "bytes": 5})
    assert result == {"changed": True, "bytes": 5}


def test_an_error_of_ours_becomes_a_failure_with_a_code() -> None:
    def fails() -> t.Mapping[str, t.Any]:
        raise Missing("There is no such image.", "Check the spelling.", {"status": 404}, code="unknown_manifest")

    with modules.outcome() as result:
        boundary.run(modules.module(), fails)
    assert "test_bridge.py" in result.pop("exception")
    assert result == {
        "failed": True,
        "msg": "There is no such image. Check the spelling.",
        "error_code": "unknown_manifest",
        "hint": "Check the spelling.",
        "details": {"status": 404},
    }


@pytest.mark.parametrize("name", [None, "/the/path"])
def test_a_refusal_of_the_system_is_one_sentence(name: t.Optional[str]) -> None:
    def fails() -> t.Mapping[str, t.Any]:
        raise OSError(5, "Input/output error", name) if name else OSError(5, "Input/output error")

    with modules.outcome() as result:
        boundary.run(modules.module(), fails)
    assert "test_bridge.py" in result["exception"]
    assert result["error_code"] == "system_failure"
    assert ("/the/path" in result["msg"]) is bool(name) and "Input/output error" in result["msg"]


def test_an_error_that_is_not_ours_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), modules.outcome():
        boundary.run(modules.module(), lambda: {"x": 1 // 0})


@pytest.mark.parametrize(("most", "expected"), [(256, 256), (5000, 5000), (20000, 10240)])
def test_a_module_may_open_as_many_files_as_the_host_lets_it(most: int, expected: int) -> None:
    script = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {most}))\n"
        f"from {boundary.__name__} import raise_descriptor_limit\n"
        "raise_descriptor_limit()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, stdout=subprocess.PIPE, timeout=60
    )
    assert told.stdout.split() == [b"%d" % expected, b"%d" % most]


def test_a_library_that_is_missing() -> None:
    boundary.require("zstandard", True, "to read zstd")
    with pytest.raises(CatalogError, match=r"zstandard.*to read zstd") as failure:
        boundary.require("zstandard", False, "to read zstd")
    assert failure.value.code == "missing_library"


def test_defaults_of_the_options() -> None:
    defaults = params()
    assert (defaults["validate_certs"], defaults["timeout"], defaults["use_proxy"]) == (True, 30, True)
    assert defaults["cache_path"].endswith("/Library/Application Support/macfleet.parallels")
    assert "~" not in defaults["cache_path"]


# The handover


@pytest.mark.parametrize("given", [None, {}, {"url": BASE_URL}, {"grant": "g"}])
def test_a_module_without_its_action_plugin(given: t.Any) -> None:
    with pytest.raises(handover.NoHandover) as failure:
        handover.handover(params(handover=given) if given is not None else params())
    assert failure.value.code == "no_handover"


def test_what_is_handed_over() -> None:
    given = {
        "url": BASE_URL,
        "grant": "s3cr3t",
        "lifetime_seconds": 5,
        "manifests": [manifest()],
        "progress_path": "/p",
    }
    found = handover.handover(params(handover=given))
    assert found.manifests[0].version == "1.4"
    assert found.bases == ()
    assert found.blocked is None
    assert handover.progress_path(params(handover=given)) == "/p"
    assert "s3cr3t" not in repr(found)
    assert handover.progress_path(params(handover={"url": BASE_URL, "grant": "g"})) is None
    assert handover.progress_path(params()) is None


def test_a_version_that_must_not_be_pulled_comes_without_a_grant() -> None:
    given = {"url": BASE_URL, "blocked": "tainted", "blocked_message": "It is tainted."}
    blocked = handover.handover(params(handover=given)).blocked
    assert blocked is not None
    assert (blocked.code, blocked.message) == ("tainted", "It is tainted.")


def test_the_grant_of_a_host_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Recording()
    headers = {"Authorization": "Bearer g1"}
    server.expect("POST", "grants/renew", body={}, headers=headers, reply={"grant": "g2", "expires_in": 3600})
    server.expect("GET", f"manifests/{'a1' * 32}", headers={"Authorization": "Bearer g2"}, reply=manifest())
    monkeypatch.setattr(Transport, "send", lambda transport, request: server.send(request))
    given = params(handover={"url": BASE_URL, "grant": "g1", "lifetime_seconds": 0}, timeout=7)
    transport = connections.host_transport(given)
    grant = connections.host_grant(given, transport)
    time.sleep(max(0.0, grant.keep()))
    grant.keep()
    assert connections.host_catalog(given, transport, grant).manifest("a1" * 32).version == "1.4"
    assert {request.timeout_seconds for request in server.requests} == {7.0}
    server.finished()


def test_a_host_is_patient_with_a_server_that_has_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    down = NotConnected("connection refused")
    server = Recording()
    pauses: list[float] = []
    monkeypatch.setattr(Transport, "send", lambda transport, request: server.send(request))
    given = params(handover={"url": BASE_URL, "grant": "g1", "lifetime_seconds": 3600}, timeout=30)
    transport = connections.host_transport(given)
    catalog = connections.host_catalog(given, transport, connections.host_grant(given, transport), pauses.append)
    for _time in range(100):
        server.expect("GET", f"manifests/{'a1' * 32}", error=down)
    with pytest.raises(Unreachable):
        catalog.manifest("a1" * 32)
    assert 10 < sum(pauses) <= 30
    server = Recording().expect("GET", f"manifests/{'a1' * 32}", reply=manifest())
    catalog.manifest("a1" * 32)
    for _time in range(100):
        server.expect("GET", f"manifests/{'a1' * 32}", error=down)
    pauses.clear()
    with pytest.raises(Unreachable):
        catalog.manifest("a1" * 32)
    assert 220 <= sum(pauses) <= 240


def test_connections_are_as_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TransportSettings] = []
    monkeypatch.setattr(connections, "Transport", lambda settings, meter: seen.append(settings))
    connections.host_transport(
        params(handover={"ca_certificates": "PEM"}, ca_path="/ca", client_cert="/c", client_key="/k", use_proxy=False)
    )
    connections.transport(params(validate_certs=False, timeout=5))
    assert seen == [
        TransportSettings(True, "/ca", "PEM", "/c", "/k", 30.0, False),
        TransportSettings(False, None, None, None, None, 5.0, True),
    ]


def test_a_request_type_for_the_rooms() -> None:
    # What Transport.send takes and gives is what the client of the server asks for.
    assert t.get_type_hints(Transport.send) == {"request": Request, "return": Response}


# Progress


def test_nobody_watches() -> None:
    with progress_file.progress(modules.module(SPEC)).reporting():
        pass


def read(path: Path) -> dict[str, t.Any]:
    found = json.loads(path.read_text() or "{}")
    assert isinstance(found, dict)
    return found


def wait_for(path: Path, wanted: t.Callable[[dict[str, t.Any]], bool]) -> None:
    deadline = time.monotonic() + 10
    while not wanted(read(path)):
        assert time.monotonic() < deadline, read(path)
        time.sleep(0.01)


def test_the_latest_snapshot_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    module = modules.module(SPEC, {"handover": {"progress_path": str(path)}})
    path.touch(0o600)
    counters = progress_file.progress(module)
    with counters.reporting():
        counters.start("download", 1000)
        wait_for(path, lambda told: told.get("phase") == "download" and told["total_bytes"] == 1000)
        counters.start("x", 5)
        wait_for(path, lambda told: told.get("phase") == "x" and told["total_bytes"] == 5)
        counters.moved(7)
    assert (read(path)["moved_bytes"], read(path)["finished"], read(path)["pid"]) == (7, True, os.getpid())
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, 1024)
    module.do_cleanup_files()
    assert not list(tmp_path.iterdir())


def test_a_transfer_can_be_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    module = modules.module(SPEC, {"handover": {"progress_path": str(path)}})
    counters = progress_file.progress(module)
    with counters.reporting():
        counters.start("download", 1000)
        Path(f"{path}.cancel").touch()
        with pytest.raises(progress_file.Cancelled, match="cancelled"):
            counters.sleep(10)
        with pytest.raises(progress_file.Cancelled, match="cancelled"):
            counters.advance(1)
    module.do_cleanup_files()
    assert not list(tmp_path.iterdir())


def test_a_transfer_that_is_not_polled_any_more_ends(tmp_path: Path) -> None:
    path, watched, now = tmp_path / "progress", tmp_path / "progress.watched", 0.0
    path.touch()
    watched.touch()
    report = progress_file.ProgressFile(str(path), lambda: now)
    report({})
    # The second time, the clock of the host was set back.
    for touched, polled_at in ((2_000_000_000, 1000), (1_000_000_000, 2000)):
        os.utime(watched, (touched, touched))
        now = float(polled_at)
        report({})
    now = 2000 + background.UNWATCHED_SECONDS
    report({})
    now += 1
    with pytest.raises(background.Unwatched, match="has not asked about the transfer for 1201 seconds"):
        report({})


def test_a_progress_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs" / "progress"
    path.parent.mkdir()
    path.touch()
    report = progress_file.ProgressFile(str(path))
    report({"sequence": 1})
    shutil.rmtree(path.parent)
    for sequence in (2, 3):
        report({"sequence": sequence})
        assert read(path)["sequence"] == sequence
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_nothing_is_written_where_nobody_looks(tmp_path: Path) -> None:
    module = modules.module(SPEC, {"handover": {"progress_path": str(tmp_path / "progress")}})
    with progress_file.progress(module).reporting():
        pass
    assert not list(tmp_path.iterdir())


def test_progress_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "progress").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        progress_file.ProgressFile(str(tmp_path / "progress"))({})
    assert not (tmp_path / "victim").exists()
