# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests put straight into the database of a server, for tests that are not about pushing."""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Sequence

from catalog_server.access import PASSWORD, Audience, Source
from catalog_server.catalog import queries, service, tagging
from catalog_server.identity import queries as people
from catalog_server.identity.standing import standing_of
from catalog_server.models.base import new_short_id
from catalog_server.models.catalog import AudienceText, Manifest, ManifestSegment, SegmentedContent
from catalog_server.models.storage import LIVE, Pack
from catalog_server.models.transfers import COMMITTED, Segment, Upload
from catalog_server.transfers.holders import Holder
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
    content_fields = {name: fields.pop(name) for name in list(fields) if name in SegmentedContent.__table__.columns}
    with command_work(server.services) as work:
        audience = queries.audience_row(work.session, Audience.of(roles, claims).text())
        pack = Pack(id=new_short_id(), storage=work.settings.storage_name, state=LIVE, created_at=work.now)
        upload = Upload(
            id=pack.id,
            pack=pack,
            catalog_id=catalog_id or new_catalog_id(),
            version=version,
            architecture=architecture,
            chunk_size=1 << 18,
            fields={},
            audience_text=audience,
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
                "audience_text": audience,
                "format": "segmented",
                "push_number": service.next_push_number(work, upload.catalog_id),
                "created_at": work.now,
                "pushed_at": work.now,
                "updated_at": work.now,
                "created_by": "pusher",
                **fields,
            }
        )
        manifest.content = SegmentedContent(
            **{
                "digest": secrets.token_hex(32),
                "chunk_size": 1 << 18,
                "chunks": 8,
                "files": 3,
                "logical_bytes": 2_000_000,
                "data_bytes": 1_000_000,
                "stored_bytes": 500_000,
                "index_bytes": 5_000,
                "pack": upload.id,
                "listing_object": _put_object(server, upload, "listing"),
                "locator_object": _put_object(server, upload, "locator"),
                **content_fields,
            }
        )
        work.session.add(manifest)
        work.session.flush()
        names = list(shares) if shares is not None else []
        if shares is None:
            names = [(upload.id, secrets.token_hex(32)) for _number in range(segments)]
            for pack_id, sha256 in names:
                work.session.add(
                    Segment(
                        pack=pack_id,
                        sha256=sha256,
                        size=250_000,
                        audience_id=audience.id,
                        proved=True,
                        created_at=work.now,
                    )
                )
            work.session.flush()
        for pack_id, sha256 in names:
            work.session.add(ManifestSegment(manifest_id=manifest.id, pack=pack_id, sha256=sha256))
        tagging.tag_push(work, manifest, list(tags))
        return manifest.id


def _put_object(server: Server, upload: Upload, ending: str) -> str:
    """An index file in the storage, of which only the name is right."""
    data = secrets.token_bytes(32)
    name = f"{hashlib.sha256(data).hexdigest()}.{ending}"
    pack_of(server.services, upload.storage, upload.id).put(name, data)
    return name


def holder_of(server: Server, kind: str, name: str, username: str = "pusher") -> str:
    """Whom a URL is for: a user of the tests who has just logged in."""
    with server.services.database.reading() as session:
        user = people.user_called(session, username)
        standing = standing_of(session, user.id) if user is not None else None
    assert standing is not None
    source = Source(PASSWORD, standing.session_number, standing.epoch, version=standing.password_version)
    return Holder(kind, name, standing.user_id, source).text()


def segments_of(server: Server, manifest_id: str) -> list[tuple[str, str]]:
    """Pack and SHA-256 of the segments of a manifest."""
    with server.services.database.reading() as session:
        found = session.query(ManifestSegment).filter_by(manifest_id=manifest_id)
        return sorted((use.pack, use.sha256) for use in found)


def audiences_of(server: Server, names: Sequence[tuple[str, str]]) -> list[str]:
    """The audience of each of these segments."""
    with server.services.database.reading() as session:
        found = [session.get_one(Segment, name) for name in names]
        return [session.get_one(AudienceText, one.audience_id).text for one in found]


def moment(text: str) -> datetime.datetime:
    """A moment as the server writes it."""
    return datetime.datetime.fromisoformat(text)
