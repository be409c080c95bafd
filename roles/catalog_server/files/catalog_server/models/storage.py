# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storages and packs."""

from __future__ import annotations

import datetime
import typing as t

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from catalog_server.models.base import Base, Name, ShortId, Timestamp, new_short_id

# Formats of packs, and of the content of manifests.
SEGMENTED = "segmented"
PDPACK = "pdpack"

# States of a pack: being written; a manifest has its index there; none has it there any more, but segments may still be
# used by others; its objects are gone; a restored database knows it as being written, and it may have been committed
# since the backup.
GROWING = "growing"
LIVE = "live"
CONDEMNED = "condemned"
GONE = "gone"
UNSURE = "unsure"


class Storage(Base):
    """A named place for objects. Under its prefix lies the mark of this catalog."""

    __tablename__ = "storages"

    name: Mapped[str] = mapped_column(Name, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    # Folder of all keys, and what else the provider needs: root, bucket, endpoint.
    prefix: Mapped[str] = mapped_column(String(255), default="")
    settings: Mapped[dict[str, t.Any]] = mapped_column(JSON, default=dict)
    # Its credentials, encrypted with a key of the server's ring.
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    # When the mark was written there; null: never used.
    marked_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)


class Pack(Base):
    """A folder of objects in one storage: of a push, a compaction, an import or an adoption."""

    __tablename__ = "packs"
    __table_args__ = (Index("ix_packs_state", "state", "condemned_at"), Index("ix_packs_storage", "storage"))

    id: Mapped[str] = mapped_column(ShortId, primary_key=True, default=new_short_id)
    storage: Mapped[str] = mapped_column(Name, ForeignKey("storages.name"))
    format: Mapped[str] = mapped_column(String(16), default=SEGMENTED)
    state: Mapped[str] = mapped_column(String(16), default=GROWING)
    # Who stored its objects: they may use them without a proof. Null once the user is deleted.
    user_id: Mapped[str | None] = mapped_column(ShortId, ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime.datetime] = mapped_column(Timestamp)
    # When its manifest was replaced or deleted.
    condemned_at: Mapped[datetime.datetime | None] = mapped_column(Timestamp)
    # When its objects are to be compared with what the database knows; null: nothing is left over.
    tidy_after: Mapped[datetime.datetime | None] = mapped_column(Timestamp, index=True)
    # Counts the changes of what its state.json says.
    state_number: Mapped[int] = mapped_column(BigInteger, default=0)
