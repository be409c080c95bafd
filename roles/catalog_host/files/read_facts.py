# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of the caches of this host, for gather_facts: one document made of the facts.json of every owner.

The owners write those files, so they are data and nothing more: regular files, reached through no link, of bounded
size, valid JSON. One that is anything else appears as ``{"readable": false}``. If several
users publish one path, only the directory's owner is believed.
"""

from __future__ import annotations

import collections
import json
import math
import os
import stat
import sys
import typing

if typing.TYPE_CHECKING:

    class Published(typing.TypedDict):
        """What one owner has published, and who that is."""

        uid: int
        caches: dict[str, dict[str, object]]
        vms: list[dict[str, object]]


LARGEST_BYTES = 1024 * 1024
FILE_NAME = "facts.json"
# More than any number of bytes has, with a sign.
MOST_DIGITS = 20


class Unreadable(Exception):
    """The file is not what a cache publishes."""


def refuse(text: str) -> typing.NoReturn:
    raise Unreadable(f"{text} is not a JSON value that a cache publishes")


def finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else refuse(text)


def short(text: str) -> int:
    """Return a whole number; a long one would take Python minutes, or be an error of its own, when it is written."""
    return int(text) if len(text) <= MOST_DIGITS else refuse(f"{text[:MOST_DIGITS]}…")


def read_bounded(owner_directory: int) -> bytes:
    """Return the bytes of the file; neither a link nor a pipe is followed, and no more than the limit is read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(FILE_NAME, flags, dir_fd=owner_directory)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Unreadable("not a regular file")
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise Unreadable("larger than the limit")
    return content


def parse(content: bytes, uid: int) -> Published:
    try:
        document = json.loads(content.decode("utf-8"), parse_constant=refuse, parse_float=finite, parse_int=short)
        # Halves of surrogate pairs, which JSON can escape and UTF-8 cannot encode, are refused.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Unreadable("not valid JSON") from error
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    caches, vms = document.get("caches", {}), document.get("vms", [])
    if not isinstance(caches, dict) or not isinstance(vms, list):
        raise Unreadable("not what a cache publishes")
    if not all(isinstance(item, dict) for item in (*caches.values(), *vms)):
        raise Unreadable("not what a cache publishes")
    return {"uid": uid, "caches": caches, "vms": vms}


def read_owner(root: int, owner: str) -> Published:
    directory = os.open(owner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        return parse(read_bounded(directory), os.fstat(directory).st_uid)
    finally:
        os.close(directory)


def owns(uid: int, path: str) -> bool:
    """Return True if the user owns the cache directory; False if it cannot be examined."""
    try:
        return os.lstat(path).st_uid == uid
    except (OSError, ValueError):
        return False


def merged(documents: dict[str, Published | None]) -> dict[str, object]:
    """Return one document: the caches and VMs of all owners, and for each owner whether its file could be read."""
    caches: dict[str, object] = {}
    vms: list[object] = []
    found = [document for _owner, document in sorted(documents.items()) if document is not None]
    claims = collections.Counter(path for document in found for path in document["caches"])
    for document in found:
        foreign = [path for path in document["caches"] if claims[path] > 1 and not owns(document["uid"], path)]
        caches.update({path: cache for path, cache in document["caches"].items() if path not in foreign})
        vms.extend(vm for vm in document["vms"] if vm.get("cache_path") not in foreign)
    owners = {owner: {"readable": document is not None} for owner, document in documents.items()}
    return {"caches": caches, "owners": owners, "vms": vms}


def collect(path: str) -> dict[str, object]:
    """Read what every owner has published below this directory; an owner without a file has published nothing yet."""
    documents: dict[str, Published | None] = {}
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return merged({})
    try:
        for owner in os.listdir(root):
            try:
                documents[owner] = read_owner(root, owner)
            except FileNotFoundError:
                continue
            except (OSError, Unreadable):
                documents[owner] = None
    finally:
        os.close(root)
    return merged(documents)


def main(path: str) -> None:
    json.dump(collect(path), sys.stdout, sort_keys=True)
    sys.stdout.write("\n")
