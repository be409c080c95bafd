# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a volume before anything is written is what happens when it is."""

from __future__ import annotations

import pathlib

from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, volumes


def test_forecast_for_a_volume_with_clones(reflink_volume: pathlib.Path, small_volume: pathlib.Path) -> None:
    assert clone.probe(str(reflink_volume))
    assert volumes.has_clones(str(reflink_volume / "not/there/yet"))
    assert volumes.can_clone(str(reflink_volume / "a"), str(reflink_volume / "b/c"))
    assert not volumes.can_clone(str(reflink_volume), str(small_volume))
    assert not volumes.share_volume(str(reflink_volume), str(small_volume))


def test_forecast_for_volumes_without_clones(small_volume: pathlib.Path, xfs_without_reflinks: pathlib.Path) -> None:
    for volume in (small_volume, xfs_without_reflinks):
        assert not clone.probe(str(volume))
        assert not volumes.has_clones(str(volume))
        assert volumes.share_volume(str(volume / "a"), str(volume / "b/c"))
        assert not volumes.can_clone(str(volume / "a"), str(volume / "b/c"))
