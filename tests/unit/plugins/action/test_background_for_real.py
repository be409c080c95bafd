# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A transfer in the background with the real Ansible on this machine: jobs, progress, results, cancelling."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary
from ansible_collections.macfleet.parallels.plugins.plugin_utils._background import BackgroundJob

COLLECTIONS = Path(boundary.__file__).absolute().parents[6]

ACTION = """
from ansible_collections.macfleet.parallels.plugins.module_utils._api.records import MintedGrant
from ansible_collections.macfleet.parallels.plugins.plugin_utils._transfer import TransferAction


class Connection:
    url = "https://catalog.example.com"
    ca_certificates = None

    def client(self):
        return None


class ActionModule(TransferAction):
    def connection(self, options):
        return Connection()

    def mint(self, client, options):
        return MintedGrant("gr4nt-of-the-host", 9e9)
"""

MODULE = """#!/usr/bin/python
import os
import re
import time

from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import (
    boundary,
    handover,
    options,
    progress_file,
)


def transfer(module):
    if handover.may_defer(module.params) and not module.check_mode:
        return {"changed": False, "transfer_pending": True}
    progress = progress_file.progress(module)
    module.warn("a warning of the module")
    grant = handover.handover(module.params).grant
    if module.params["pid_file"]:
        with open(module.params["pid_file"], "w") as stream:
            stream.write(str(os.getpid()))
    progress.start("download", 1000)
    deadline = time.monotonic() + module.params["seconds"]
    while time.monotonic() < deadline and not module.check_mode:
        time.sleep(0.1)
        progress.advance(10)
    if module.params["fails"]:
        raise handover.NoHandover("It failed.", "Do something.")
    return {"changed": True, "grant_was_there": grant == "gr4nt-of-the-host"}


def main():
    spec = {**options.connection_spec(), **options.handover_spec()}
    spec.update(seconds={"type": "float"}, fails={"type": "bool", "default": False}, pid_file={"type": "path"})
    module = boundary.make_module(spec)
    boundary.run(module, lambda: transfer(module))


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., t.Any]:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/slow_transfer.py").write_text(ACTION)
    (tmp_path / "library").mkdir()
    (tmp_path / "library/slow_transfer.py").write_text(MODULE)
    hosts = {"vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    inventory = {"all": {"hosts": {"mac-1": {}}, **hosts}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment.update(
        ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS),
        ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"),
        ANSIBLE_REMOTE_TEMP=str(tmp_path / "remote"),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_NOCOLOR="1",
        HOME=str(tmp_path),
    )

    def start(
        options: dict[str, t.Any], *words: str, settings: dict[str, str] | None = None, **keywords: t.Any
    ) -> subprocess.Popen[str]:
        tasks = [
            {"slow_transfer": {"catalog_token": "l0ng-lived-s3cr3t", **options}, "register": "transfer", **keywords},
            {
                "ansible.builtin.copy": {"content": "{{ transfer | to_json }}", "dest": str(tmp_path / "result.json")},
                "check_mode": False,
            },
        ]
        playbook = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (tmp_path / "play.yml").write_text(json.dumps(playbook))
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.json", "play.yml", *words]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, **(settings or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    return start


def finished(process: subprocess.Popen[str], tmp_path: Path) -> tuple[str, dict[str, t.Any]]:
    output, _nothing = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output, json.loads((tmp_path / "result.json").read_text())


def test_a_long_transfer(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    output, result = finished(play({"seconds": 2.5}), tmp_path)
    assert re.search(r"\[mac-1\] slow_transfer download: \d+ B of 1\.0 kB \(\d+ %\)", output)
    assert "a warning of the module" in output
    assert result["changed"]
    assert result["grant_was_there"]
    assert not {"ansible_job_id", "transfer_pending", "started", "finished", "results_file"} & set(result)
    assert not list((tmp_path / ".ansible_async").iterdir())
    assert "s3cr3t" not in output + json.dumps(result)


def test_a_transfer_that_fails(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    output, result = finished(play({"seconds": 0.5, "fails": True}, ignore_errors=True), tmp_path)
    assert (result["failed"], result["error_code"], result["hint"]) == (True, "no_handover", "Do something.")
    assert "It failed. Do something." in output
    assert not list((tmp_path / ".ansible_async").iterdir())


def test_check_mode_stays_in_the_foreground(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    _output, result = finished(play({"seconds": 30}, "--check"), tmp_path)
    assert result["changed"]
    assert not (tmp_path / ".ansible_async").exists()


def test_under_async(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    # Ansible's own polling finds jobs below another home only if it is told.
    settings = {"ANSIBLE_ASYNC_DIR": str(tmp_path / "jobs")}
    keywords = {"async": 60, "poll": 1, "settings": settings}
    output, result = finished(play({"seconds": 1}, **keywords), tmp_path)
    assert result["grant_was_there"]
    assert "download" not in output


@pytest.mark.parametrize(("mark", "lives"), [("AnsiballZ_slow_transfer.py", True), ("another program", False)])
def test_a_module_is_told_from_what_else_has_its_number(mark: str, lives: bool) -> None:
    def execute(command: str) -> dict[str, t.Any]:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout}

    action: t.Any = types.SimpleNamespace(_low_level_execute_command=execute)
    job = BackgroundJob(action, {}, {}, time.monotonic, time.sleep)
    waiting = [sys.executable, "-c", "print(flush=True); input()", mark]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert job._lives({"pid": process.pid}) is lives
        process.kill()
    assert not job._lives({"pid": process.pid})


def test_an_interrupted_play_cancels_its_transfer(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    process = play({"seconds": 300, "pid_file": str(tmp_path / "pid")})
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the transfer goes on"
        time.sleep(0.1)
