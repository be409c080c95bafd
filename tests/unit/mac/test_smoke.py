# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The smoke test of a Mac runs here, too, as far as this system has what it looks at."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

SMOKE = pathlib.Path(__file__).parents[2] / "mac/smoke.py"
NEEDS_A_MAC = {"locked", "power"}
SECONDS = 120


def test_every_check_passes_or_says_why_not(tmp_path: pathlib.Path) -> None:
    # Without site-packages: a Mac has none.
    done = subprocess.run(
        [sys.executable, "-S", str(SMOKE), "--directory", str(tmp_path), "--json", str(tmp_path / "result.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert json.loads(done.stdout[done.stdout.index("\n{") :]) == result
    skipped = {row["check"] for row in result["checks"] if row["result"] == "skipped"}
    assert skipped == {"transfer", *(NEEDS_A_MAC if sys.platform != "darwin" else ())}
    assert len({row["check"] for row in result["checks"]}) == len(result["checks"]) == 11
    assert result["date"] and result["build"]
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_failure_shows_in_the_exit_status(tmp_path: pathlib.Path) -> None:
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); import smoke\n"
        "smoke.CHECKS = (lambda place: smoke.need(False, 'a fault'),)\n"
        "smoke.CHECKS[0].__name__ = 'check_fault'\n"
        "sys.argv[1:] = ['--directory', sys.argv[2]]\n"
        "sys.exit(smoke.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(SMOKE.parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "fault        FAILED" in done.stdout
    assert "found a fault" in done.stdout
