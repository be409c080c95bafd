# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup is: a directory with these files, each named with its SHA-256 in the manifest, which is written last.

* ``catalog.db`` (a whole SQLite database) or ``catalog.sql`` (what pg_dump writes);
* ``server-secret``, if the secret is kept in a file: for the day when that file alone is lost. A restore ends all that
  it has signed, and does not read it;
* ``objects.jsonl``: storage, key and size of every object of a pack; their bytes are not in the backup;
* ``manifest.json``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import typing as t
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog_server.errors import BadRequest
from catalog_server.storages.base import Place

MANIFEST = "manifest.json"
SQLITE_FILE = "catalog.db"
SQL_FILE = "catalog.sql"
SECRETS_FILE = "server-secret"
OBJECTS_FILE = "objects.jsonl"
_BLOCK_BYTES = 1 << 20


class File(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class SavedStorage(BaseModel):
    """A storage as it was when the backup was made.

    ``secret`` is encrypted, in base64. ``mark`` is the catalog whose mark it had, null if it had none. ``problem`` says
    why it could not be read: then its objects are not listed, or not all.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    prefix: str
    settings: dict[str, t.Any]
    secret: str | None
    mark: str | None
    objects: int
    problem: str | None

    @classmethod
    def of(cls, place: Place, mark: str | None, objects: int, problem: str | None) -> SavedStorage:
        secret = base64.b64encode(place.secret).decode() if place.secret is not None else None
        return cls(
            name=place.name,
            kind=place.kind,
            prefix=place.prefix,
            settings=dict(place.settings),
            secret=secret,
            mark=mark,
            objects=objects,
            problem=problem,
        )

    def place(self) -> Place:
        """Where it was."""
        secret = base64.b64decode(self.secret) if self.secret is not None else None
        return Place(self.name, self.kind, self.prefix, self.settings, secret)


class Manifest(BaseModel):
    """What a backup says of itself."""

    model_config = ConfigDict(frozen=True)

    format: t.Literal[1] = 1
    created_at: str
    server_version: str
    catalog_uuid: str
    epoch: int
    # Revision of the database.
    schema_revision: str
    # SQLITE or POSTGRESQL
    database: str
    storages: tuple[SavedStorage, ...]
    files: dict[str, File]


def file_of(path: Path) -> File:
    """Return size and SHA-256 of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return File(bytes=size, sha256=digest.hexdigest())


def read(directory: Path) -> Manifest:
    """Return the manifest of a backup, all of whose files are as it says.

    :raises BadRequest: it is not a whole backup
    """
    try:
        manifest = _manifest(directory)
    except FileNotFoundError:
        raise BadRequest(f"{directory} is not a backup: it has no {MANIFEST}.") from None
    except (ValidationError, ValueError):
        raise BadRequest(f"{directory / MANIFEST} is not one that this release can read.") from None
    for name, wanted in manifest.files.items():
        path = directory / name
        if not path.is_file() or file_of(path) != wanted:
            raise BadRequest(f"{path} is missing or damaged: it is not what {MANIFEST} says.")
    return manifest


def catalog_of(directory: Path) -> str | None:
    """Return the id of the catalog that a backup is of, None if it does not say so. Its files are not looked at."""
    try:
        return _manifest(directory).catalog_uuid
    except (OSError, ValueError):
        return None


def _manifest(directory: Path) -> Manifest:
    return Manifest.model_validate(json.loads((directory / MANIFEST).read_text(encoding="utf-8")))


def sync(path: Path) -> None:
    """Bring a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
