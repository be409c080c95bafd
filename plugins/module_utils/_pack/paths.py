# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Which relative paths and link targets a bundle may hold. Pure.

The rules are those of ``docs/pack-format.md``, "Paths"; they hold for writers and readers alike.
"""

from __future__ import annotations

import typing as t
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import UnsafePath

# NAME_MAX of APFS is 255 UTF-8 bytes, PATH_MAX of Darwin 1024.
MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 1024
# Characters of a path that is too long, in a message
_SHOWN = 100


def check_path(path: str) -> None:
    """Raise UnsafePath unless ``path`` is relative, normal and stays where it is put."""
    if not path:
        raise UnsafePath("The bundle has an entry with an empty path.")
    # First: the time of what follows grows with the square of the length.
    if len(path.encode("utf-8")) > MAX_PATH_BYTES:
        raise UnsafePath(f"The path {path[:_SHOWN]!r}… is longer than {MAX_PATH_BYTES} bytes.")
    if path.startswith("/"):
        raise UnsafePath(f"The path {path!r} is absolute.")
    if "\0" in path:
        raise UnsafePath(f"The path {path!r} holds a NUL.")
    if unicodedata.normalize("NFC", path) != path:
        raise UnsafePath(f"The path {path!r} is not in Unicode normal form C.")
    for component in path.split("/"):
        if component in ("", ".", ".."):
            raise UnsafePath(f"The path {path!r} has the component {component!r}.")
        if len(component.encode("utf-8")) > MAX_COMPONENT_BYTES:
            raise UnsafePath(f"A component of the path {path!r} is longer than {MAX_COMPONENT_BYTES} bytes.")


def folded(path: str) -> str:
    """The name under which a case-insensitive, normalisation-insensitive volume knows ``path``."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def check_unique(paths: t.Iterable[str]) -> None:
    """Raise UnsafePath when two paths would be one file on the default APFS volume."""
    seen: dict[str, str] = {}
    for path in paths:
        key = folded(path)
        if key in seen:
            raise UnsafePath(f"The paths {seen[key]!r} and {path!r} name one file where case does not count.")
        seen[key] = path


def check_link(path: str, target: str) -> None:
    """Raise UnsafePath unless the link at ``path`` points into the bundle.

    ``..`` is allowed at the front of a target only: behind another component, that one may be a link
    itself, and the kernel would go up from where it leads.
    """
    if not target or "\0" in target:
        raise UnsafePath(f"The link {path!r} has no usable target.")
    if target.startswith("/"):
        raise UnsafePath(f"The link {path!r} points to the absolute path {target!r}.")
    if len(target.encode("utf-8")) > MAX_PATH_BYTES:
        raise UnsafePath(f"The target of the link {path!r} is longer than {MAX_PATH_BYTES} bytes.")
    depth = path.count("/")
    descending = False
    for component in target.split("/"):
        if component == "..":
            depth -= 1
            if descending:
                raise UnsafePath(f"The link {path!r} goes up behind a component: {target!r}.")
            if depth < 0:
                raise UnsafePath(f"The link {path!r} leaves the bundle: {target!r}.")
        elif component not in ("", "."):
            descending = True
