# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Remembers what the last requests cost, from any thread."""

from __future__ import annotations

import threading
import typing as t
from collections import deque

from ansible_collections.macfleet.parallels.plugins.module_utils._base.link import Sample

_REMEMBERED = 32


class LinkMeter:
    """Keeps the last samples for ``link.estimate``; usable from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: t.Deque[Sample] = deque(maxlen=_REMEMBERED)

    def add(self, sample: Sample) -> None:
        """Add a request over a connection that was open already."""
        with self._lock:
            self._samples.append(sample)

    def samples(self) -> t.Sequence[Sample]:
        """Return the last samples, the oldest first."""
        with self._lock:
            return tuple(self._samples)
