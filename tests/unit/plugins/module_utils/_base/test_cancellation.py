# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.cancellation import Cancellation, Cancelled


def test_a_pause_that_nobody_ends_has_its_length() -> None:
    parts: list[float] = []
    Cancellation(sleep=parts.append).sleep(4.2)
    assert sum(parts) == pytest.approx(4.2)


def test_a_pause_ends_soon_after_it_is_cancelled() -> None:
    parts: list[float] = []

    def sleep(seconds: float) -> None:
        parts.append(seconds)
        if len(parts) == 3:
            cancellation.cancel()

    cancellation = Cancellation(sleep=sleep)
    with pytest.raises(Cancelled):
        cancellation.sleep(240.0)
    assert len(parts) == 3 and max(parts) <= 1.0


def test_a_pause_ends_when_the_task_does() -> None:
    parts: list[float] = []

    def alive() -> None:
        if parts:
            raise KeyError("interrupted")

    with pytest.raises(KeyError):
        Cancellation(alive, parts.append).sleep(240.0)
    assert len(parts) == 1


def test_what_is_to_be_called_is_called_once_and_only_while_its_context_is_open() -> None:
    cancellation = Cancellation()
    called: list[str] = []
    with cancellation.calling(lambda: called.append("over")):
        pass
    with cancellation.calling(lambda: called.append("open")):
        cancellation.cancel()
        cancellation.cancel()
    assert called == ["open"]
    with pytest.raises(Cancelled), cancellation.calling(lambda: called.append("late")):
        called.append("begun")
    assert called == ["open"]
