# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What lies in a bundle and belongs to the Mac that it lies on, not to the image. Pure.

A push leaves it out, and a bundle on disk is whole with or without it. The rules are those of
``docs/pack-format.md``, "What is left out"; each of them names what writes the file.
"""

from __future__ import annotations

import re

# Finder, and macOS on volumes of others, write these into any directory.
ANYWHERE = frozenset({".DS_Store", ".localized", "Icon\r", ".fseventsd", ".Spotlight-V100", ".Trashes"})
APPLE_DOUBLE_PREFIX = "._"
# Parallels Desktop leaves the lock files of a run behind ("vm.lock" above all).
LOCK_SUFFIXES = (".lock", ".lck")

# Parallels Desktop makes these directories anew at each start of a Windows guest: links to disks that it mounts in
# /Volumes, and aliases of the guest's applications (Parallels Desktop 3 to 6, User's Guide, "Virtual Machine Files").
TOP_DIRECTORIES = frozenset({"windows disks", "windows applications"})
# Its logs; copies of its settings, which "prlctl unregister" writes with the old name and address; the stub that stands
# for the virtual machine in the Dock; reports of crashes; the lock of a run, which stays after it. Packer and Vagrant
# have always dropped logs, backups and stubs from their boxes.
TOP_SUFFIXES = (".log", ".backup", ".app", ".crash", ".ips", ".dmp")
_OLD_LOG = re.compile(r"parallels\.log\..*|.*\.log(\.[0-9]+)?(\.gz)?", re.DOTALL)
# Memory that a running virtual machine shares with other programs; a suspended one may need it to resume.
SHARED_MEMORY_SUFFIX = ".mem.sh"
# Beside each disk's description lies the one before.
DESCRIPTOR_BACKUP = "diskdescriptor.xml.backup"


def is_left_out(path: str, *, suspended: bool = False) -> bool:
    """Returns True if ``path``, relative to its bundle, belongs to the Mac: by itself, or as part of a directory.

    ``suspended`` says that the bundle holds the state of a suspended virtual machine.
    """
    components = path.split("/")
    return _at_top(components[0].lower(), suspended) or any(map(_anywhere, components))


def is_lock(path: str) -> bool:
    """Returns True if ``path`` names a lock file. It says nothing about a run: the lock on it does."""
    return path.lower().endswith(LOCK_SUFFIXES)


def _anywhere(name: str) -> bool:
    return (
        name in ANYWHERE or name.startswith(APPLE_DOUBLE_PREFIX) or name.lower() == DESCRIPTOR_BACKUP or is_lock(name)
    )


def _at_top(name: str, suspended: bool) -> bool:
    if name.endswith(SHARED_MEMORY_SUFFIX):
        return not suspended
    return name in TOP_DIRECTORIES or name.endswith(TOP_SUFFIXES) or _OLD_LOG.fullmatch(name) is not None
