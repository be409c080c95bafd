# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a signed URL was made for, and for whom. When that is over, the embedded storage refuses the URL at once.

A URL that reads a manifest's segments ends with the manifest: when it is deleted, tainted or revoked, or not for that
user any more. One that was made for an upload ends with the upload. Either ends with the credential, and with the
grant, that it was asked for with. A manifest whose content is replaced goes on: running pulls may finish.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog_server.access import Caller, Source
from catalog_server.catalog import queries as catalog_queries
from catalog_server.errors import Forbidden
from catalog_server.identity import authentication
from catalog_server.models.transfers import OPEN, Upload

MANIFEST = "manifest"
UPLOAD = "upload"
# Stands in no id, and needs no escape in a URL (RFC 3986, section 2.3).
_BETWEEN = "~"


@dataclass(frozen=True)
class Holder:
    """A manifest or an upload, the user who asked for it, and by what."""

    kind: str
    name: str
    user_id: str
    source: Source
    # Of a grant: its id and its number
    jti: str = ""
    grant_number: int = 0

    def text(self) -> str:
        """Return it as a URL carries it."""
        source = self.source
        parts = (
            *(self.kind, self.name, self.user_id, self.jti, str(self.grant_number)),
            *(source.kind, str(source.session), str(source.epoch), str(source.version), source.id),
        )
        return _BETWEEN.join(parts)

    @classmethod
    def parse(cls, text: str) -> Holder:
        """Return what a URL carries.

        :raises ValueError: it is not written like that
        """
        kind, name, user_id, jti, grant_number, source_kind, session, epoch, version, key_id = text.split(_BETWEEN)
        source = Source(source_kind, int(session), int(epoch), int(version), key_id)
        return cls(kind, name, user_id, source, jti, int(grant_number))


def of_manifest(caller: Caller, manifest_id: str) -> str:
    """The holder of URLs for a pull."""
    return _of(caller, MANIFEST, manifest_id)


def of_upload(caller: Caller, upload_id: str) -> str:
    """The holder of URLs for a push."""
    return _of(caller, UPLOAD, upload_id)


def _of(caller: Caller, kind: str, name: str) -> str:
    if caller.user_id is None or caller.source is None:
        raise Forbidden("Only a user can have signed URLs.")
    grant = caller.grant
    if grant is None:
        return Holder(kind, name, caller.user_id, caller.source).text()
    return Holder(kind, name, caller.user_id, caller.source, grant.jti, grant.number).text()


def user_of(session: Session, text: str, now: datetime.datetime) -> str | None:
    """Return the id of the user that a URL was made for; None if it must not open anything any more.

    ``text`` is believed: whoever calls has checked the signature.
    """
    try:
        holder = Holder.parse(text)
    except ValueError:
        return None
    caller = authentication.still_good(session, holder.user_id, holder.source, holder.jti, holder.grant_number, now)
    if caller is None:
        return None
    if holder.kind == UPLOAD:
        alive = select(Upload.user_id).where(Upload.id == holder.name, Upload.state == OPEN, Upload.expires_at > now)
        is_good = session.scalar(alive) == holder.user_id
    else:
        found = catalog_queries.manifest(session, caller, holder.name)
        is_good = found is not None and not found.tainted and not found.revoked
    return holder.user_id if is_good else None
