# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys that the server signs with: one secret, and from it one key for each purpose.

What is signed for one purpose can never be used for another, whatever it says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from catalog_server.settings import Settings, SettingsError

SECRET_FILE = "server-secret"


@dataclass(frozen=True)
class Keys:
    """One key for each purpose."""

    login: bytes = field(repr=False)
    grants: bytes = field(repr=False)
    objects: bytes = field(repr=False)

    @classmethod
    def derived(cls, secret: str) -> Keys:
        """The keys that follow from the server's secret."""
        return cls(
            **{
                purpose: hmac.new(secret.encode(), f"macfleet catalog {purpose}".encode(), hashlib.sha256).digest()
                for purpose in ("login", "grants", "objects")
            }
        )


def load_keys(settings: Settings) -> Keys:
    """The keys of this installation; without a secret in the settings, one is made in the data directory."""
    if settings.server_secret is not None:
        return Keys.derived(settings.server_secret.get_secret_value())
    path = settings.data_dir / SECRET_FILE
    try:
        return Keys.derived(_kept(path))
    except OSError as error:
        raise SettingsError(f"the server's secret in {path} cannot be read or made: {error}") from error


def _kept(path: Path) -> str:
    if not path.exists():
        _make(path)
    secret = path.read_text(encoding="ascii").strip()
    if len(secret) < 32:
        raise SettingsError(f"the server's secret in {path} is too short; restore it from a backup, or remove it")
    return secret


def _make(path: Path) -> None:
    """Under a name of its own first: of two that start at once, one wins and both use its secret."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        os.unlink(temporary)
