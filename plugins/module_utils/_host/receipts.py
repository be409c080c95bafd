# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a host remembers of the VMs that it made: one file for each, named by the VM's UUID.

A receipt is written *before* its VM is registered, as ``creating``, and says ``removing`` before the VM is deleted.
So whatever an interrupted task left can be told from a VM that somebody else made, and be finished or undone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import fsync_directory, write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import ReceiptInvalid, translated
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import read_regular_file

CREATING = "creating"
READY = "ready"
REMOVING = "removing"

_FORMAT = 1
_STATES = frozenset({CREATING, READY, REMOVING})
_LARGEST_BYTES = 64 << 10
_FILE_NAME = re.compile(r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\.json\Z")


@dataclasses.dataclass(frozen=True)
class Receipt:
    """One VM: the manifest and the content that it was made of, where it lies, when and by whom it was made.

    ``bundle_inode`` is that of the directory which we made at ``home``, 0 before there is one: what else may lie
    there is not ours to remove.
    """

    vm_uuid: str
    vm_name: str
    catalog_url: str
    catalog_id: str
    version: str
    architecture: str
    digest: str
    created_at: str
    created_by: str
    home: str
    cache_path: str
    state: str = CREATING
    bundle_inode: int = 0

    def __post_init__(self) -> None:
        # It becomes a fact that everybody on the host can read.
        object.__setattr__(self, "catalog_url", redact_url(self.catalog_url))


class Receipts:
    """The receipts in one directory, which is private to the owner of the cache."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read_all(self) -> t.Tuple[t.List[Receipt], t.List[str]]:
        """Every receipt, by the name of its VM, and the names of the files that look like one but cannot be read."""
        receipts: t.List[Receipt] = []
        unreadable: t.List[str] = []
        for name in self._names():
            try:
                receipts.append(_decode(read_regular_file(os.path.join(self._directory, name), _LARGEST_BYTES), name))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, ReceiptInvalid):
                unreadable.append(name)
        return sorted(receipts, key=lambda receipt: (receipt.vm_name, receipt.vm_uuid)), unreadable

    def read(self, uuid: str) -> t.Optional[Receipt]:
        """The receipt of one VM, or None.

        :raises ReceiptInvalid: there is a file of that name which is none
        """
        path = self._path(uuid)
        try:
            return _decode(read_regular_file(path, _LARGEST_BYTES), os.path.basename(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ReceiptInvalid(f"Reading the receipt {path} failed: {error}.") from error

    def write(self, receipt: Receipt) -> None:
        """Write a receipt durably, over an earlier one of the same VM."""
        path = self._path(receipt.vm_uuid)
        document = {"format": _FORMAT, **dataclasses.asdict(receipt)}
        with translated(ReceiptInvalid, f"Writing the receipt {path}"):
            write_file_durably(path, json.dumps(document, sort_keys=True, indent=1).encode(), 0o600)

    def remove(self, uuid: str) -> None:
        """Forget a VM. One without a receipt is no error."""
        path = self._path(uuid)
        with translated(ReceiptInvalid, f"Removing the receipt {path}"):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
            fsync_directory(self._directory)

    def _names(self) -> t.List[str]:
        with translated(ReceiptInvalid, f"Reading the receipts in {self._directory}"):
            try:
                return sorted(name for name in os.listdir(self._directory) if _FILE_NAME.match(name))
            except FileNotFoundError:
                return []

    def _path(self, uuid: str) -> str:
        name = f"{uuid}.json"
        if not _FILE_NAME.match(name):
            raise ReceiptInvalid(f"{uuid!r} is not the UUID of a virtual machine.")
        return os.path.join(self._directory, name)


_FIELDS = tuple(field.name for field in dataclasses.fields(Receipt))


def _decode(data: bytes, file_name: str) -> Receipt:
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise ValueError("unknown format")
        values = {name: document[name] for name in _FIELDS}
        if not all(isinstance(values[name], int if name == "bundle_inode" else str) for name in _FIELDS):
            raise ValueError("a field is not what it should be")
        if values["state"] not in _STATES:
            raise ValueError("unknown state")
        receipt = Receipt(**values)
        if f"{receipt.vm_uuid}.json" != file_name:
            raise ValueError("it is that of another virtual machine")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReceiptInvalid(f"Reading the receipt {file_name} failed: {error!r}.") from error
    return receipt
