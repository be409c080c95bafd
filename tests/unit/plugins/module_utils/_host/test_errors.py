# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import sys

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import errors


def raised(number: int) -> errors.HostError:
    with pytest.raises(errors.HostError) as caught, errors.translated(errors.CacheError, "Reading the cache"):
        raise OSError(number, os.strerror(number), "/Users/build/Documents/cache")
    return caught.value


@pytest.mark.parametrize(
    ("platform", "number", "has_hint"),
    [("darwin", errno.EPERM, True), ("darwin", errno.EACCES, False), ("linux", errno.EPERM, False)],
)
def test_what_macos_guards_has_a_hint(
    monkeypatch: pytest.MonkeyPatch, platform: str, number: int, has_hint: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    error = raised(number)
    assert error.__class__ is errors.CacheError
    assert error.message == f"Reading the cache failed: {os.strerror(number)} (/Users/build/Documents/cache)."
    assert ("full disk access" in (error.hint or "")) == has_hint


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_whatever_was_attempted(number: int) -> None:
    error = raised(number)
    assert (type(error), error.code) == (errors.DiskFull, "disk_full")
