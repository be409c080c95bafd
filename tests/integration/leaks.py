# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of secrets is anywhere but where it was given; all runs are as talkative as ``-vvv``."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.integration.stage import Server, Stage

# The beginning of every token and grant, and the end of every signed URL.
TELLTALES = (b"eyJhbGciOi", b"signature=")
# What tests give to a play, and the disks of sample machines, which hold files of this machine.
OURS = (".vars.json", ".hds", ".raw")


def leaks(stage: Stage) -> list[str]:
    """Return the files with a secret in them, and how it begins: logs, homes of hosts and controller, the server."""
    needles = [*_secrets(stage.server), *TELLTALES]
    found = []
    for directory in (stage.logs, stage.work / "hosts/homes", stage.left, stage.work / "controller"):
        found += _places(directory, needles)
    # The server keeps hashes; of what it signs it keeps nothing.
    for name in ("server.log", "catalog.db", "catalog.db-wal"):
        found += _within(stage.server.process.directory / name, needles)
    return found


def _secrets(server: Server) -> list[bytes]:
    """Every secret of these tests."""
    texts = [server.admin_token, server.process.password]
    for user in server.users:
        key, _colon, secret = base64.b64decode(user.api_key).decode().partition(":")
        assert key and secret
        texts += [user.password, user.token, user.api_key, secret]
    return [text.encode() for text in texts]


def _places(directory: Path, needles: t.Sequence[bytes]) -> list[str]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [found for path in files if not path.name.endswith(OURS) for found in _within(path, needles)]


def _within(path: Path, needles: t.Sequence[bytes]) -> list[str]:
    content = path.read_bytes() if path.exists() else b""
    return [f"{path}: {needle[:12]!r}" for needle in needles if needle in content]
