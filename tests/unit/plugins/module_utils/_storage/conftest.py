# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signed transfers to a real little HTTP server."""

from __future__ import annotations

import http.client
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.signed import SignedTransfer
from ansible_collections.macfleet.parallels.tests.unit.support.storage import StorageServer, serving

TIMEOUT_SECONDS = 0.5


def connect(scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    assert scheme == "http"
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


@pytest.fixture(name="server")
def server_fixture() -> t.Iterator[StorageServer]:
    with serving() as server:
        yield server


@pytest.fixture(name="transfer")
def transfer_fixture() -> t.Iterator[SignedTransfer]:
    with SignedTransfer(connect) as transfer:
        yield transfer
