# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pwd

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import compose, options
from ansible_collections.macfleet.parallels.tests.unit.support import modules


@pytest.fixture(autouse=True)
def another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is after ``su`` without a login."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")


def owner() -> str:
    spec = {**options.cache_spec(), **options.handover_spec()}
    with compose.host_context(modules.module(spec), "a test") as context:
        return context.cache.owner


def test_the_owner_of_a_cache_is_who_runs_the_module() -> None:
    assert owner() == pwd.getpwuid(os.geteuid()).pw_name


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert owner() == str(os.geteuid())
