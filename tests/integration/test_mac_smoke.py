# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The smoke test of a Mac with its push and pull, against a server that it starts itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SMOKE = Path(__file__).parents[1] / "mac/smoke.py"
SECONDS = 300


def test_a_bundle_is_pushed_and_pulled(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, str(SMOKE), "--server-venv", sys.prefix),
            *("--directory", str(tmp_path), "--json", str(tmp_path / "result.json")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["checks"]
    assert {row["check"]: row["result"] for row in rows}["transfer"] == "ok"
