# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recorded server, which must get every request that the test expects."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.tests.unit.support.recording import Recording


@pytest.fixture
def server() -> t.Iterator[Recording]:
    recording = Recording()
    yield recording
    recording.finished()
