# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a signed URL was made for. When that is over, the embedded storage refuses the URL at once.

A URL that reads a manifest's segments ends with the manifest: when it is deleted, tainted or revoked. One that was made
for an upload ends with the upload. A manifest whose content is replaced goes on: running pulls may finish.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog_server.models.catalog import Manifest
from catalog_server.models.transfers import OPEN, Upload

_MANIFEST = "manifest"
_UPLOAD = "upload"


def of_manifest(manifest_id: str) -> str:
    """The holder of URLs for a pull."""
    return f"{_MANIFEST}-{manifest_id}"


def of_upload(upload_id: str) -> str:
    """The holder of URLs for a push."""
    return f"{_UPLOAD}-{upload_id}"


def is_good(session: Session, holder: str) -> bool:
    """Returns True if what a URL was made for still allows it."""
    kind, _dash, name = holder.partition("-")
    if kind == _UPLOAD:
        return session.scalar(select(Upload.state).where(Upload.id == name)) == OPEN
    row = session.execute(select(Manifest.tainted, Manifest.revoked).where(Manifest.id == name)).first()
    return kind == _MANIFEST and row is not None and not row.tainted and not row.revoked
