# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles to push, and what to expect of what was pulled."""

from __future__ import annotations

import hashlib
import os
import random
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.support import bundles

MIB = bundles.MIB

# A name, a kind and a digest of each file and link of a bundle.
Tree = t.Dict[str, t.Tuple[str, str]]


def small_bundle(directory: Path, name: str, size: int = MIB, disk: str = bundles.EXPANDABLE) -> Path:
    """A bundle whose disk holds noise that no codec makes smaller, the same for the same directory and name alone."""
    directory.mkdir(parents=True, exist_ok=True)
    content = random.Random(str(directory / name)).randbytes(size)
    return Path(bundles.make_bundle(str(directory), content, name, disk=disk))


def tree(bundle: Path, without: t.Collection[str] = ()) -> Tree:
    """What a bundle contains."""
    found: Tree = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if name in without:
            continue
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = ("program" if path.stat().st_mode & 0o100 else "file", _digest(path))
        else:
            found[name] = ("directory", "")
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
