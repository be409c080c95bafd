# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The embedded storage: a directory of this machine, whose objects the server itself serves by URLs that it signed."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote, urlencode

from ansible_collections.macfleet.parallels.plugins.module_utils._storage.base import ObjectInfo
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.errors import StorageUnavailable
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage, OpenObject

from catalog_server.keys import KeyRing
from catalog_server.settings import Settings
from catalog_server.storages import holding
from catalog_server.storages.base import Capabilities, Place, Signed, UrlRequest
from catalog_server.storages.marks import mark_of
from catalog_server.storages.signing import GET, PUT, Permit, object_signer

KIND = "local"
# What the settings of its row hold: the path of its directory.
ROOT = "root"


class EmbeddedStorage:
    """A directory. Without the mark of the catalog nothing is stored there: its volume may not be mounted."""

    capabilities = Capabilities(
        proves_content=True, binds_length=True, create_only=False, deletes=True, on_this_host=True
    )

    def __init__(self, name: str, root: Path, prefix: str, keys: KeyRing) -> None:
        self.name = name
        self.root = root
        self.where = str(root)
        self.prefix = prefix
        self.files = LocalStorage(str(root), anchor=mark_of(prefix))
        self._keys = keys

    def presign_get(self, key: str, request: UrlRequest) -> Signed:
        """Return a URL that reads an object."""
        return self._signed(Permit(GET, self.name, key, request.expires_at, request.holder), request)

    def presign_put(self, key: str, size: int, request: UrlRequest) -> Signed:
        """Return a URL that stores an object of ``size`` bytes."""
        return self._signed(Permit(PUT, self.name, key, request.expires_at, request.holder, size), request)

    def _signed(self, permit: Permit, request: UrlRequest) -> Signed:
        query = {"method": permit.method, "expires": str(permit.expires_at), "for": permit.holder}
        if permit.size is not None:
            query["size"] = str(permit.size)
        query["signature"] = object_signer(self._keys).signature(permit)
        url = f"{request.base_url}/objects/{quote(permit.storage)}/{quote(permit.key)}?{urlencode(query)}"
        return Signed(url, {}, request.expires_at, request.expires_in)

    def admits(self, permit: Permit, signature: str, now: float) -> bool:
        """Returns True if the signature is good for that, and has not expired."""
        return object_signer(self._keys).admits(permit, signature, now)

    def open(self, key: str) -> OpenObject:
        """Open an object to read it in pieces."""
        return self.files.open(key)

    def get(self, key: str) -> bytes:
        """Return all of an object."""
        return self.files.get(key)

    def put(self, key: str, data: bytes) -> None:
        """Store an object that the server itself made."""
        self.files.put(key, data, hashlib.sha256(data).hexdigest())

    def list(self, folder: str) -> Iterator[ObjectInfo]:
        """Yield the objects below a folder in order of their keys."""
        return self.files.list(folder)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are deleted already."""
        self.files.delete_many(keys)

    def discard_incoming(self, folder: str) -> int:
        """Remove what was begun to be received and not finished; see ``base.Provider``."""
        return self.files.discard_incoming(folder)

    def discard_abandoned(self, folder: str, before: float, *, deep: bool = True) -> int:
        """Remove what nobody goes on to receive; see ``base.Provider``."""
        return self.files.discard_abandoned(folder, before, deep=deep)

    def probe(self, *, is_first_use: bool) -> None:
        """Check that the directory is there, is not everybody's, and can be written; see ``base.Provider``."""
        root = self.root.parent if is_first_use and not self.root.exists() else self.root
        try:
            mode = root.stat().st_mode & 0o7777
            # It has no name, so nobody sees it.
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise StorageUnavailable(f"{root} cannot be written: {error.strerror}") from error
        if root == self.root and mode & stat.S_IWOTH:
            raise StorageUnavailable(f"{root} must not be writable for everybody, but has the mode {mode:04o}")

    def free_bytes(self) -> int | None:
        """Return how much the volume has left."""
        return shutil.disk_usage(self.root).free

    def held(self) -> AbstractContextManager[None]:
        """Hold the mark while the block lasts; see ``base.Provider``."""
        return holding.held(self.root / mark_of(self.prefix))

    def replacing_mark(self) -> AbstractContextManager[None]:
        """Replace the mark in the block; see ``base.Provider``."""
        return holding.replacing(self.root / mark_of(self.prefix))


def make(place: Place, settings: Settings, keys: KeyRing) -> EmbeddedStorage:
    """The embedded storage of a row; without a root of its own, it is in the data directory."""
    return EmbeddedStorage(place.name, Path(place.settings.get(ROOT) or settings.default_storage), place.prefix, keys)
