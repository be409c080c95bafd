# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This doc fragment is private to the collection.

"""Where a managed host keeps its images; ``_bridge.options.cache_spec()`` is the same in code."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the cache of a managed host."""

    DOCUMENTATION = r"""
options:
  cache_path:
    description:
      - Directory of the cache on the managed host. It belongs to the user who owns the virtual machines.
      - It is made with mode V(0700) if it is not there. One that another user could write to, or that lies in a
        directory where another user could replace it, is refused.
      - It has to lie on a local volume that keeps owners, such as APFS. HFS+, exFAT, FAT, NTFS, FUSE and network
        volumes are refused, and so are external volumes of macOS until owners are enabled there, which the role
        P(macfleet.parallels.catalog_host#role) can do.
    type: path
    default: ~/Library/Application Support/macfleet.parallels
  facts_directory:
    description:
      - Directory on the managed host into which the cache publishes its facts, for the reader that the role
        P(macfleet.parallels.catalog_host#role) installs. If it is not there, nothing is published.
    type: path
    default: /var/db/macfleet.parallels/facts
  lock_timeout:
    description:
      - How many seconds to wait while another play works on the same image.
    type: int
    default: 3600
  prlctl_path:
    description:
      - The C(prlctl) of Parallels Desktop. If it is not set, it is looked for in E(PATH), V(/usr/local/bin) and
        the application's own directory.
    type: path
"""
