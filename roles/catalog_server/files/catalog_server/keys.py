# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that the server signs with: a ring of secrets, and from each one key for each purpose.

The newest secret signs, and what any of them has signed is good; so the secret can be replaced while transfers go on.
What is signed for one purpose can never be used for another, whatever it says.

A file of secrets has one on each line, the newest first. A comment above it says when it was made::

    # made 2026-11-27T09:00:00+00:00
    the secret
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files

from catalog_server.errors import BadRequest, NotFound
from catalog_server.permissions import require_private
from catalog_server.settings import MIN_SECRET_LENGTH, Settings, SettingsError

SECRET_FILE = "server-secret"
_MADE = "# made "

_log = logging.getLogger("catalog_server.keys")


@dataclass(frozen=True)
class Key:
    """One key for each purpose, and the id by which a token names them."""

    kid: str
    login: bytes = field(repr=False)
    grants: bytes = field(repr=False)
    objects: bytes = field(repr=False)
    cursors: bytes = field(repr=False)

    @classmethod
    def derived(cls, secret: str) -> Key:
        """Return the keys that follow from a secret; its id tells nothing about it."""
        purposes = {purpose: _derived(secret, purpose) for purpose in ("login", "grants", "objects", "cursors")}
        return cls(kid=_derived(secret, "key id").hex()[:12], **purposes)


def _derived(secret: str, purpose: str) -> bytes:
    return hmac.new(secret.encode(), f"macfleet catalog {purpose}".encode(), hashlib.sha256).digest()


@dataclass(frozen=True)
class Secret:
    """A line of a file of secrets."""

    text: str = field(repr=False)
    made_at: str = ""

    @property
    def kid(self) -> str:
        """The id of its keys."""
        return Key.derived(self.text).kid


class KeyRing:
    """The keys of this installation. Those of a file are read again when the file has changed."""

    def __init__(self, texts: Iterable[str], path: Path | None = None) -> None:
        self._keys = tuple(map(Key.derived, texts))
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(key.kid for key in self._keys)})"

    @classmethod
    def of_file(cls, path: Path) -> KeyRing:
        """Return the ring of a file of secrets.

        :raises SettingsError, OSError: as ``read_secrets``
        """
        seen = _stamp(path)
        ring = cls([secret.text for secret in read_secrets(path)], path)
        ring._seen = seen
        return ring

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, the newest first."""
        if self.path is not None:
            self._refresh(self.path)
        return self._keys

    @property
    def signing(self) -> Key:
        """The key that signs."""
        return self.keys[0]

    def find(self, kid: str) -> Key | None:
        """Return the key with that id, None if there is none."""
        return next((key for key in self.keys if key.kid == kid), None)

    def _refresh(self, path: Path) -> None:
        """Running servers learn of a rotation by this. A file that cannot be read now changes nothing."""
        seen = _stamp(path)
        if seen == self._seen:
            return
        # Noted first: a file that cannot be used is reported once.
        self._seen = seen
        try:
            self._keys = tuple(Key.derived(secret.text) for secret in read_secrets(path))
            _log.info("the keys were read again", extra={"keys": [key.kid for key in self._keys]})
        except (OSError, SettingsError) as error:
            _log.error("the keys of before are used: %s", error)


def load_keys(settings: Settings) -> KeyRing:
    """Return the keys of this installation; without a secret in the settings, one is made in the data directory.

    :raises SettingsError: they cannot be read or made
    """
    if settings.server_secret is not None:
        return KeyRing([settings.server_secret.get_secret_value()])
    path = secret_file(settings)
    try:
        if settings.server_secret_file is None and not path.exists():
            _make(path)
        if settings.server_secret_file is None:
            require_private(path)
        if temporary_of(path).exists():
            # Of a command that works just now, or was killed. Whoever may change the keys can remove it.
            with contextlib.suppress(OSError), _changing(path):
                pass
        return KeyRing.of_file(path)
    except OSError as error:
        raise SettingsError(f"the server's secret in {path} cannot be read or made: {error}") from error


def existing_keys(settings: Settings) -> KeyRing:
    """Return the keys of this installation as they are; none is made.

    :raises SettingsError: they cannot be read
    """
    path = secret_file(settings)
    return load_keys(settings) if settings.server_secret is not None or path.exists() else KeyRing([])


def secret_file(settings: Settings) -> Path:
    """Return the path of the file of secrets, if the settings hold none."""
    return settings.server_secret_file or settings.data_dir / SECRET_FILE


def read_secrets(path: Path) -> list[Secret]:
    """Return the secrets of a file, the newest first.

    :raises SettingsError: there is none, or one is too short
    :raises OSError: it cannot be read
    """
    found: list[Secret] = []
    made_at = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            made_at = line.removeprefix(_MADE) if line.startswith(_MADE) else made_at
        elif line:
            found.append(Secret(line, made_at))
            made_at = ""
    if not found or any(len(secret.text) < MIN_SECRET_LENGTH for secret in found):
        raise SettingsError(
            f"a secret in {path} is too short, or there is none: copy the file server-secret of a backup there, or "
            f"write a line of at least {MIN_SECRET_LENGTH} characters, which ends what other secrets have signed"
        )
    return found


def _new(now: datetime.datetime) -> Secret:
    return Secret(secrets.token_urlsafe(48), now.isoformat(timespec="seconds"))


def ages(ring: KeyRing, now: datetime.datetime) -> dict[str, float]:
    """Return how many seconds ago the newest and the oldest key were made, as far as their file says so."""
    if ring.path is None:
        return {}
    try:
        found = read_secrets(ring.path)
        made = {"newest": found[0].made_at, "oldest": found[-1].made_at}
        return {name: (now - datetime.datetime.fromisoformat(at)).total_seconds() for name, at in made.items() if at}
    except (OSError, SettingsError, ValueError, TypeError):
        return {}


def rotate(path: Path, now: datetime.datetime) -> Secret:
    """Add a secret, which signs from now on; return it."""
    new = _new(now)
    with _changing(path):
        _replace(path, [new, *read_secrets(path)])
    return new


def drop(path: Path, kid: str) -> None:
    """Remove a secret that does not sign any more; what it has signed is not good any more.

    :raises NotFound, BadRequest: there is no such key; it is the one that signs
    """
    with _changing(path):
        ring = read_secrets(path)
        if kid not in [secret.kid for secret in ring]:
            raise NotFound(f"There is no key {kid}.")
        if kid == ring[0].kid:
            raise BadRequest(f"The key {kid} signs. Run catalog-server key rotate first.")
        _replace(path, [secret for secret in ring if secret.kid != kid])


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def temporary_of(path: Path) -> Path:
    """Return where the next version of a file of secrets is written."""
    return path.with_name(f".{path.name}.new")


def _make(path: Path) -> None:
    """Make a file of secrets. Of two that start at once, one makes it and both use its secret."""
    files.make_directories(str(path.parent.absolute()), 0o700)
    with _changing(path):
        if not path.exists():
            _replace(path, [_new(datetime.datetime.now(datetime.UTC))])


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep others from changing a file of secrets meanwhile, and remove what a killed one has left."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        temporary_of(path).unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, ring: Iterable[Secret]) -> None:
    """Put a file of secrets in the place of the one that is there, durably."""
    temporary = temporary_of(path)
    try:
        _write(temporary, ring)
        files.rename_durably(str(temporary), str(path))
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, ring: Iterable[Secret]) -> None:
    lines = [
        line for secret in ring for line in (_MADE + secret.made_at if secret.made_at else "", secret.text) if line
    ]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
