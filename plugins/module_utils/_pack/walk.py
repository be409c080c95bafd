# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Finds everything in a bundle, without following links and without what belongs to the Mac."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._base import trees
from ansible_collections.macfleet.parallels.plugins.module_utils._base.left_out import is_left_out, is_lock
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import Found
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import InvalidBundle
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.reading import reading

MEMORY_SUFFIXES = (".sav", ".mem")


@dataclass(frozen=True)
class Walked:
    """What a bundle holds, in canonical order.

    ``locks`` are the lock files in it, which are left out; ``memory`` the files at the top that hold memory or state
    of a suspended virtual machine.
    """

    found: tuple[Found, ...]
    locks: tuple[str, ...]
    memory: tuple[str, ...]


def walk(root: str) -> Walked:
    """Returns what lies below ``root``.

    :raises InvalidBundle: a name is not UTF-8
    :raises BundleChanged, UnreadableBundle: see ``reading``
    """
    with reading(root, ""):
        every = list(trees.walk(root, left_out=_is_passed_over))
    memory = tuple(item.path for item in every if _is_memory(item))
    found = [item for item in every if not is_left_out(item.path, suspended=bool(memory))]
    for item in found:
        _check_name(root, item)
    return Walked(
        tuple(sorted(found, key=lambda item: item.path.encode("utf-8"))),
        tuple(item.disk_path for item in every if is_lock(item.path)),
        memory,
    )


def link_target(root: str, item: Found) -> str:
    """Returns the target of a link in normal form C.

    :raises InvalidBundle: it is not UTF-8
    """
    with reading(root, item.disk_path):
        target = os.readlink(os.path.join(root, item.disk_path))
    try:
        return unicodedata.normalize("NFC", os.fsencode(target).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidBundle(f"The target of the link {item.path} in the bundle {root} is not UTF-8.") from error


def _is_passed_over(path: str) -> bool:
    # Lock files are wanted, and whether the bundle is suspended is not known yet.
    return is_left_out(path, suspended=True) and not is_lock(path)


def _is_memory(item: Found) -> bool:
    return item.is_file and "/" not in item.path and item.path.lower().endswith(MEMORY_SUFFIXES)


def _check_name(root: str, item: Found) -> None:
    try:
        os.fsencode(item.disk_path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidBundle(f"The name {item.disk_path!r} in the bundle {root} is not UTF-8.") from error
