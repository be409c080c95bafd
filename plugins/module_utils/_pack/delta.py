# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Deltas: what turns the listing of a base into another one, where the new chunks lie, and patches for them. Pure.

``delta_file.py`` reads and writes them, ``delta_make.py`` makes one, ``delta_apply.py`` applies it.
``docs/pack-format.md`` specifies them.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import Entry, Locator, PatchesRef

# How the chunk of a changed reference is told: a hole, the next added chunk, or one of those from here on.
HOLE = 0
NEXT = 1
FIRST_ADDED = 2


@dataclass(frozen=True)
class EntryRuns:
    """How the entries of a listing are made.

    Each run copies ``counts`` entries of the base from number ``firsts`` on, and appends the next ``added`` ones of
    ``entries``, whose chunks are not numbered yet.
    """

    firsts: array[int]
    counts: array[int]
    added: array[int]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Changes:
    """The references that do not have the chunk of the same place of the base.

    They come in runs: ``counts`` references after ``gaps`` unchanged ones. ``origins`` holds a number for each:
    ``HOLE``, ``NEXT``, ``FIRST_ADDED`` + the number of an added chunk, or ``FIRST_ADDED`` + the total of these + a
    reference of the base.
    """

    gaps: array[int]
    counts: array[int]
    origins: array[int]


@dataclass(frozen=True)
class Patches:
    """The patches of a delta, one after another through its ``objects``.

    ``chunks`` are the numbers of the added chunks that have one, ascending; ``bases`` the references of the base that
    they start from. ``lengths`` are stored bytes, ``numbers`` and ``offsets`` the objects and the places there.
    """

    objects: tuple[PatchesRef, ...]
    chunks: array[int]
    bases: array[int]
    lengths: array[int]
    codecs: bytes
    numbers: array[int]
    offsets: array[int]

    @property
    def total(self) -> int:
        """Number of patches."""
        return len(self.codecs)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all patches."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Delta:
    """A delta. ``chunk_ids`` are the ids of the added chunks, which the base lacks; ``rows`` tell where these lie."""

    base: str
    digest: str
    entries: EntryRuns
    changes: Changes
    chunk_ids: bytes
    rows: Locator
    patches: Patches
