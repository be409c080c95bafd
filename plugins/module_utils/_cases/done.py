# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The record of what a task has done, kept while it works: a failure that comes later tells it."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError, from_system


class Done:
    """What a task has changed so far: one sentence for each change, in their order."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(self._sentences)

    def add(self, sentence: str) -> None:
        """Record a change. Call this as soon as the change is made, before anything else can fail."""
        self._sentences.append(sentence)

    def add_once(self, sentence: str) -> None:
        """Record a change that is made in several steps. Call this after each; only the first one is told."""
        if sentence not in self._sentences:
            self.add(sentence)

    @contextlib.contextmanager
    def told_by_failures(self) -> t.Iterator[None]:
        """Have each failure of the block carry what was done before it.

        :raises SystemFailure: in place of an OSError, which could not carry it
        """
        try:
            yield
        except CatalogError as error:
            error.done = self.sentences
            raise
        except OSError as error:
            failure = from_system(error)
            failure.done = self.sentences
            raise failure from error
