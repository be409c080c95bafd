# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests put straight into the database of a server, for tests that are not about pushing."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Sequence

from catalog_server.catalog import service
from catalog_server.identity.access import Audience
from catalog_server.models.catalog import Manifest, ManifestSegment
from catalog_server.models.storage import COMMITTED, Segment, Upload
from catalog_server.transfers.packs import pack_of
from running import Server, command_work


def new_catalog_id() -> str:
    """One that no other test uses."""
    return f"image-{secrets.token_hex(6)}"


def put_manifest(
    server: Server,
    catalog_id: str | None = None,
    version: str = "1.0",
    architecture: str = "arm64",
    *,
    roles: Sequence[str] = (),
    claims: Sequence[str] = (),
    tags: Sequence[str] = (),
    shares: Sequence[tuple[str, str]] | None = None,
    segments: int = 2,
    **fields: object,
) -> str:
    """A manifest with segments of its own, or with ``shares``, those of another; its id."""
    audience = Audience.of(roles, claims).text()
    with command_work(server.services) as work:
        upload = Upload(
            catalog_id=catalog_id or new_catalog_id(),
            version=version,
            architecture=architecture,
            chunk_size=1 << 18,
            fields={},
            audience=audience,
            storage=work.settings.storage_name,
            state=COMMITTED,
            created_at=work.now,
            expires_at=work.now,
        )
        work.session.add(upload)
        work.session.flush()
        manifest = Manifest(
            **{
                "catalog_id": upload.catalog_id,
                "version": version,
                "architecture": architecture,
                "type": "pvm",
                "name": "Image.pvm",
                "description": "an image",
                "audience": audience,
                "format": "segmented",
                "digest": secrets.token_hex(32),
                "chunk_size": 1 << 18,
                "chunks": 8,
                "files": 3,
                "logical_bytes": 2_000_000,
                "data_bytes": 1_000_000,
                "stored_bytes": 500_000,
                "storage": upload.storage,
                "pack": upload.id,
                "listing_object": _put_object(server, upload, "listing"),
                "locator_object": _put_object(server, upload, "locator"),
                "created_at": work.now,
                "pushed_at": work.now,
                "updated_at": work.now,
                "created_by": "pusher",
                **fields,
            }
        )
        work.session.add(manifest)
        work.session.flush()
        names = list(shares) if shares is not None else []
        if shares is None:
            names = [(upload.id, secrets.token_hex(32)) for _number in range(segments)]
            for pack, sha256 in names:
                work.session.add(
                    Segment(
                        pack=pack,
                        sha256=sha256,
                        size=250_000,
                        storage=upload.storage,
                        audience=audience,
                        proved=True,
                        created_at=work.now,
                    )
                )
            work.session.flush()
        for pack, sha256 in names:
            work.session.add(ManifestSegment(manifest_id=manifest.id, pack=pack, sha256=sha256))
        service.tag_push(work, manifest, list(tags))
        return manifest.id


def _put_object(server: Server, upload: Upload, ending: str) -> str:
    """An index file in the storage, of which only the name is right."""
    data = secrets.token_bytes(32)
    name = f"{hashlib.sha256(data).hexdigest()}.{ending}"
    pack_of(server.services, upload.storage, upload.id).put(name, data)
    return name


def segments_of(server: Server, manifest_id: str) -> list[tuple[str, str]]:
    """Pack and SHA-256 of the segments of a manifest."""
    with server.services.database.reading() as session:
        found = session.query(ManifestSegment).filter_by(manifest_id=manifest_id)
        return sorted((use.pack, use.sha256) for use in found)


def audiences_of(server: Server, names: Sequence[tuple[str, str]]) -> list[str]:
    """The audience of each of these segments."""
    with server.services.database.reading() as session:
        return [session.get_one(Segment, name).audience for name in names]


def moment(text: str) -> datetime.datetime:
    """A moment as the server writes it."""
    return datetime.datetime.fromisoformat(text)
