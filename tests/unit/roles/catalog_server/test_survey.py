# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role asks the server's host, as it does: a program from standard input."""

from __future__ import annotations

import fcntl
import json
import pathlib
import subprocess
import sys
import typing as t

DEPLOY = pathlib.Path(__file__).parents[4] / "roles/catalog_server/files/deploy"


def survey(install: pathlib.Path, **asked: t.Any) -> dict[str, t.Any]:
    """What the host tells."""
    request = {"python": "", "user": "root", "state_file": str(install / "running.json"), "paths": [], "contents": []}
    argv = [sys.executable, "-", str(install), json.dumps({**request, **asked})]
    text = (DEPLOY / "survey.py").read_text(encoding="utf-8")
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, t.Any] = json.loads(done.stdout)
    return told


def test_it_tells_what_is_there_and_no_digest_of_a_secret(tmp_path: pathlib.Path) -> None:
    (tmp_path / "current").symlink_to("/releases/old")
    for name in ("releases/old/complete", "releases/half/file", "settings.env", "database-url"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content", encoding="ascii")
    settings, url = tmp_path / "settings.env", tmp_path / "database-url"
    settings.chmod(0o640)
    told = survey(tmp_path, paths=[str(settings), str(url), str(tmp_path / "absent")], contents=[str(settings)])
    assert told["links"] == {"current": "/releases/old", "previous": "", "undone": ""}
    assert told["complete"] == ["old"]
    assert set(told["owners"]) == {str(settings), str(url)}
    assert [len(look.split()) for look in told["looks"]] == [5, 5, 4, 4]
    assert " 0640 " in told["looks"][0] and told["running"] is None


def test_it_tells_of_a_run_that_did_not_come_to_its_end(tmp_path: pathlib.Path) -> None:
    def step(*words: str) -> str:
        argv = [sys.executable, str(DEPLOY / "host_steps.py"), str(tmp_path), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    assert not survey(tmp_path)["unfinished"]
    run = step("claim")
    assert survey(tmp_path)["unfinished"]
    step("clean", run, json.dumps({"files": []}))
    assert not survey(tmp_path)["unfinished"]


def test_it_tells_what_runs(tmp_path: pathlib.Path) -> None:
    with (tmp_path / "running.json").open("w", encoding="ascii") as file:
        json.dump({"pid": 1, "files": {"/etc/systemd/system/a.service": None}}, file)
        file.flush()
        assert survey(tmp_path)["running"] is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert survey(tmp_path)["running"] == {"files": ["/etc/systemd/system/a.service"]}
