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
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import boundary
from ansible_collections.macfleet.parallels.plugins.plugin_utils import _background

COLLECTIONS = Path(boundary.__file__).absolute().parents[6]

ACTION = """
from ansible_collections.macfleet.parallels.plugins.module_utils._api.tokens import MintedGrant
from ansible_collections.macfleet.parallels.plugins.plugin_utils._transfer import TransferAction


class Connection:
    url = "https://catalog.example.com"
    ca_certificates = None

    def client(self):
        return None


class ActionModule(TransferAction):
    spec = {"catalog_id": {"type": "str"}, "version": {"type": "str"}}

    def connection(self, options):
        return Connection()

    def mint(self, client, options):
        return MintedGrant("gr4nt-of-the-host", 3600.0)
"""

MODULE = """#!/usr/bin/python
import os
import shutil
import time

from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import (
    boundary,
    handover,
    options,
    progress_file,
)


def transfer(module, before_long):
    progress = progress_file.progress(module)
    with progress.reporting():
        return work(module, before_long, progress)


def work(module, before_long, progress):
    if module.params["dies_early"]:
        os.kill(os.getpid(), 9)
    if module.params["pid_file"]:
        with open(module.params["pid_file"], "w") as stream:
            stream.write(str(os.getpid()))
    time.sleep(module.params["seconds_before"])
    if not module.check_mode and module.params["seconds"]:
        # A module calls it before each thing that may take long.
        before_long()
        before_long()
    module.warn("a warning of the module")
    grant = handover.handover(module.params).grant
    progress.start("download", 1000)
    deadline = time.monotonic() + module.params["seconds"]
    while time.monotonic() < deadline and not module.check_mode:
        time.sleep(0.1)
        progress.advance(10)
    if module.params["removes"]:
        shutil.rmtree(os.path.dirname(module.params["handover"]["progress_path"]))
    if module.params["dies"]:
        os.kill(os.getpid(), 9)
    time.sleep(module.params["seconds_more"])
    if module.params["fails"] == "bug":
        raise ValueError("nobody thought of this")
    if module.params["fails"]:
        raise handover.NoHandover("It failed.", "Do something.")
    return {
        "changed": True,
        "grant_was_there": grant == "gr4nt-of-the-host",
        "bytes": {"downloaded": 1000, "reused": 5000000},
        "elapsed": 2.5,
    }


def main():
    spec = {**options.connection_spec(), **options.handover_spec()}
    spec.update(
        catalog_id={"type": "str"},
        version={"type": "str"},
        seconds={"type": "float"},
        seconds_before={"type": "float", "default": 0},
        seconds_more={"type": "float", "default": 0},
        fails={"type": "str"},
        dies={"type": "bool"},
        dies_early={"type": "bool"},
        removes={"type": "bool"},
        pid_file={"type": "path"},
    )
    module = boundary.make_module(spec)
    boundary.run_transfer(module, lambda before_long: transfer(module, before_long))


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
            # Whoever runs the tests by nohup has them ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    return start


def finished(process: subprocess.Popen[str], tmp_path: Path) -> tuple[str, dict[str, t.Any]]:
    output, _nothing = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output, json.loads((tmp_path / "result.json").read_text())


def test_a_long_transfer(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    output, result = finished(play({"seconds": 2.5, "catalog_id": "runner", "version": "1.4.*"}), tmp_path)
    assert re.search(r"\[mac-1\] slow_transfer runner 1\.4\.\*: download: \d+ B of 1\.0 kB \(\d+ %\)", output)
    assert "[mac-1] slow_transfer runner 1.4.*: done: 1.0 kB moved, 5.0 MB reused, 2 s" in output
    assert output.count("a warning of the module") == 1
    assert result["changed"]
    assert result["grant_was_there"]
    assert "transfer" not in result
    assert not list((tmp_path / ".ansible_async").iterdir())
    assert "s3cr3t" not in output + json.dumps(result)


def test_short_work_leaves_no_trace(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    output, result = finished(play({"seconds": 0}), tmp_path)
    assert result["changed"]
    assert "a warning of the module" in output
    assert not (tmp_path / ".ansible_async").exists()


@pytest.mark.parametrize("seconds", [0, 0.5])
@pytest.mark.parametrize(
    ("fails", "code", "words"),
    [("error", "no_handover", "It failed. Do something."), ("bug", "internal_error", "nobody thought of this")],
)
def test_a_transfer_that_fails(
    play: t.Callable[..., t.Any], tmp_path: Path, fails: str, code: str, words: str, seconds: float
) -> None:
    output, result = finished(play({"seconds": seconds, "fails": fails}, ignore_errors=True), tmp_path)
    assert (result["failed"], result["error_code"]) == (True, code)
    assert words in output and words in result["msg"]
    assert not (tmp_path / ".ansible_async").exists() or not list((tmp_path / ".ansible_async").iterdir())


def test_a_module_that_dies_is_noticed_at_once(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    begun = time.monotonic()
    _output, result = finished(play({"seconds": 0.5, "dies": True}, ignore_errors=True), tmp_path)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")
    assert "without a result" in result["msg"]
    assert time.monotonic() - begun < 20
    assert not list((tmp_path / ".ansible_async").iterdir())


def test_a_module_that_dies_before_it_leaves_the_task(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    _output, result = finished(play({"seconds": 0.5, "dies_early": True}, ignore_errors=True), tmp_path)
    assert result["failed"] and "transfer" not in result


def test_a_transfer_whose_files_are_removed_is_still_watched(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    _output, result = finished(play({"seconds": 0.5, "removes": True, "seconds_more": 3}), tmp_path)
    assert result["grant_was_there"]
    assert not list((tmp_path / ".ansible_async").iterdir())


def test_a_transfer_whose_files_are_removed_can_be_lost(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    _output, result = finished(play({"seconds": 0.5, "removes": True, "dies": True}, ignore_errors=True), tmp_path)
    assert (result["failed"], result["error_code"]) == (True, "transfer_lost")


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


def test_a_transfer_that_was_cancelled_before_it_left_its_task(play: t.Callable[..., t.Any], tmp_path: Path) -> None:
    process = play({"seconds": 300, "seconds_before": 3, "pid_file": str(tmp_path / "pid")})
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    wait_for_end(int((tmp_path / "pid").read_text()))
    # The interruption has ended the module as well, so nobody took the request.
    assert [path.suffix for path in (tmp_path / ".ansible_async").iterdir()] == [".cancel"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_play_that_ends_early_cancels_its_transfer(
    play: t.Callable[..., t.Any], tmp_path: Path, number: signal.Signals
) -> None:
    process = play({"seconds": 300, "pid_file": str(tmp_path / "pid")})
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".ansible_async/*.lock")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # Not all processes of it are killed: its worker, before ansible-core 2.19, is in the same group.
    (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
    process.communicate(timeout=60)
    wait_for_end(int((tmp_path / "pid").read_text()))
    assert not list((tmp_path / ".ansible_async").iterdir())


def test_a_poll_shows_that_somebody_watches(tmp_path: Path) -> None:
    progress, watched = tmp_path / "macfleet-1", tmp_path / "macfleet-1.watched"
    seen = []
    for _attempt in range(2):
        subprocess.run([sys.executable, _background._POLL, progress, str(os.getpid()), "0.1"], check=True)
        seen.append(watched.stat().st_mtime_ns)
    assert seen[0] < seen[1]
    assert watched.stat().st_mode & 0o777 == 0o600


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "the transfer goes on"
        time.sleep(0.1)
