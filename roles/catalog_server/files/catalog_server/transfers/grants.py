# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Grants: made for one transfer, renewed while it goes on, taken back before their time.

Nothing is stored of a grant that is in order, so making one changes nothing. One that is taken back is remembered
until long after it could have been renewed.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.access import PULL, PUSH, Grant
from catalog_server.catalog import authority
from catalog_server.catalog import queries as catalog_queries
from catalog_server.catalog import service as catalog
from catalog_server.errors import BadRequest, Forbidden, GrantExpired, NotFound, Replaced
from catalog_server.identity import authority as authority_of_users
from catalog_server.identity import service as users
from catalog_server.identity import tokens
from catalog_server.models.catalog import Manifest
from catalog_server.models.identity import DeniedGrant, GrantUse
from catalog_server.models.transfers import Upload
from catalog_server.transfers import queries
from catalog_server.unit_of_work import UnitOfWork

SUBJECT = "grant"
MAX_BASES = 8
MAX_LISTED = 1000
# A clock that was ahead for less than this and went back brings no grant back: its denial was not forgotten there.
_DENIALS_KEPT = datetime.timedelta(days=90)

_log = logging.getLogger("catalog_server.grants")


@dataclass(frozen=True)
class Minted:
    """A grant as its holder gets it; it is good for ``expires_in`` seconds."""

    grant: Grant
    token: str = field(repr=False)
    expires_in: int
    manifests: Sequence[Manifest] = ()
    bases: Sequence[Manifest] = ()


def mint_pull(work: UnitOfWork, catalog_id: str, version: str | None, architecture: str | None) -> Minted:
    """A grant to pull what a version, tag or range means now. With it comes what it does not open, being blocked.

    :raises Missing, Blocked, InvalidAddress: as ``catalog.resolve_each``
    """
    manifests, blocked = catalog.resolve_each(work, catalog_id, version, architecture)
    minted = _mint(work, PULL, manifests[0].catalog_id, None, architecture, manifests, ())
    return replace(minted, manifests=[*manifests, *blocked])


def mint_push(
    work: UnitOfWork,
    catalog_id: str,
    version: str,
    architecture: str | None,
    base_versions: Sequence[str] | None,
    roles: Sequence[str] | None,
    claims: Sequence[str] | None,
) -> Minted:
    """A grant to push that version; with it comes what is there already, and the bases that the push may refer to.

    ``roles`` and ``claims`` are what the push will require, None what the version requires already.

    :raises Forbidden, CatalogIdDenied: the caller may not push there
    :raises Missing, Blocked: a base that was asked for is not there, or must not be pulled
    """
    catalog_id = addresses.normalise_catalog_id(catalog_id)
    version = addresses.normalise_version(version)
    if version == addresses.LATEST:
        raise BadRequest(f"{addresses.LATEST!r} is the name of a tag that moves by itself, and no version.")
    architecture = addresses.normalise_architecture(architecture) if architecture else None
    authority.require_push(work, catalog_id)
    there = catalog_queries.candidates(work.session, work.caller, catalog_id, architecture)
    if base_versions is None:
        bases = catalog.default_bases(there, version, roles, claims)
    else:
        bases = [base for text in base_versions for base in catalog.resolve(work, catalog_id, text, architecture)]
    existing = [manifest for manifest in there if manifest.version == version]
    return _mint(work, PUSH, catalog_id, version, architecture, existing, bases)


def _mint(
    work: UnitOfWork,
    verb: str,
    catalog_id: str,
    version: str | None,
    architecture: str | None,
    manifests: Sequence[Manifest],
    bases: Sequence[Manifest],
) -> Minted:
    if work.caller.user_id is None or work.caller.source is None:
        raise Forbidden("Only a user can have a grant.")
    now = work.now.timestamp()
    expires_at = int(now) + work.settings.grant_seconds
    grant = Grant(
        jti=tokens.new_jti(work.services.keys, work.caller.user_id),
        user_id=work.caller.user_id,
        source=work.caller.source,
        verb=verb,
        catalog_id=catalog_id,
        manifests={manifest.id: manifest.segmented.digest for manifest in manifests} if verb == PULL else {},
        bases=frozenset(base.id for base in bases),
        version=version,
        architecture=addresses.normalise_architecture(architecture) if architecture else None,
        number=work.caller.grant_number,
        first_minted_at=now,
        expires_at=expires_at,
    )
    # The only traces of a grant, so that one can be taken back of which nothing else is at hand.
    said = {"verb": verb, "catalog_id": catalog_id, "version": version, "manifests": sorted(grant.manifests)}
    work.services.behind.notes.add(work.note("grant.mint", SUBJECT, grant.jti, **said))
    _log.info(
        "grant minted",
        extra={"grant": grant.jti, "user": work.caller.username, "verb": verb, "catalog_id": catalog_id},
    )
    return Minted(grant, tokens.encode_grant(work.services.keys, grant), expires_at - int(now), manifests, bases)


def renew(work: UnitOfWork) -> Minted:
    """The next grant for the one that the caller came with: the same, less what it would not get any more.

    :raises GrantExpired: it is too old to be renewed
    :raises UnknownManifest, Blocked: the caller may not pull that any more
    """
    grant = work.caller.grant
    if grant is None:
        raise BadRequest("Only a grant can be renewed: send it as the bearer token.")
    if grant.verb == PUSH:
        authority.require_push(work, grant.catalog_id)
    now = int(work.now.timestamp())
    end = int(grant.first_minted_at) + work.settings.grant_limit_seconds
    if now >= end:
        raise GrantExpired("The grant is too old to be renewed.")
    renewed = replace(
        grant,
        manifests=_still_pullable(work, grant.manifests),
        bases=frozenset(base for base in grant.bases if _may_pull(work, base)),
        expires_at=min(now + work.settings.grant_seconds, end),
    )
    return Minted(renewed, tokens.encode_grant(work.services.keys, renewed), renewed.expires_at - now)


def _still_pullable(work: UnitOfWork, manifests: Mapping[str, str]) -> Mapping[str, str]:
    """Those that may be pulled and have the same content; an error if there were some and none is left."""
    left = {one: digest for one, digest in manifests.items() if _may_pull(work, one, digest)}
    if manifests and not left:
        found = catalog.pullable(work, min(manifests))
        raise Replaced.of(found.catalog_id, found.version)
    return left


def _may_pull(work: UnitOfWork, manifest_id: str, digest: str | None = None) -> bool:
    found = catalog_queries.manifest(work.session, work.caller, manifest_id)
    return found is not None and not found.tainted and not found.revoked and (digest is None or found.digest == digest)


@dataclass(frozen=True)
class InUse:
    """What is known of the transfers of a user: nothing is stored of a grant before it is used."""

    pulls: Sequence[GrantUse]
    uploads: Sequence[Upload]


def in_use(work: UnitOfWork, name: str | None) -> InUse:
    """The transfers of a user, by default of the caller.

    :raises Forbidden: it is somebody else, and the caller manages no users
    """
    user = authority_of_users.own_or_managed(work, name if name is not None else work.caller.user_id or "")
    uses = queries.grants_in_use(work.session, user.id, work.now, MAX_LISTED)
    after = user.grants_valid_after, user.sessions_valid_after
    ended = max((at for at in after if at is not None), default=None)
    pulls = [use for use in uses if ended is None or use.used_at > ended]
    return InUse(pulls, queries.uploads_of(work.session, user.id, work.now, MAX_LISTED))


def end_all(work: UnitOfWork, name: str | None) -> None:
    """Let every grant of a user, by default of the caller, be worth nothing any more."""
    users.end_grants(work, name if name is not None else work.caller.user_id or "")


def deny(work: UnitOfWork, jti: str) -> None:
    """Take a grant back, for its owner or a super user.

    :raises NotFound: it is neither's
    """
    own = work.caller.user_id is not None and jti.startswith(f"{work.caller.user_id}-")
    if not tokens.is_jti(work.services.keys, jti) or not (own or work.caller.is_super_user):
        raise NotFound(f"There is no grant {jti}, or it is not yours.")
    if not queries.is_denied(work.session, jti):
        # However young it is, it cannot be renewed longer than this.
        forget_at = work.in_seconds(work.settings.grant_limit_seconds) + _DENIALS_KEPT
        work.session.add(DeniedGrant(jti=jti, denied_at=work.now, forget_at=forget_at))
        work.record("grant.revoke", SUBJECT, jti)
