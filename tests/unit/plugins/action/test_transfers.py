# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The halves of push and pull that run on the controller, against a host that plays a recording."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport
from ansible_collections.macfleet.parallels.plugins.plugin_utils import _background, _transfer
from ansible_collections.macfleet.parallels.tests.unit.support import actions
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest, refusal

SECRET = "t0k3n-of-the-play"
CONNECTION = {"catalog_url": BASE_URL, "catalog_token": SECRET, "ca_path": None, "timeout": 9}
PULL = {**CONNECTION, "catalog_id": "MacOS-15", "version": ">=1.4,<2", "name": "runner"}
PUSH = {**CONNECTION, "catalog_id": "macos-15", "version": "1.5", "path": "/vm/x.pvm"}
GRANT = {"grant": "gr4nt", "expires_at": 4000000000, "manifests": [manifest()], "bases": []}
STARTED = {"ansible_job_id": "j1.5", "results_file": "/home/m/.ansible_async/j1.5", "started": 1, "finished": 0}


class Host:
    """Answers what an action plugin asks of its host."""

    def __init__(self, action: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.action = action
        self.now = 0.0
        self.results: list[t.Any] = []
        self.snapshots: list[t.Any] = []
        self.statuses: list[t.Any] = []
        self.cleanups: list[t.Any] = [{}]
        # What `ps` says of the module: its arguments, or None if it is gone.
        self.alive: list[str | None] = []
        self.modules: list[tuple[dict[str, t.Any], bool, int]] = []
        self.commands: list[str] = []
        self.shown: list[str] = []
        self.resets = 0
        action._execute_module = self.execute
        action._low_level_execute_command = self.command
        action.get_shell_option = lambda option, default: default
        action._connection._shell.join_path = lambda *parts: "/".join(parts)
        action._connection.reset = self.reset
        monkeypatch.setattr(_transfer.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(_transfer.time, "sleep", self.sleep)
        monkeypatch.setattr(_background.display, "display", self.shown.append)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def reset(self) -> None:
        self.resets += 1

    def execute(
        self,
        *,
        module_name: str | None = None,
        module_args: t.Any = None,
        task_vars: t.Any = None,
        wrap_async: bool = False,
    ) -> t.Any:
        if module_name is not None:
            return self.job(module_name, module_args)
        args = self.action._task.args if module_args is None else module_args
        self.modules.append((args, wrap_async, self.action._task.async_val))
        return self.results.pop(0)

    def command(self, command: str) -> dict[str, t.Any]:
        self.commands.append(command)
        if command.startswith("cat "):
            told = next_of(self.snapshots)
            return {"rc": 1, "stdout": ""} if told is None else {"rc": 0, "stdout": f"motd\n{told}\n"}
        if command.startswith("kill "):
            process = self.alive.pop(0)
            return {"rc": 1, "stdout": ""} if process is None else {"rc": 0, "stdout": f"motd\n{process}\n"}
        return {"rc": 0, "stdout": ""}

    def job(self, name: str, args: dict[str, t.Any]) -> dict[str, t.Any]:
        assert name == "ansible.legacy.async_status"
        assert (args["jid"], args["_async_dir"]) == ("j1.5", "/home/m/.ansible_async")
        assert self.action._task.async_val == 0
        self.commands.append(args["mode"])
        return dict(next_of(self.cleanups if args["mode"] == "cleanup" else self.statuses))


def next_of(answers: list[t.Any]) -> t.Any:
    answer = answers.pop(0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def told(done: int, elapsed: float = 1.0) -> str:
    snapshot = {"phase": "download", "done_bytes": done, "total_bytes": 100, "elapsed_seconds": elapsed, "pid": 77}
    return json.dumps(snapshot).ljust(200)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Recording]:
    recording = Recording()
    monkeypatch.setattr(Transport, "send", lambda transport, request: recording.send(request))
    for name in ("URL", "TOKEN", "API_KEY", "USERNAME", "PASSWORD", "CA_PATH"):
        monkeypatch.delenv(f"MACFLEET_CATALOG_{name}", raising=False)
    yield recording
    recording.finished()


def host_of(monkeypatch: pytest.MonkeyPatch, name: str, args: dict[str, t.Any], **how: t.Any) -> Host:
    return Host(actions.make(name, args, **how), monkeypatch)


def run(host: Host) -> dict[str, t.Any]:
    result: dict[str, t.Any] = host.action.run(task_vars={"inventory_hostname": "mac-1"})
    for args, _wrap_async, _limit in host.modules:
        assert SECRET not in repr(args)
        assert not {"catalog_token", "catalog_password", "catalog_api_key", "catalog_username"} & set(args)
    assert host.action._task.async_val in (0, 300)
    return result


def grants(server: Recording, body: dict[str, t.Any], **answer: t.Any) -> None:
    headers: dict[str, str | None] = {"Authorization": f"Bearer {SECRET}"}
    server.expect("POST", "grants", body=body, headers=headers, **(answer or {"reply": GRANT}))


PULL_BODY = {"verb": "pull", "catalog_id": "macos-15", "version": ">=1.4,<2"}


# The grant


def test_a_pull_is_one_request_and_one_module(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    grants(server, PULL_BODY)
    host = host_of(monkeypatch, "catalog_pull", PULL)
    host.results.append({"changed": False, "vm": {}})
    assert run(host) == {"changed": False, "vm": {}}
    args, wrap_async, _limit = host.modules[0]
    assert not wrap_async
    assert args.pop("handover") == {
        "url": BASE_URL,
        "grant": "gr4nt",
        "expires_at": 4000000000,
        "manifests": [manifest()],
        "bases": [],
        "ca_certificates": None,
        "phase": "auto",
    }
    assert args == {key: PULL[key] for key in ("catalog_url", "catalog_id", "version", "name", "timeout")}


def test_a_push_names_its_bases(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"verb": "push", "catalog_id": "macos-15", "version": "1.5", "architecture": "x86_64", "bases": ["1.4"]}
    grants(server, body, reply={**GRANT, "manifests": [], "bases": [manifest()]})
    args = {**PUSH, "architecture": "amd64", "bases": "1.4", "cache_path": "/default/of/the/group"}
    host = host_of(monkeypatch, "catalog_push", args, check_mode=True)
    host.results.append({"changed": True})
    assert run(host)["changed"]
    assert "cache_path" not in host.modules[0][0]
    assert host.modules[0][0]["handover"]["bases"] == [manifest()]


def test_absent_needs_no_server_and_no_credentials(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(monkeypatch, "catalog_pull", {"catalog_id": "macos-15", "state": "absent", "catalog_token": SECRET})
    host.results.append({"changed": True})
    assert run(host)["changed"]
    assert host.modules[0][0] == {"catalog_id": "macos-15", "state": "absent"}


def test_absent_is_meant_for_one_catalog_if_that_is_known(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACFLEET_CATALOG_URL", "https://of.the.environment")
    for given, url in (({}, "https://of.the.environment"), ({"catalog_url": "https://x"}, "https://x")):
        host = host_of(monkeypatch, "catalog_pull", {"catalog_id": "macos-15", "state": "absent", **given})
        host.results.append({"changed": True})
        run(host)
        assert host.modules[0][0] == {"catalog_id": "macos-15", "state": "absent", "catalog_url": url}


def test_a_play_cannot_hand_anything_over(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_of(monkeypatch, "catalog_pull", {"catalog_id": "x", "state": "absent", "handover": {"grant": "forged"}})
    host.results.append({"changed": False})
    run(host)
    assert "handover" not in host.modules[0][0]


@pytest.mark.parametrize("word", ["tainted", "revoked"])
def test_the_host_decides_what_a_blocked_version_means(
    server: Recording, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    grants(server, PULL_BODY, **refusal(word, 409, f"Version '1.4' is {word}."))
    host = host_of(monkeypatch, "catalog_pull", PULL)
    host.results.append({"changed": False, "manifest_state": word})
    assert run(host)["manifest_state"] == word
    handover = host.modules[0][0]["handover"]
    assert handover["blocked"] == word
    assert f"Version '1.4' is {word}." in handover["blocked_message"]
    assert "grant" not in handover


@pytest.mark.parametrize(
    ("word", "status"), [("unknown_manifest", 404), ("forbidden", 403), ("token_expired", 401), ("locked_out", 429)]
)
def test_a_refusal_never_reaches_the_host(
    server: Recording, monkeypatch: pytest.MonkeyPatch, word: str, status: int
) -> None:
    grants(server, PULL_BODY, **refusal(word, status))
    host = host_of(monkeypatch, "catalog_pull", PULL)
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, word)
    assert not host.modules


@pytest.mark.parametrize("args", [{"version": ">=x"}, {"catalog_id": "."}, {"architecture": "ppc"}])
def test_bad_addresses_never_reach_the_server(
    server: Recording, monkeypatch: pytest.MonkeyPatch, args: dict[str, t.Any]
) -> None:
    result = run(host_of(monkeypatch, "catalog_pull", {**PULL, **args}))
    assert (result["failed"], result["error_code"]) == (True, "bad_request")


def test_under_async_the_module_does_all_of_it(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    grants(server, PULL_BODY)
    host = host_of(monkeypatch, "catalog_pull", PULL, async_seconds=300)
    host.results.append(dict(STARTED))
    assert run(host) == STARTED
    args, wrap_async, limit = host.modules[0]
    assert (args["handover"]["phase"], wrap_async, limit) == ("run", True, 300)


@pytest.mark.parametrize("name", ["catalog_cache", "catalog_cache_facts"])
def test_modules_without_a_server_take_the_defaults_of_the_group(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    host = host_of(monkeypatch, name, {**CONNECTION, "cache_path": "/cache"})
    host.results.append({"changed": False})
    assert run(host) == {"changed": False}
    assert host.modules[0][0] == {"cache_path": "/cache"}


# The transfer in the background


@pytest.fixture
def host(server: Recording, monkeypatch: pytest.MonkeyPatch) -> Host:
    grants(server, PULL_BODY)
    it = host_of(monkeypatch, "catalog_pull", PULL)
    it.results += [{"changed": False, "transfer_pending": True}, dict(STARTED)]
    return it


DONE = {
    "changed": True,
    "bytes": {},
    "finished": 1,
    "started": 1,
    "ansible_job_id": "j1.5",
    "stdout": "",
    "stdout_lines": [],
    "stderr": "",
    "stderr_lines": [],
    "results_file": "x",
}


def test_a_long_transfer_is_watched(host: Host) -> None:
    host.snapshots += [None, told(0), *[told(count) for count in range(5, 100, 10)], None]
    host.statuses += [{"finished": 0}, DONE]
    assert run(host) == {"changed": True, "bytes": {}}
    args, wrap_async, limit = host.modules[1]
    assert (args["handover"]["phase"], wrap_async, limit) == ("run", True, 86400)
    path = args["handover"]["progress_path"]
    assert path.startswith("~/.ansible_async/macfleet-")
    assert host.commands[0] == f"cat {path.replace('~', '/home/m')}"
    assert host.commands[-1] == "cleanup"
    assert host.shown[0] == "[mac-1] catalog_pull download: 0 B of 100 B (0 %)"
    assert 2 <= len(host.shown) <= 11


def test_a_transfer_begins_with_a_grant_that_lives(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    grants(server, PULL_BODY, reply={**GRANT, "expires_at": 1764000000})
    grants(server, PULL_BODY, reply={**GRANT, "grant": "gr4nt-2"})
    it = host_of(monkeypatch, "catalog_pull", PULL)
    it.results += [{"changed": False, "transfer_pending": True}, dict(STARTED)]
    it.snapshots.append(None)
    it.statuses.append(DONE)
    assert run(it)["changed"]
    assert [args["handover"]["grant"] for args, _wrap_async, _limit in it.modules] == ["gr4nt", "gr4nt-2"]


def test_a_job_that_does_not_start(host: Host) -> None:
    host.results[1] = {"failed": True, "msg": "no room"}
    assert run(host) == {"failed": True, "msg": "no room"}


def test_a_failure_of_the_module_is_the_result(host: Host) -> None:
    host.snapshots += [told(5), None]
    host.statuses += [{**DONE, "changed": False, "failed": True, "msg": "The disk is full.", "error_code": "disk_full"}]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "disk_full")


def test_a_connection_that_breaks_is_made_again(host: Host) -> None:
    lost = AnsibleConnectionFailure("no route to host")
    host.snapshots += [told(5), lost, lost, told(50), None, None]
    host.statuses += [lost, DONE]
    assert run(host)["changed"]
    assert host.resets == 3


def test_patience_with_a_host_ends(host: Host) -> None:
    host.snapshots += [told(5), *[AnsibleConnectionFailure("no route to host")] * 300]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert 900 < host.now < 930


MODULE = "python3 /home/m/.ansible/tmp/x/AnsiballZ_catalog_pull.py"


@pytest.mark.parametrize("there_now", [None, "/usr/libexec/of-somebody-else"])
def test_a_job_that_died_with_its_host_is_noticed(host: Host, there_now: str | None) -> None:
    # Once it is dead, its progress may be gone as well.
    host.snapshots += [*[told(5)] * 20, *[None] * 300]
    host.statuses += [{"finished": 0}] * 30
    host.alive += [MODULE, there_now, there_now]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert any(command.startswith("kill -0 77 ") for command in host.commands)
    assert 60 < host.now < 200
    assert host.commands[-1].startswith("rm -f /home/m/.ansible_async/macfleet-")


def test_a_module_that_ends_while_it_is_looked_for_has_a_result(host: Host) -> None:
    host.snapshots += [told(5)] * 300
    host.statuses += [{"finished": 0}, {"finished": 0}, DONE]
    host.alive.append(None)
    assert run(host) == {"changed": True, "bytes": {}}
    assert not host.alive


def test_a_module_that_never_says_anything_is_given_up(host: Host) -> None:
    host.snapshots += [None] * 300
    host.statuses += [{"finished": 0}] * 300
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert 900 < host.now < 1000
    # It may run though nobody can see it.
    assert host.commands[-1].endswith(".cancel")


def test_no_transfer_is_watched_for_ever(host: Host) -> None:
    host.snapshots += [told(5, elapsed) for elapsed in range(30_000)]
    host.statuses += [{"finished": 0}] * 3000
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert 86_400 < host.now < 90_000
    assert host.commands[-1].endswith(".cancel")


def test_a_connection_that_breaks_at_the_very_end_costs_no_result(host: Host) -> None:
    host.snapshots.append(None)
    host.statuses.append(DONE)
    host.cleanups[:] = [AnsibleConnectionFailure("no route to host")]
    assert run(host)["changed"]


def test_a_job_file_that_cannot_be_read_is_asked_for_again(host: Host) -> None:
    host.snapshots += [None] * 20
    unclear = {"failed": True, "finished": 0, "msg": "Could not parse job output"}
    host.statuses += [unclear, unclear, DONE]
    assert run(host)["changed"]
    assert "failed" not in DONE


def test_a_job_file_that_can_never_be_read_ends_the_task(host: Host) -> None:
    host.snapshots += [None] * 20
    host.statuses += [{"failed": True, "finished": 0, "msg": "Could not parse job output"}] * 9
    assert run(host)["failed"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("bug")])
def test_a_transfer_that_nobody_watches_is_cancelled(host: Host, interruption: BaseException) -> None:
    host.snapshots += [told(5), interruption]
    with pytest.raises(type(interruption)):
        run(host)
    path = host.modules[1][0]["handover"]["progress_path"]
    assert host.commands[-1] == f": > {path.replace('~', '/home/m')}.cancel"
