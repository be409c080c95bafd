# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The identity of a VM inside its config.pvs: its name and the MAC addresses of its network adapters."""

from __future__ import annotations

import os
import re
import secrets
import typing as t
import unicodedata
import xml.sax.saxutils

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VmNameInvalid
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import read_regular_file

# Bytes, because config.pvs is UTF-8 but may hold what an editor made of it.
_NAME = re.compile(rb"<VmName>[^<]*</VmName>|<VmName\s*/>", re.IGNORECASE)
_IDENTIFICATION = re.compile(rb"<Identification(?:\s[^>]*)?(?<!/)>", re.IGNORECASE)
_ADAPTER = re.compile(
    rb"(?P<begin><NetworkAdapter(?:\s[^>]*)?(?<!/)>)(?P<rest>.*?</NetworkAdapter>)", re.IGNORECASE | re.DOTALL
)
_MAC = re.compile(rb"<MAC>[^<]*</MAC>|<MAC\s*/>", re.IGNORECASE)
# The prefix of the addresses that Parallels Desktop gives to its VMs.
_PARALLELS_OUI = "001C42"
_LARGEST_CONFIG_BYTES = 64 << 20
# With the extension, and what clone.py puts around it, it must fit into the 255 bytes of a file name.
_LONGEST_NAME_BYTES = 230


def check_name(name: str) -> str:
    """Return the name in the form in which it is compared (NFC).

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


def random_mac() -> str:
    """Return a random MAC address of the range of Parallels (00:1C:42), as twelve hexadecimal digits."""
    return _PARALLELS_OUI + secrets.token_hex(3).upper()


def set_identity(bundle: str, name: str, new_mac: t.Callable[[], str] = random_mac) -> None:
    """Write a name, and a new MAC address for each network adapter, into the config.pvs of an unregistered bundle.

    Parallels Desktop takes both from there when it registers the bundle, also that of a suspended VM, which cannot be
    configured later. A config.pvs that has no place for the name gets none.
    """
    path = os.path.join(bundle, "config.pvs")
    before = read_regular_file(path, _LARGEST_CONFIG_BYTES)
    after = _with_macs(_with_name(before, name), new_mac)
    if after != before:
        write_file_durably(path, after, os.stat(path).st_mode & 0o777)


def _with_name(config: bytes, name: str) -> bytes:
    element = f"<VmName>{xml.sax.saxutils.escape(name)}</VmName>".encode()
    # A function, since a backslash in a replacement text would be taken for a reference.
    after, count = _NAME.subn(lambda _found: element, config, count=1)
    if count:
        return after
    return _IDENTIFICATION.sub(lambda found: found.group() + element, config, count=1)


def _with_macs(config: bytes, new_mac: t.Callable[[], str]) -> bytes:
    def adapter(found: t.Match[bytes]) -> bytes:
        element = f"<MAC>{new_mac()}</MAC>".encode()
        after, count = _MAC.subn(element, found.group(), count=1)
        return after if count else found.group("begin") + element + found.group("rest")

    return _ADAPTER.sub(adapter, config)
