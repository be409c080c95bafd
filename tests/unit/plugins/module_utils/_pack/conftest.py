# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine is tested with as few descriptors as a Mac gives to a process."""

from __future__ import annotations

import resource
import typing as t

import pytest

MAC_DESCRIPTORS = 256


@pytest.fixture(name="few_descriptors", autouse=True)
def few_descriptors_fixture() -> t.Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAC_DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
