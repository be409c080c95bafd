# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mac for the modules that run on one."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Transport
from ansible_collections.macfleet.parallels.plugins.module_utils._host import prlctl
from ansible_collections.macfleet.parallels.tests.unit.support.hosts import Host
from ansible_collections.macfleet.parallels.tests.unit.support.recording import Recording
from ansible_collections.macfleet.parallels.tests.unit.support.storage import serving


@pytest.fixture(name="host")
def host_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Host]:
    """A Mac without Parallels Desktop until it is installed, whatever this machine has."""
    catalog = Recording()
    monkeypatch.setattr(Transport, "send", lambda transport, request: catalog.send(request))
    with serving() as storage:
        host = Host(tmp_path, catalog, storage)
        monkeypatch.setenv("HOME", str(host.home))
        monkeypatch.setenv("PATH", str(host.programs))
        monkeypatch.setattr(prlctl, "_PLACES", ())
        yield host
        catalog.finished()
