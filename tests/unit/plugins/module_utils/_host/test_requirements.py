# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import shutil

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host.requirements import (
    HostResources,
    read_resources,
    unmet_compute,
    unmet_disk,
)

RESOURCES = HostResources(cpu=8, memory_mb=16384, disk_free_mb=100000)


def test_enough_is_enough() -> None:
    assert unmet_compute({"cpu": 8, "memory_mb": 16384, "disk_mb": 1 << 40}, RESOURCES) == []


def test_nothing_is_wanted() -> None:
    assert unmet_compute({}, RESOURCES) == []
    assert unmet_compute({"cpu": 0, "memory_mb": None}, RESOURCES) == []
    assert unmet_disk({}, 0, 0) == []


def test_every_lack_has_its_sentence() -> None:
    assert unmet_compute({"cpu": 9, "memory_mb": 16385}, RESOURCES) == [
        "The image needs 9 processor cores, this host has 8.",
        "The image needs 16385 MiB of memory, this host has 16384.",
    ]


@pytest.mark.parametrize("taken_mb", [0, 20000, 60000])
def test_the_image_itself_counts_as_room(taken_mb: int) -> None:
    """What an image takes is not free any more once it was pulled; the answer must not change by that."""
    minimum = {"disk_mb": 60000, "cpu": 1000}
    assert unmet_disk(minimum, 60000 - taken_mb, taken_mb) == []
    assert unmet_disk(minimum, 59999 - taken_mb, taken_mb) == [
        "The image needs 60000 MiB of free disk space, this host has 59999."
    ]


def test_this_host_is_read(tmp_path: pathlib.Path) -> None:
    resources = read_resources(str(tmp_path / "not/there/yet"))
    assert resources.cpu == os.cpu_count()
    assert resources.memory_mb > 64
    assert abs(resources.disk_free_mb - (shutil.disk_usage(tmp_path).free >> 20)) < 1024
