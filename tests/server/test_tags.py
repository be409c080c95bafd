# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tag ``latest`` follows."""

from __future__ import annotations

import pytest
from catalog_server.catalog.tags import latest_of, wanted_tags
from catalog_server.errors import BadRequest


@pytest.mark.parametrize(
    ("pushed", "latest"),
    [
        ([], None),
        (["1.0"], "1.0"),
        (["1.0", "1.1"], "1.1"),
        (["1.1", "1.0"], "1.1"),
        (["1.9", "1.10", "1.2"], "1.10"),
        (["1.0", "1.0-rc.1"], "1.0"),
        (["1.0-rc.1", "1.0"], "1.0"),
        # What cannot be compared goes by time.
        (["2.0", "nightly"], "nightly"),
        (["nightly", "1.0"], "1.0"),
        (["v1.0", "1.0.0"], "1.0.0"),
    ],
)
def test_latest(pushed: list[str], latest: str | None) -> None:
    assert latest_of(pushed) == latest


def test_latest_stays_where_it_is() -> None:
    assert wanted_tags(["a"], ["latest", "b"]) == {"a", "latest"}
    assert wanted_tags(["Latest"], ["latest"]) == {"latest"}
    assert wanted_tags([], ["b"]) == set()
    with pytest.raises(BadRequest, match="by itself"):
        wanted_tags(["latest"], ["b"])


def test_not_too_many() -> None:
    with pytest.raises(BadRequest, match="at most 50"):
        wanted_tags([f"t{number}" for number in range(51)])
