# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How the parts of a manifest's address are written: catalog id, version, architecture, tag; and names of rights.

Pure. Modules and the metadata server use this file, so both understand the same address. Order and ranges of versions
are in ``versions.py``, the choice of a manifest in ``resolution.py``.
"""

from __future__ import annotations

import re
import unicodedata

from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import InvalidAddress

LATEST = "latest"
MAX_CATALOG_ID_LENGTH = 150
MAX_NAME_LENGTH = 100

# The characters that a stock server rewrites in ids and refuses in versions.
_SPECIAL = " ,:;()[]{}'\"/\\|<>=+*&^%$#@!`~?"
_SPECIAL_TO_UNDERSCORE = {ord(character): "_" for character in _SPECIAL}

_ARCHITECTURES = {
    "arm64": "arm64",
    "aarch64": "arm64",
    "arm": "arm64",
    "x86_64": "x86_64",
    "x86-64": "x86_64",
    "amd64": "x86_64",
    "x64": "x86_64",
}
ARCHITECTURES = ("arm64", "x86_64")
ARCHITECTURE_NAMES = tuple(_ARCHITECTURES)

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")


def _checked(text: str, what: str, longest: int) -> str:
    """Return ``text`` in NFC and lower case.

    :raises InvalidAddress: it is not a text, is empty or too long, or contains control characters
    """
    if not isinstance(text, str):
        raise InvalidAddress(f"{text!r} is not a valid {what}: it is not a text.", "Put it between quotation marks.")
    text = text.strip("\t\r\n").lower()
    if not text or text in {".", ".."}:
        raise InvalidAddress(f"{text!r} is not a valid {what}.")
    if len(text) > longest:
        raise InvalidAddress(f"{text[:40] + '…'!r} is not a valid {what}: it has more than {longest} characters.")
    text = unicodedata.normalize("NFC", text)
    if not text.isascii() and what != "tag":
        # Some characters look like others; stock clients send nothing else.
        raise InvalidAddress(f"{text!r} is not a valid {what}.", "Use the letters a to z, digits, '.', '_' and '-'.")
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise InvalidAddress(f"{text!r} is not a valid {what}: it contains control characters.")
    return text


def normalise_catalog_id(text: str) -> str:
    """Return a catalog id in lower case, with ``_`` for special characters, as a stock server writes it."""
    return _checked(text, "catalog id", MAX_CATALOG_ID_LENGTH).translate(_SPECIAL_TO_UNDERSCORE)


def normalise_version(text: str) -> str:
    """Return a version in lower case; special characters are refused, as by a stock server."""
    version = _checked(text, "version", MAX_NAME_LENGTH)
    for character in version:
        if character in _SPECIAL:
            raise InvalidAddress(
                f"{version!r} is not a valid version: the character {character!r} is not allowed in one.",
                "Use letters, digits, '.', '_' and '-'.",
            )
    return version


def normalise_architecture(text: str) -> str:
    """Return ``arm64`` or ``x86_64`` for any of their names."""
    if isinstance(text, str) and text.strip().lower() in _ARCHITECTURES:
        return _ARCHITECTURES[text.strip().lower()]
    raise InvalidAddress(f"{text!r} is not a valid architecture.", "Use arm64 or x86_64.")


def normalise_tag(text: str) -> str:
    """Return a tag in lower case: letters, digits, ``.``, ``_`` and ``-``, a letter or digit first."""
    tag = _checked(text, "tag", MAX_NAME_LENGTH)
    if not _TAG.match(tag):
        raise InvalidAddress(
            f"{tag!r} is not a valid tag.", "Use letters, digits, '.', '_' and '-', and begin with a letter or a digit."
        )
    return tag


def normalise_right(text: str) -> str:
    """Return the name of a role or claim in capitals, with ``_`` for special characters.

    It is ASCII: other characters look like these, or become one of them in capitals, and could pass for another name.
    """
    right = text.strip() if isinstance(text, str) else ""
    if not right.isascii() or not right.isprintable() or not 1 <= len(right) <= MAX_NAME_LENGTH:
        raise InvalidAddress(
            f"{str(text)[:MAX_NAME_LENGTH]!r} is not a valid name of a role or claim.",
            "Use letters, digits, '.', '_' and '-'.",
        )
    return right.translate(_SPECIAL_TO_UNDERSCORE).upper()
