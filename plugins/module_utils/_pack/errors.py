# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of the pack formats and their engine.

PackError
 ├── MalformedIndex        invalid_index        an index, listing, locator or trailer breaks its grammar
 │    └── UnsafePath       unsafe_path          an entry would be written outside its bundle or over another
 ├── UnsupportedFormat     unsupported_format   a format version or required feature of the future
 ├── UnsupportedCodec      unsupported_codec    this Python has no provider for a codec
 ├── DamagedChunk          damaged_chunk        bytes do not decode, or do not have the promised digest
 ├── DamagedBundle         damaged_bundle       files on disk do not have the promised content
 ├── InvalidBundle         invalid_bundle       a directory is not a bundle, or holds what cannot be packed
 ├── UnreadableBundle     unreadable_bundle    a file or directory of a bundle cannot be read
 ├── BundleInUse           bundle_in_use        a VM runs from it, or is suspended
 └── BundleChanged         bundle_changed       it was written to while it was read
"""

from __future__ import annotations

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError


class PackError(CatalogError):
    """Whatever goes wrong with the bytes of a pack or a bundle."""

    code = "pack_error"


class MalformedIndex(PackError):
    """An index, listing, locator or trailer breaks its grammar."""

    code = "invalid_index"


class UnsafePath(MalformedIndex):
    """An entry would be written outside its bundle, or over another entry."""

    code = "unsafe_path"


class UnsupportedFormat(PackError):
    """Written by a newer version, with something that a reader must know."""

    code = "unsupported_format"


class UnsupportedCodec(PackError):
    """No provider of a codec is available to this Python."""

    code = "unsupported_codec"


class DamagedChunk(PackError):
    """Encoded bytes do not decode, or decode to other content than promised."""

    code = "damaged_chunk"


class DamagedBundle(PackError):
    """Files on disk do not have the content that their listing promises."""

    code = "damaged_bundle"


class InvalidBundle(PackError):
    """A directory is not a bundle, or holds something that cannot be packed."""

    code = "invalid_bundle"


class UnreadableBundle(PackError):
    """The operating system cannot read a file or directory of a bundle."""

    code = "unreadable_bundle"


class BundleInUse(PackError):
    """A virtual machine runs from the bundle, or is suspended in it."""

    code = "bundle_in_use"


class BundleChanged(PackError):
    """The bundle was written to while it was read."""

    code = "bundle_changed"
