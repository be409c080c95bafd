# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The facts of a host: what its caches hold and which VMs were made from them.

    {"caches": {<path>: {…}}, "vms": [{…}], "owners": {<user>: {"readable": bool}}}

Each owner publishes the part about their own caches as ``<facts directory>/<owner>/facts.json``, for everybody to read;
the role catalog_host makes that directory, and its reader for ``gather_facts`` shows the same document. What others
publish is data and nothing more: a regular file, reached through no link, of bounded size, valid JSON. If several
users publish the same cache path, only the owner of that directory is believed.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import math
import os
import stat
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.files import lies_at, write_file_durably
from ansible_collections.macfleet.parallels.plugins.module_utils._base.moments import utc_text
from ansible_collections.macfleet.parallels.plugins.module_utils._host import locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.layout import CacheEntry, PartialState
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.measure import exclusive_bytes
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import (
    FactsTooLarge,
    FactsUnsafe,
    translated,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._host.machines import VirtualMachine
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipt

FILE_NAME = "facts.json"
_LOCK_NAME = ".facts.lock"
_LARGEST_BYTES = 1 << 20
_LOCK_SECONDS = 30.0
# More than any number of bytes has, with a sign.
_MOST_DIGITS = 20

Document = t.Dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class _Published:
    """What a user has published."""

    uid: int
    caches: t.Dict[str, Document]
    vms: t.List[Document]


def cache_document(cache: Cache, owner: str, now: str) -> Document:
    """Return the facts of one cache."""
    survey = cache.survey()
    entries = [_entry(entry) for entry in survey.entries]
    partials = cache.partials()
    return {
        "owner": owner,
        "updated_at": now,
        "free_bytes": cache.free_bytes(),
        "totals": {
            "entries": len(entries),
            "logical_bytes": sum(entry["logical_bytes"] for entry in entries),
            "stored_bytes": sum(entry["stored_bytes"] for entry in entries),
            "allocated_bytes": sum(entry["allocated_bytes"] for entry in entries),
            "exclusive_bytes": _sum_if_known(entry["exclusive_bytes"] for entry in entries),
            "partials": len(partials),
            "partial_bytes": sum(state.allocated_bytes for state in partials),
            "trash_bytes": cache.trash_bytes(),
        },
        "partials": [_partial(state) for state in partials],
        "entries_omitted": 0,
        "damaged": list(survey.damaged),
        "unreadable": dict(survey.unreadable),
        "entries": entries,
    }


def vm_documents(receipts: t.Iterable[Receipt], machines: t.Optional[t.Iterable[VirtualMachine]]) -> t.List[Document]:
    """Return every VM with a receipt.

    Its state is ``missing`` where prlctl does not list it, ``unknown`` without prlctl.
    """
    known = {machine.uuid: machine for machine in machines or ()}
    documents = []
    for receipt in receipts:
        machine = known.get(receipt.vm_uuid)
        documents.append(
            {
                "uuid": receipt.vm_uuid,
                "name": machine.name if machine else receipt.vm_name,
                "state": machine.state if machine else "unknown" if machines is None else "missing",
                "home": machine.home if machine and machine.home else receipt.home,
                "cache_path": receipt.cache_path,
                "receipt": {
                    "catalog_url": receipt.catalog_url,
                    "catalog_id": receipt.catalog_id,
                    "version": receipt.version,
                    "architecture": receipt.architecture,
                    "digest": receipt.digest,
                    "created_at": receipt.created_at,
                    "created_by": receipt.created_by,
                    "state": receipt.state,
                },
            }
        )
    return documents


def read_published(facts_directory: str) -> Document:
    """Return the document of this host, as far as its owners have published it."""
    document: Document = {"caches": {}, "vms": [], "owners": {}}
    try:
        owners = sorted(os.listdir(facts_directory))
    except OSError:
        return document
    found = []
    for owner in owners:
        try:
            found.append(_read(os.path.join(facts_directory, owner)))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError):
            document["owners"][owner] = {"readable": False}
            continue
        document["owners"][owner] = {"readable": True}
    claims = collections.Counter(path for published in found for path in published.caches)
    for published in found:
        foreign = [path for path in published.caches if claims[path] > 1 and not _owns(published.uid, path)]
        document["caches"].update({path: cache for path, cache in published.caches.items() if path not in foreign})
        document["vms"].extend(vm for vm in published.vms if vm.get("cache_path") not in foreign)
    return document


def _owns(uid: int, path: str) -> bool:
    """Return True if the user owns the cache directory; False if it cannot be examined."""
    try:
        return os.lstat(path).st_uid == uid
    except (OSError, ValueError):
        return False


def with_cache(document: Document, cache_path: str, cache: Document, vms: t.Iterable[Document]) -> Document:
    """Return the document with the facts of one cache and its VMs replaced. Pure."""
    others = [vm for vm in document["vms"] if vm.get("cache_path") != cache_path]
    return {**document, "caches": {**document["caches"], cache_path: cache}, "vms": [*others, *vms]}


def check_publishable(facts_directory: str, owner: str) -> bool:
    """Return True if this owner's facts directory exists; changes nothing.

    :raises FactsUnsafe: the directory or the file is a link, or somebody else's
    """
    directory = os.path.join(facts_directory, owner)
    path = os.path.join(directory, FILE_NAME)
    with translated(FactsUnsafe, f"Publishing facts as {path}"):
        if not lies_at(directory):
            return False
        _require_ours(directory, stat.S_ISDIR, "directory")
        _require_ours(path, stat.S_ISREG, "file")
    return True


def publish(
    facts_directory: str, owner: str, cache_path: str, cache: Document, vms: t.Iterable[Document]
) -> t.Optional[str]:
    """Publish what one cache holds among the caches of its owner, for everybody to read; return the path of the file.

    Return None when the host is not prepared: the owner's directory has to be there already.

    :raises FactsTooLarge: the file would exceed 1 MiB
    :raises FactsUnsafe: the directory or the file is a link, or somebody else's
    """
    directory = os.path.join(facts_directory, owner)
    path = os.path.join(directory, FILE_NAME)
    if not check_publishable(facts_directory, owner):
        return None
    with translated(FactsUnsafe, f"Publishing facts as {path}"):
        with locks.hold(os.path.join(directory, _LOCK_NAME), "publishing facts", _LOCK_SECONDS):
            _require_ours(path, stat.S_ISREG, "file")
            before: Document = {"caches": {}, "vms": []}
            with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
                published = _read(directory)
                before = {"caches": published.caches, "vms": published.vms}
            document = with_cache(before, cache_path, cache, vms)
            write_file_durably(path, _fitting(document, cache_path, path), 0o644)
    return path


def _fitting(document: Document, cache_path: str, path: str) -> bytes:
    """Return a document as JSON that a reader takes; without the entries used longest ago if it is too large.

    ``entries_omitted`` of the cache tells how many were left out.
    """
    cache = document["caches"][cache_path]
    entries = cache.get("entries", [])
    kept, shown = len(entries), document
    while True:
        data = json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()
        if len(data) <= _LARGEST_BYTES:
            return data
        if kept == 0:
            raise FactsTooLarge(
                f"Publishing facts as {path} failed: {len(data)} bytes are more than {_LARGEST_BYTES}.",
                "Remove virtual machines that nobody needs.",
            )
        # Entries are about of one size, so this ends soon.
        kept = min(kept - 1, int(0.99 * kept * _LARGEST_BYTES / len(data)))
        fewer = {**cache, "entries": entries[:kept], "entries_omitted": len(entries) - kept}
        shown = {**document, "caches": {**document["caches"], cache_path: fewer}}


def _sum_if_known(sizes: t.Iterable[t.Optional[int]]) -> t.Optional[int]:
    known = list(sizes)
    return None if any(size is None for size in known) else sum(size or 0 for size in known)


def _exclusive_bytes(entry: CacheEntry) -> t.Optional[int]:
    # An entry may be removed meanwhile.
    with contextlib.suppress(OSError):
        return exclusive_bytes(entry.bundle_path)
    return None


def _entry(entry: CacheEntry) -> Document:
    record = entry.record
    return {
        "digest": record.digest,
        "bundle_name": record.bundle_name,
        "type": record.type,
        "addresses": [dataclasses.asdict(address) for address in record.addresses],
        "logical_bytes": record.logical_bytes,
        "stored_bytes": record.stored_bytes,
        "allocated_bytes": record.allocated_bytes,
        "downloaded_bytes": record.downloaded_bytes,
        "exclusive_bytes": _exclusive_bytes(entry),
        "first_used_at": record.first_used_at,
        "last_used_at": record.last_used_at,
        "use_count": record.use_count,
        "verified_at": record.verified_at,
    }


def _partial(state: PartialState) -> Document:
    origin = state.origin
    return {
        "digest": state.partial.digest,
        "allocated_bytes": state.allocated_bytes,
        "modified_at": utc_text(state.modified_at),
        "started_at": None if origin is None else origin.started_at,
        "address": None if origin is None else dataclasses.asdict(origin.address),
    }


def _read(directory: str) -> _Published:
    """Return what one owner has published.

    :raises ValueError: it is not what a cache publishes
    """
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        uid = os.fstat(root).st_uid
        descriptor = os.open(FILE_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=root)
    finally:
        os.close(root)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        data = stream.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise ValueError("it is too large")
    document = json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_short)
    _require_unicode(document)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    caches, vms = document.get("caches", {}), document.get("vms", [])
    if not isinstance(caches, dict) or not isinstance(vms, list):
        raise ValueError("it is not what a cache publishes")
    if not all(isinstance(item, dict) for item in (*caches.values(), *vms)):
        raise ValueError("it is not what a cache publishes")
    return _Published(uid, caches, vms)


def _refuse(text: str) -> t.NoReturn:
    raise ValueError(f"{text} is not a JSON value that a cache publishes")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _short(text: str) -> int:
    """Return a whole number; a long one would take Python minutes, or be an error of its own, when it is written."""
    return int(text) if len(text) <= _MOST_DIGITS else _refuse(f"{text[:_MOST_DIGITS]}…")


def _require_unicode(document: t.Any) -> None:
    """Refuse halves of surrogate pairs, which JSON can escape and UTF-8 cannot encode.

    :raises UnicodeEncodeError: there is one
    """
    json.dumps(document, ensure_ascii=False).encode("utf-8")


def _require_ours(path: str, is_kind: t.Callable[[int], bool], kind: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        reason = "it is a symbolic link"
    elif not is_kind(status.st_mode):
        reason = f"it is not a {kind}"
    elif status.st_uid != os.geteuid():
        reason = f"it belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this task"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"its permissions {stat.S_IMODE(status.st_mode):04o} let other users write"
    else:
        return
    raise FactsUnsafe(
        f"Publishing facts in {path} was refused: {reason}.", "Move it away, and run the role catalog_host."
    )
