# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a host remembers of the VMs that it made: one file for each, named by the VM's UUID.

A receipt is written *before* its VM is registered, as ``creating``, and says ``removing`` before the VM is deleted.
So whatever an interrupted task left can be told from a VM that somebody else made, and be finished or undone.

Receipts outlive the version that wrote them. Keys that this version does not know are kept; keys that an earlier
version did not write have defaults. ``format`` is raised only when an earlier version would misunderstand a receipt.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import fsync_directory, write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact_url
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    ReceiptInvalid,
    UnknownReceipt,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.trees import read_regular_file

CREATING = "creating"
READY = "ready"
REMOVING = "removing"

_FORMAT = 1
_STATES = frozenset({CREATING, READY, REMOVING})
_LARGEST_BYTES = 1 << 20
_FILE_NAME = re.compile(r"([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})\.json\Z")

JsonObject = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """One VM: the manifest and the content that it was made of, where it lies, when and by whom it was made.

    ``bundle_inode`` and ``bundle_born_at`` (seconds since 1970, 0 where the system does not tell) are those of the
    directory which we made at ``home``, 0 before there is one: what else may lie there is not ours to remove.
    ``volume`` is the mount point above ``home``. ``registering_at`` is the time, in seconds since 1970, at which
    Parallels Desktop was last asked to register the VM. ``headless`` is True once the VM was told to start without a
    window. ``phases`` are the seconds that each phase of making the VM took.

    The image's ``parent``, ``requires``, ``superseded_by``, ``provenance``, ``labels`` and ``release_notes`` are as its
    manifest had them. ``extra`` holds what a later version of this collection wrote.
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
    bundle_born_at: float = 0.0
    volume: str = "/"
    registering_at: float = 0.0
    headless: bool = False
    phases: JsonObject = dataclasses.field(default_factory=dict)
    parent: t.Optional[JsonObject] = None
    requires: JsonObject = dataclasses.field(default_factory=dict)
    superseded_by: t.Optional[str] = None
    provenance: t.Optional[JsonObject] = None
    labels: JsonObject = dataclasses.field(default_factory=dict)
    release_notes: str = ""
    extra: JsonObject = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        # It becomes a fact that everybody on the host can read.
        object.__setattr__(self, "catalog_url", redact_url(self.catalog_url))


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that has the name of a receipt and cannot be read as one.

    ``vm_name`` is the name of its VM, None if that cannot be found out. ``error`` says what is wrong.
    """

    path: str
    vm_uuid: str
    vm_name: t.Optional[str]
    error: ReceiptInvalid


class Receipts:
    """The receipts in one directory, which is private to the owner of the cache."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read_all(self) -> t.Tuple[t.List[Receipt], t.List[str]]:
        """Return every receipt, by the name of its VM, and the names of the files that cannot be read as receipts."""
        receipts, unreadable = self.survey()
        return receipts, [os.path.basename(item.path) for item in unreadable]

    def survey(self) -> t.Tuple[t.List[Receipt], t.List[Unreadable]]:
        """Return every receipt, by the name of its VM, and the files that cannot be read as receipts."""
        receipts: t.List[Receipt] = []
        unreadable: t.List[Unreadable] = []
        for name in self._names():
            path = os.path.join(self._directory, name)
            data = b""
            try:
                data = _read(path)
                receipts.append(_decode(data, path))
            except FileNotFoundError:
                continue
            except ReceiptInvalid as error:
                unreadable.append(Unreadable(path, os.path.splitext(name)[0], _vm_name(data), error))
        return sorted(receipts, key=lambda receipt: (receipt.vm_name, receipt.vm_uuid)), unreadable

    def read(self, uuid: str) -> t.Optional[Receipt]:
        """Return the receipt of one VM, or None.

        :raises ReceiptInvalid: the file of that name cannot be read as a receipt
        :raises UnknownReceipt: a later version of this collection wrote it
        """
        path = self._path(uuid)
        try:
            return _decode(_read(path), path)
        except FileNotFoundError:
            return None

    def write(self, receipt: Receipt) -> None:
        """Write a receipt durably, over an earlier one of the same VM."""
        path = self._path(receipt.vm_uuid)
        with translated(ReceiptInvalid, f"Writing the receipt {path}"):
            write_file_durably(path, _encode(receipt), 0o600)

    def remove(self, uuid: str) -> None:
        """Forget a VM. It is not an error if there is no receipt."""
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


_TEXTS = frozenset({"catalog_url", "catalog_id", "version", "architecture", "digest", "created_at", "created_by"}) | {
    "vm_uuid",
    "vm_name",
    "home",
    "cache_path",
    "state",
    "volume",
    "release_notes",
}
_NUMBERS = frozenset({"bundle_inode", "bundle_born_at", "registering_at"})
_OBJECTS = frozenset({"phases", "requires", "labels"})
_OPTIONAL_OBJECTS = frozenset({"parent", "provenance"})
_FIELDS = frozenset(field.name for field in dataclasses.fields(Receipt)) - {"extra"}
_REQUIRED = frozenset(
    field.name
    for field in dataclasses.fields(Receipt)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
)


def _encode(receipt: Receipt) -> bytes:
    known = dataclasses.asdict(receipt)
    extra = known.pop("extra")
    return json.dumps({**extra, "format": _FORMAT, **known}, sort_keys=True, indent=1).encode()


def _decode(data: bytes, path: str) -> Receipt:
    try:
        document = json.loads(data)
        written = document["format"]
        if isinstance(written, int) and written > _FORMAT:
            raise UnknownReceipt(
                f"The receipt {path} has the format {written}, and this version of the collection knows the format "
                f"{_FORMAT}.",
                "Update the collection macfleet.parallels on the controller.",
                {"path": path},
            )
        if written != _FORMAT:
            raise ValueError(f"its format is {written!r}")
        values = {name: document[name] for name in _FIELDS if name in document}
        missing = sorted(_REQUIRED - set(values))
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        for name, value in values.items():
            if not _is_valid(name, value):
                raise ValueError(f"{name} is {value!r}")
        extra = {name: value for name, value in document.items() if name not in _FIELDS and name != "format"}
        receipt = Receipt(**values, extra=extra)
        if f"{receipt.vm_uuid}.json" != os.path.basename(path):
            raise ValueError("it is that of another virtual machine")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(path, str(error) if isinstance(error, ValueError) else "it is not a receipt") from error
    return receipt


def _is_valid(name: str, value: t.Any) -> bool:
    if name == "state":
        return value in _STATES
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _NUMBERS:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _OBJECTS:
        return isinstance(value, dict)
    if name in _OPTIONAL_OBJECTS:
        return value is None or isinstance(value, dict)
    if name == "headless":
        return isinstance(value, bool)
    return value is None or isinstance(value, str)


def _read(path: str) -> bytes:
    try:
        return read_regular_file(path, _LARGEST_BYTES)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise _invalid(path, str(error)) from error


def _invalid(path: str, reason: str) -> ReceiptInvalid:
    return ReceiptInvalid(
        f"Reading the receipt {path} failed: {reason}.",
        "Put the file back from a backup. Or move it to another directory: its virtual machine stays as it is, and "
        "this collection does not touch it any more.",
        {"path": path},
    )


def _vm_name(data: bytes) -> t.Optional[str]:
    """Return the name of the VM that a broken receipt, or one of a later format, is about."""
    try:
        name = json.loads(data)["vm_name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None
