# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/virtual-machines.md names what the code has."""

from __future__ import annotations

import inspect
import pathlib
import re

from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import lookup, naming, power
from ansible_collections.macfleet.parallels.plugins.module_utils._host import errors

DOCUMENT = pathlib.Path(lookup.__file__).parents[4] / "docs/virtual-machines.md"


def test_error_words_are_those_of_the_code() -> None:
    codes = {error.code for _name, error in inspect.getmembers(errors, inspect.isclass) if hasattr(error, "code")}
    named = set(re.findall(r"`((?:vm|receipt|unknown|macos|volume|path)_[a-z_]+)`", DOCUMENT.read_text()))
    assert named <= codes
    assert {"vm_broken", "vm_unregistered", "vm_busy", "vm_still_runs", "macos_limit", "volume_missing"} <= named


def test_lock_and_limits_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    assert "`" + naming.lock_path("", "NAME") + "`" in text
    assert (power.STOP_SECONDS, power.MOST_RUNNING_MACOS) == (180, 2)
    assert "`stop_timeout` seconds (three minutes by default)" in text
    assert "A Mac runs at most two macOS VMs at a time" in text
