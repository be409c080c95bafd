# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Errors of what happens on a host.

HostError
 ├── DiskFull               disk_full           the volume has no room left
 ├── CacheError             cache_error         something in the cache could not be read or written
 │    ├── CacheUnsafe       cache_unsafe        another user could change what the cache holds
 │    ├── VolumeUnsuitable  volume_unsuitable   the file system of the volume cannot hold a cache
 │    ├── UnknownRecord     unknown_record      a later version of this collection wrote the record of an entry
 │    └── CacheLocked       cache_locked        another process holds the lock, named in the message
 ├── DirectoryLocked        directory_locked    another process works on the same directory
 ├── CloneFailed            clone_failed        a file or bundle could be neither cloned nor copied
 │    └── PathTaken         path_taken          the destination exists already
 ├── PrlctlError            prlctl_failed       prlctl refused, or its output makes no sense
 │    ├── PrlctlMissing     prlctl_missing      there is no prlctl on this host
 │    └── PrlctlTimeout     prlctl_timeout      prlctl did not answer within its deadline
 ├── VmNotFound             vm_not_found        Parallels Desktop does not know the VM
 ├── VmNameTaken            vm_name_taken       a VM of that name exists that was not made by this collection
 ├── VmNameInvalid          vm_name_invalid     no VM and no bundle can have that name
 ├── VmBroken               vm_broken           Parallels Desktop cannot read the configuration of the VM
 ├── VmUnregistered         vm_unregistered     somebody unregistered the VM, and its bundle is still there
 ├── VmBusy                 vm_busy             the process of the VM cannot be ended
 ├── VmStillRuns            vm_still_runs       the guest did not shut down within the deadline
 ├── MacosLimit             macos_limit         two macOS VMs run, and a third one cannot
 ├── VolumeMissing          volume_missing      the volume on which the VM lies is not mounted
 ├── RequirementsUnmet      requirements_unmet  the Mac offers less than the manifest asks for
 ├── ReceiptInvalid         receipt_invalid     a file among the receipts is not a valid receipt
 │    └── UnknownReceipt    unknown_receipt     a later version of this collection wrote the receipt
 ├── FactsUnsafe            facts_unsafe        publishing facts would follow a link or meet another user's file
 └── FactsTooLarge          facts_too_large     there are more facts than a reader takes
"""

from __future__ import annotations

import contextlib
import errno
import sys
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PRIVACY_HINT = (
    "Check that the file is not locked. If it is not, macOS keeps Ansible from it: in System Settings, General, "
    "Sharing, Remote Login, allow full disk access for remote users (it shows as sshd-keygen-wrapper under Privacy & "
    "Security, Full Disk Access), and connect again; or choose a path outside of Desktop, Documents, Downloads and "
    "removable volumes."
)


class HostError(CatalogError):
    """Something went wrong on this host."""

    code = "host_error"


class DiskFull(HostError):
    """The volume, or the user's quota on it, has no room left."""

    code = "disk_full"


class CacheError(HostError):
    """Something in the cache could not be read or written."""

    code = "cache_error"


class CacheUnsafe(CacheError):
    """Another user could change what the cache holds."""

    code = "cache_unsafe"


class VolumeUnsuitable(CacheError):
    """The file system of the volume cannot hold a cache."""

    code = "volume_unsuitable"


class UnknownRecord(CacheError):
    """A later version of this collection wrote the record of an entry."""

    code = "unknown_record"


class CacheChanged(CacheError):
    """Somebody wrote to what the cache holds while it was being read or made."""

    code = "cache_changed"


class CacheLocked(CacheError):
    """Another process holds a lock for longer than we were willing to wait."""

    code = "cache_locked"


class DirectoryLocked(HostError):
    """Another process works on the same directory."""

    code = "directory_locked"


class CloneFailed(HostError):
    """A file or bundle could be neither cloned nor copied."""

    code = "clone_failed"


class PathTaken(CloneFailed):
    """The destination exists already, and is never overwritten."""

    code = "path_taken"


class PrlctlError(HostError):
    """The command refused, or what it printed makes no sense."""

    code = "prlctl_failed"


class PrlctlMissing(PrlctlError):
    """There is no such command on this host."""

    code = "prlctl_missing"


class PrlctlTimeout(PrlctlError):
    """The command did not end within its deadline."""

    code = "prlctl_timeout"


class VmNotFound(HostError):
    """Parallels Desktop does not know the VM."""

    code = "vm_not_found"


class VmNameTaken(HostError):
    """A VM of that name exists that was not made by this collection."""

    code = "vm_name_taken"


class VmNameInvalid(HostError):
    """No VM and no bundle can have that name."""

    code = "vm_name_invalid"


class VmBroken(HostError):
    """Parallels Desktop cannot read the configuration of the VM, whose files are still there."""

    code = "vm_broken"


class VmUnregistered(HostError):
    """Somebody unregistered the VM, and its bundle is still where we made it."""

    code = "vm_unregistered"


class VmBusy(HostError):
    """The process of the VM cannot be ended, so nothing else can be done to the VM."""

    code = "vm_busy"


class VmStillRuns(HostError):
    """The guest was asked to shut down, and did not do so within the deadline."""

    code = "vm_still_runs"


class MacosLimit(HostError):
    """As many macOS VMs run as a Mac can run at one time."""

    code = "macos_limit"


class VolumeMissing(HostError):
    """The volume on which the VM lies is not mounted."""

    code = "volume_missing"


class RequirementsUnmet(HostError):
    """The Mac offers less than the manifest asks for."""

    code = "requirements_unmet"


class ReceiptInvalid(HostError):
    """A file among the receipts is not a valid receipt."""

    code = "receipt_invalid"


class UnknownReceipt(ReceiptInvalid):
    """A later version of this collection wrote the receipt, in a format that this version does not know."""

    code = "unknown_receipt"


class FactsUnsafe(HostError):
    """Publishing facts would follow a link or meet another user's file."""

    code = "facts_unsafe"


class FactsTooLarge(HostError):
    """There are more facts than a reader takes."""

    code = "facts_too_large"


@contextlib.contextmanager
def translated(error_class: t.Type[HostError], attempted: str) -> t.Iterator[None]:
    """Turn an OSError of the block into an ``error_class``; ``attempted`` says what was tried on what."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error_class, attempted, error) from error


def from_os_error(error_class: t.Type[HostError], attempted: str, error: OSError) -> HostError:
    """Returns a :class:`DiskFull` for a full disk, whatever was attempted, and an ``error_class`` for anything else."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFull(f"{attempted} failed: {reason}.", "Free some space on that volume and run the task again.")
    where = f" ({error.filename})" if error.filename else ""
    # macOS guards documents, removable and network volumes beside the permissions: EPERM there, where a mode or an
    # owner would give EACCES.
    hint = _PRIVACY_HINT if error.errno == errno.EPERM and sys.platform == "darwin" else None
    return error_class(f"{attempted} failed: {reason}{where}.", hint)
