# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The name of a VM, inside its config.pvs."""

from __future__ import annotations

import os
import re
import unicodedata
import xml.sax.saxutils

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VmNameInvalid
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import read_regular_file

# Bytes, because config.pvs is UTF-8 but may hold what an editor made of it.
_NAME = re.compile(rb"<VmName>[^<]*</VmName>|<VmName\s*/>", re.IGNORECASE)
_LARGEST_CONFIG_BYTES = 64 << 20
# With the extension, and what clone.py puts around it, it must fit into the 255 bytes of a file name.
_LONGEST_NAME_BYTES = 230


def check_name(name: str) -> str:
    """The name in the form in which it is compared (NFC).

    :raises VmNameInvalid: it cannot be that of a VM and of its bundle
    """
    name = unicodedata.normalize("NFC", name)
    if not name or name != name.strip():
        reason = "it is empty, or begins or ends with white space"
    elif name[0] in ".-":
        reason = "it begins with a dot or a dash"
    elif "/" in name or ":" in name:
        reason = "it contains a slash or a colon"
    elif any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        reason = "it contains control characters"
    elif len(name.encode()) > _LONGEST_NAME_BYTES:
        reason = f"it is longer than {_LONGEST_NAME_BYTES} bytes"
    else:
        return name
    raise VmNameInvalid(f"The name {name!r} for a virtual machine was refused: {reason}.", "Choose another name.")


def set_name(bundle: str, name: str) -> bool:
    """Write the name into the config.pvs of a bundle that is not registered. Did it have a place for one?"""
    path = os.path.join(bundle, "config.pvs")
    before = read_regular_file(path, _LARGEST_CONFIG_BYTES)
    element = f"<VmName>{xml.sax.saxutils.escape(name)}</VmName>".encode()
    # A function, since a backslash in a replacement text would be taken for a reference.
    after, count = _NAME.subn(lambda _found: element, before, count=1)
    if count and after != before:
        write_file_durably(path, after, os.stat(path).st_mode & 0o777)
    return bool(count)
