# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real files of this machine, each content once: what the sample disks are filled with.

Only trees of installed software are read, never somebody's documents or keys. The order is that of a walk
with sorted names, so that one machine gives the same files each time.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import sys
import typing as t

# Read in this order. A root that does not exist is passed over.
SOFTWARE_ROOTS = (
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local",
    "/opt",
    "/Library/Developer",
    "/Applications",
    "~/.pyenv/versions",
    "~/.rustup/toolchains",
    "~/.cargo/registry",
    "~/.local/lib",
    "~/go/pkg",
)
# debugfs takes its commands as text: names that would need quoting are passed over.
_PLAIN_PATH = re.compile(r"^/[A-Za-z0-9._+@%,=:~/-]+$")
_READ_BYTES = 1 << 20


class RealFile(t.NamedTuple):
    """A file of this machine and its size."""

    path: str
    size: int


def software_roots() -> t.List[str]:
    """The trees to read on this machine, none inside another."""
    # Tests run with another HOME.
    home = pwd.getpwuid(os.getuid()).pw_dir
    wanted = [os.path.realpath(root.replace("~", home, 1)) for root in (*SOFTWARE_ROOTS, sys.base_prefix)]
    roots: t.List[str] = []
    for root in wanted:
        if os.path.isdir(root) and root != "/" and not any(_is_inside(root, other) for other in roots):
            roots.append(root)
    return roots


def _is_inside(path: str, other: str) -> bool:
    return path == other or path.startswith(other + os.sep)


def _walk(roots: t.Iterable[str], largest_bytes: int) -> t.Iterator[RealFile]:
    seen: t.Set[t.Tuple[int, int]] = set()
    walked: t.List[str] = []
    for root in roots:
        for directory, names, files in os.walk(root):
            # The last root may hold an earlier one (a prefix such as /usr).
            names[:] = sorted(name for name in names if os.path.join(directory, name) not in walked)
            for name in sorted(files):
                path = os.path.join(directory, name)
                if not _PLAIN_PATH.match(path) or os.path.islink(path) or not os.path.isfile(path):
                    continue
                status = os.stat(path)
                inode = (status.st_dev, status.st_ino)
                if not 0 < status.st_size <= largest_bytes or inode in seen or not os.access(path, os.R_OK):
                    continue
                seen.add(inode)
                yield RealFile(path, status.st_size)
        walked.append(root)


def content_digest(path: str) -> bytes:
    """What tells two contents apart."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as stream:
        while True:
            piece = stream.read(_READ_BYTES)
            if not piece:
                return digest.digest()
            digest.update(piece)


def distinct_files(roots: t.Optional[t.Sequence[str]] = None, largest_bytes: int = 1 << 40) -> t.Iterator[RealFile]:
    """The files of the machine in their order, none with a content that came before."""
    contents: t.Set[bytes] = set()
    for file in _walk(software_roots() if roots is None else roots, largest_bytes):
        digest = content_digest(file.path)
        if digest not in contents:
            contents.add(digest)
            yield file
