# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import shutil

from ansible_collections.macfleet.parallels.plugins.module_utils._host.requirements import (
    HostResources,
    read_resources,
    unmet,
)

RESOURCES = HostResources(cpu=8, memory_mb=16384, disk_free_mb=100000)


def test_enough_is_enough() -> None:
    assert unmet({"cpu": 8, "memory_mb": 16384, "disk_mb": 100000}, RESOURCES) == []


def test_nothing_is_wanted() -> None:
    assert unmet({}, RESOURCES) == []
    assert unmet({"cpu": 0, "memory_mb": None}, RESOURCES) == []


def test_every_lack_has_its_sentence() -> None:
    assert unmet({"cpu": 9, "memory_mb": 16385, "disk_mb": 100001}, RESOURCES) == [
        "The image needs 9 processor cores, this host has 8.",
        "The image needs 16385 MiB of memory, this host has 16384.",
        "The image needs 100001 MiB of free disk space, this host has 100000.",
    ]


def test_this_host_is_read(tmp_path: pathlib.Path) -> None:
    resources = read_resources(str(tmp_path / "not/there/yet"))
    assert resources.cpu == os.cpu_count()
    assert resources.memory_mb > 64
    assert abs(resources.disk_free_mb - (shutil.disk_usage(tmp_path).free >> 20)) < 1024
