# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What an image needs of a Mac, and what this Mac has."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._host import volumes

_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class HostResources:
    """What a host offers; ``disk_free_mb`` is what is free on the volume of the VM."""

    cpu: int
    memory_mb: int
    disk_free_mb: int


def read_resources(directory: str) -> HostResources:
    """Return what this host offers; ``directory``, or its nearest existing parent, tells the volume."""
    return HostResources(
        os.cpu_count() or 1,
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB,
        volumes.free_bytes(directory) // _MIB,
    )


def hardware_architecture() -> str:
    """Return the architecture of the hardware as the system writes it: ``arm64``, ``x86_64``, on Linux ``aarch64``.

    A Python under Rosetta is told x86_64 by uname(1); the CPU's own feature is not translated.
    """
    if sys.platform == "darwin":
        return "arm64" if _darwin_feature(b"hw.optional.arm64") else "x86_64"
    return os.uname().machine


def _darwin_feature(name: bytes) -> bool:
    value = ctypes.c_int(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    libc = ctypes.CDLL(None, use_errno=True)
    # An Intel Mac does not know the name at all.
    return libc.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)) == 0 and bool(
        value.value
    )


def unmet_compute(minimum: t.Mapping[str, t.Any], resources: HostResources) -> t.List[str]:
    """Return a sentence for each of processor cores and memory of which the host has too little.

    Ask this when a VM is made or started. ``minimum`` may have the keys ``cpu`` and ``memory_mb``; 0 asks for nothing.
    """
    sentences = []
    for key, offered, what in (
        ("cpu", resources.cpu, "processor cores"),
        ("memory_mb", resources.memory_mb, "MiB of memory"),
    ):
        wanted = int(minimum.get(key) or 0)
        if wanted > offered:
            sentences.append(f"The image needs {wanted} {what}, this host has {offered}.")
    return sentences


def unmet_disk(minimum: t.Mapping[str, t.Any], free_mb: int, already_taken_mb: int) -> t.List[str]:
    """Return a sentence if the volume has less room than ``disk_mb`` of ``minimum`` asks for, else an empty list.

    ``already_taken_mb`` is what the image takes on that volume now: it counts as room, so that the answer stays the
    same after the image was pulled. All numbers are in MiB.
    """
    wanted = int(minimum.get("disk_mb") or 0)
    if wanted <= free_mb + already_taken_mb:
        return []
    return [f"The image needs {wanted} MiB of free disk space, this host has {free_mb + already_taken_mb}."]
