# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The halves of push and pull that run on the controller, against a host that plays a recording."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport
from ansible_collections.macfleet.parallels.plugins.plugin_utils import _background, _transfer
from ansible_collections.macfleet.parallels.plugins.plugin_utils._interruptions import Interrupted
from ansible_collections.macfleet.parallels.tests.unit.support import actions
from ansible_collections.macfleet.parallels.tests.unit.support.recording import BASE_URL, Recording, manifest, refusal

SECRET = "t0k3n-of-the-play"
CONNECTION = {"catalog_url": BASE_URL, "catalog_token": SECRET, "ca_path": None, "timeout": 9}
PULL = {**CONNECTION, "catalog_id": "MacOS-15", "version": ">=1.4,<2", "name": "runner"}
PUSH = {**CONNECTION, "catalog_id": "macos-15", "version": "1.5", "path": "/vm/x.pvm"}
GRANT = {"grant": "gr4nt", "expires_at": 4000000000, "expires_in": 3600, "manifests": [manifest()], "bases": []}
STARTED = {"ansible_job_id": "j1.5", "results_file": "/home/m/.ansible_async/j1.5", "started": 1, "finished": 0}
PLACE = {"path": "/home/m/.ansible_async/macfleet-1", "pid": 77, "python": "/usr/bin/python3"}


class Host:
    """Answers what an action plugin asks of its host."""

    def __init__(self, action: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.action = action
        self.now = 0.0
        self.results: list[t.Any] = []
        # What the command that waits on the host prints, and how long it takes if it ends before its time.
        self.polls: list[t.Any] = []
        self.modules: list[tuple[dict[str, t.Any], bool, int]] = []
        self.commands: list[str] = []
        self.waits: list[float] = []
        self.shown: list[str] = []
        self.shown_verbosely: list[str] = []
        self.resets = 0
        action._execute_module = self.execute
        action._low_level_execute_command = self.command
        action.get_shell_option = lambda option, default: default
        action._connection._shell.join_path = lambda *parts: "/".join(parts)
        action._connection.reset = self.reset
        watched = functools.partial(_background.BackgroundJob, clock=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(_transfer, "BackgroundJob", watched)
        monkeypatch.setattr(_background.display, "display", self.shown.append)
        monkeypatch.setattr(_background.display, "vvv", self.shown_verbosely.append)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def reset(self) -> None:
        self.resets += 1

    def execute(self, *, module_args: t.Any = None, task_vars: t.Any = None, wrap_async: bool = False) -> t.Any:
        args = self.action._task.args if module_args is None else module_args
        self.modules.append((args, wrap_async, self.action._task.async_val))
        result = self.results.pop(0)
        if isinstance(result, BaseException):
            raise result
        return result

    def command(self, command: str) -> dict[str, t.Any]:
        words = shlex.split(command)
        if words[0] != PLACE["python"]:
            self.commands.append(command)
            return {"rc": 0, "stdout": ""}
        assert words[1:4] == ["-I", "-S", "-c"]
        assert words[5:7] == [PLACE["path"], "77"]
        self.waits.append(float(words[7]))
        answer = self.polls.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        self.now += float(words[7])
        return {"rc": 0, "stdout": f"motd\n{answer}\n"}


def told(done: int, elapsed: float = 1.0, total: int = 100) -> str:
    snapshot = {"phase": "download", "done_bytes": done, "total_bytes": total, "elapsed_seconds": elapsed, "pid": 77}
    return json.dumps({"ended": False, "progress": json.dumps(snapshot).ljust(200), "result": None})


def ended(result: t.Any = None, progress: t.Any = None) -> str:
    texts = [None if value is None else json.dumps(value) for value in (progress, result)]
    return json.dumps({"ended": True, "progress": texts[0], "result": texts[1]})


NOTHING = json.dumps({"ended": False, "progress": None, "result": None})


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
    path = args["handover"]["progress_path"]
    assert path.startswith("~/.ansible_async/macfleet-")
    assert args.pop("handover") == {
        "url": BASE_URL,
        "grant": "gr4nt",
        "lifetime_seconds": 3600.0,
        "manifests": [manifest()],
        "bases": [],
        "ca_certificates": None,
        "progress_path": path,
    }
    assert args == {key: PULL[key] for key in ("catalog_url", "catalog_id", "version", "name", "timeout")}


def test_a_push_names_its_bases(server: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"verb": "push", "catalog_id": "macos-15", "version": "1.5", "architecture": "x86_64", "bases": ["1.4"]}
    grants(server, body, reply={**GRANT, "manifests": [], "bases": [manifest()]})
    args = {**PUSH, "architecture": "amd64", "bases": "1.4"}
    host = host_of(monkeypatch, "catalog_push", args, check_mode=True)
    host.results.append({"changed": True})
    assert run(host)["changed"]
    assert host.modules[0][0]["handover"]["bases"] == [manifest()]


@pytest.mark.parametrize("option", ["cache_path", "lock_timeout", "facts_directory", "prlctl_path"])
def test_a_push_knows_the_cache_of_its_host(server: Recording, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    body = {"verb": "push", "catalog_id": "macos-15", "version": "1.5"}
    grants(server, body, reply={**GRANT, "manifests": [], "bases": []})
    host = host_of(monkeypatch, "catalog_push", {**PUSH, option: "7"}, check_mode=True)
    host.results.append({"changed": True})
    assert run(host)["changed"]
    assert host.modules[0][0][option] == "7"


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
    assert ("progress_path" in args["handover"], wrap_async, limit) == (False, True, 300)


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
    it.results.append({"changed": False, "transfer": dict(PLACE)})
    return it


DONE = {"changed": True, "bytes": {"downloaded": 20_000_000, "reused": 1_200_000_000}, "elapsed": 75.2}


def test_a_long_transfer_is_watched(host: Host) -> None:
    host.polls += [told(0), *[told(count, count) for count in range(5, 100, 10)], ended(DONE)]
    assert run(host) == DONE
    assert len(host.modules) == 1
    assert host.commands == [
        "rm -f " + " ".join(PLACE["path"] + suffix for suffix in ("", ".lock", ".watched", ".result", ".cancel"))
    ]
    assert host.shown[0].startswith("[mac-1] catalog_pull MacOS-15 >=1.4,<2: download: 5 B of 100 B (5 %)")
    assert host.shown[-1] == "[mac-1] catalog_pull MacOS-15 >=1.4,<2: done: 20.0 MB moved, 1.2 GB reused, 1 min 15 s"
    assert 3 <= len(host.shown) <= 12


@pytest.mark.parametrize("no_log", [False, True])
def test_nothing_is_shown_of_a_task_with_no_log(host: Host, no_log: bool) -> None:
    host.action._task.no_log = no_log
    host.polls += [told(5), AnsibleConnectionFailure("gone"), *[told(count, count) for count in (45, 95)], ended(DONE)]
    assert run(host) == DONE
    assert bool(host.shown) is not no_log
    assert bool(host.shown_verbosely) is not no_log


def test_a_line_names_the_host_that_the_task_is_delegated_to(host: Host) -> None:
    host.action._task.delegate_to = "mac-2"
    host.polls.append(ended(DONE))
    run(host)
    assert host.shown[0].startswith("[mac-1 -> mac-2] catalog_pull ")


def test_a_fleet_of_long_transfers_costs_few_commands(host: Host) -> None:
    rate = 50
    hours = 2
    total = rate * hours * 3600
    host.polls += [told(0, 1.0, total)]

    def command(command: str) -> dict[str, t.Any]:
        if not command.startswith(PLACE["python"]):
            return {"rc": 0, "stdout": ""}
        host.waits.append(float(shlex.split(command)[7]))
        host.now += host.waits[-1]
        moved = int(host.now * rate)
        return {"rc": 0, "stdout": ended(DONE) if moved >= total else told(moved, host.now, total)}

    host.action._low_level_execute_command = command
    run(host)
    assert max(host.waits) <= 60
    # Two hundred hosts at once.
    assert 200 * len(host.waits) / host.now <= 5
    assert len(host.shown) <= len(host.waits) + 1


def test_a_failure_of_the_module_is_the_result(host: Host) -> None:
    host.polls += [told(5), ended({"changed": False, "failed": True, "msg": "Full.", "error_code": "disk_full"})]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "disk_full")
    assert not any("done" in line for line in host.shown)


@pytest.mark.parametrize("place", ["result", "progress"])
def test_a_host_cannot_act_on_the_controller(host: Host, place: str) -> None:
    hostile = {
        **DONE,
        "add_host": {"host_name": "evil", "groups": ["macs"], "host_vars": {"ansible_connection": "local"}},
        "add_group": "evil",
        "ansible_facts": {"ansible_python_interpreter": "/evil"},
        "_ansible_no_log": False,
        "__ansible_vault": "x",
        "warnings": "not a list",
        "msg": {"not": "a text"},
        "bytes": {"downloaded": "many", "reused": [1]},
        "elapsed": -1,
    }
    host.polls += [told(5), ended(hostile) if place == "result" else ended(progress={"result": hostile})]
    result = run(host)
    assert result["changed"]
    assert not {"add_host", "add_group", "ansible_facts", "_ansible_no_log", "__ansible_vault"} & set(result)
    assert not {"warnings", "msg"} & set(result)
    assert host.shown[-1].endswith("done: 0 B moved, 0 B reused, 0 s")


@pytest.mark.parametrize("result", [[DONE], "done", 1, "[" * 100_000])
def test_what_is_not_a_result_is_none(host: Host, result: t.Any) -> None:
    host.polls += [told(5), ended(progress={"result": result})]
    assert run(host)["error_code"] == "transfer_lost"


@pytest.mark.parametrize("place", [{}, {**PLACE, "pid": "77; id"}, {**PLACE, "path": None}])
def test_a_host_that_does_not_say_where_its_transfer_runs(host: Host, place: dict[str, t.Any]) -> None:
    host.results[0] = {"changed": False, "transfer": place}
    assert run(host)["error_code"] == "transfer_lost"


def test_a_result_that_found_no_room_of_its_own_stands_in_the_progress(host: Host) -> None:
    host.polls.append(ended(progress={"result": {"failed": True, "msg": "Full.", "error_code": "disk_full"}}))
    assert run(host)["error_code"] == "disk_full"


@pytest.mark.parametrize(
    "text",
    [
        'Welcome to {prod}\n{"a": {"b": 1}}\n',
        '{"a": {"b": 1}}\nbye }\n',
        'Welcome to {prod} {"a": {"b": 1}}',
        '{"unfinished": \n{"a": {"b": 1}}\r\n{}',
        '{"": ' * 100_000 + '\n{"a": {"b": 1}}',
    ],
)
def test_a_host_may_print_anything_around_an_answer(text: str) -> None:
    assert _background._object(text) == {"a": {"b": 1}}


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", "{prod}"])
def test_an_answer_may_be_missing(text: t.Any) -> None:
    assert _background._object(text) is None


@pytest.mark.parametrize("lost", [AnsibleConnectionFailure("no route to host"), _background.Overdue()])
def test_a_connection_that_breaks_is_made_again(host: Host, lost: BaseException) -> None:
    host.polls += [told(5), lost, lost, told(50), lost, ended(DONE)]
    assert run(host)["changed"]
    assert host.resets == 3


def test_patience_with_a_host_ends(host: Host) -> None:
    host.polls += [told(5), *[AnsibleConnectionFailure("no route to host")] * 600]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert "no route to host" in result["msg"]
    assert 900 < host.now < 930


def test_a_module_that_died_is_no_result(host: Host) -> None:
    host.polls += [told(5), ended()]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert host.commands[-1].startswith("rm -f ")


def test_a_module_that_says_nothing_any_more_is_given_up(host: Host) -> None:
    host.polls += [told(5), *[NOTHING] * 300]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert 900 < host.now < 1000
    assert f"could not be read for {host.now - 1:.0f} seconds" in result["msg"]
    # It may run though nobody can see it.
    assert host.commands[-1].endswith(".cancel")


def test_a_host_on_which_nothing_can_be_asked_is_given_up(host: Host) -> None:
    host.polls += ["python3: not found"] * 9
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert host.commands[-1].endswith(".cancel")


def test_no_transfer_is_watched_for_ever(host: Host) -> None:
    host.polls += [told(5, elapsed) for elapsed in range(1, 100_000)]
    result = run(host)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert 86_400 <= host.now < 90_000
    assert "had not ended after 24 hours" in result["msg"]
    assert host.commands[-1].endswith(".cancel")


def test_a_connection_that_breaks_at_the_very_end_costs_no_result(host: Host) -> None:
    host.polls.append(ended(DONE))
    command = host.command

    def broken(text: str) -> dict[str, t.Any]:
        if text.startswith("rm "):
            raise AnsibleConnectionFailure("no route to host")
        return command(text)

    host.action._low_level_execute_command = broken
    assert run(host)["changed"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("bug")])
def test_a_transfer_that_nobody_watches_is_cancelled(host: Host, interruption: BaseException) -> None:
    host.polls += [told(5), interruption]
    with pytest.raises(type(interruption)):
        run(host)
    assert host.commands == [f"umask 077; mkdir -p /home/m/.ansible_async && : > {PLACE['path']}.cancel"]


def test_an_interruption_before_the_module_has_left_its_task_cancels_it(host: Host) -> None:
    host.results[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(host)
    path = host.modules[0][0]["handover"]["progress_path"]
    assert path.startswith("~/.ansible_async/")
    assert host.commands == [f"umask 077; mkdir -p ~/.ansible_async && : > {path}.cancel"]


@pytest.mark.parametrize(
    "path",
    ["~/jobs/x", "~root/jobs/x", "$HOME/my jobs/x", "/a${HOME}b/$USER_X$HOME/x", "/it's/$(id)/`id`/x y", "~/a'b/~/$1"],
)
def test_a_shell_expands_a_path_as_the_module_does(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of $1")
    monkeypatch.setenv("USER_X", "y")
    command = ["/bin/sh", "-c", f"printf %s {_background._quoted(path)}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed == os.path.expandvars(os.path.expanduser(path))


def test_a_module_whose_answer_did_not_arrive_is_cancelled(host: Host) -> None:
    host.results[0] = AnsibleConnectionFailure("connection reset by peer")
    with pytest.raises(AnsibleConnectionFailure):
        run(host)
    assert host.commands[0].endswith(".cancel")


def test_a_module_whose_answer_arrived_in_part_is_cancelled(host: Host) -> None:
    host.results[0] = {
        "failed": True,
        "msg": "Module result deserialization failed.",
        "module_stdout": '{"changed": fa',
    }
    assert run(host)["failed"]
    assert host.commands[0].endswith(".cancel")


def test_a_transfer_whose_play_was_killed_is_cancelled(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    poll = host.command

    def kill_play(command: str) -> dict[str, t.Any]:
        monkeypatch.setattr(_background.os, "getppid", lambda: 1)
        return poll(command)

    host.action._low_level_execute_command = kill_play
    host.polls += [told(5)]
    with pytest.raises(Interrupted):
        run(host)
    assert host.commands[-1].endswith(".cancel")
