# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what. Pure: it decides from what it is given.

A manifest is for an **audience**: its required roles and its required claims. A caller belongs to it who has any of the
roles, if there are some, and any of the claims, if there are some; and so does whoever has the role SUPER_USER. To all
others the manifest does not exist.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses

from catalog_server.errors import BadRequest, Forbidden, GrantScope, Unauthenticated
from catalog_server.names import MAX_REQUIRED

SUPER_USER = "SUPER_USER"
ADMIN = "ADMIN"
USER = "USER"
READER = "READER"
PUBLISHER = "PUBLISHER"
MANAGER = "MANAGER"

LIST_MANIFESTS = "LIST_CATALOG_MANIFEST"
CREATE_MANIFESTS = "CREATE_CATALOG_MANIFEST"
UPDATE_MANIFESTS = "UPDATE_CATALOG_MANIFEST"
MANAGER_UPDATE = "CATALOG_MANAGER_UPDATE"
DELETE_MANIFESTS = "DELETE_CATALOG_MANIFEST"
PULL_MANIFESTS = "PULL_CATALOG_MANIFEST"
PUSH_MANIFESTS = "PUSH_CATALOG_MANIFEST"
IMPORT_MANIFESTS = "IMPORT_CATALOG_MANIFEST"

# Rights that the stock service does not know.
TAINT_MANIFESTS = "TAINT_CATALOG_MANIFEST"
REVOKE_MANIFESTS = "REVOKE_CATALOG_MANIFEST"
MANAGE_CATALOG_IDS = "MANAGE_CATALOG_IDS"
MANAGE_USERS = "MANAGE_USERS"
READ_AUDIT = "READ_AUDIT"
MANAGE_JOBS = "MANAGE_JOBS"

# The names are those of the stock service, and so is what a plain user has of them.
STOCK_CLAIMS = (
    LIST_MANIFESTS,
    CREATE_MANIFESTS,
    UPDATE_MANIFESTS,
    MANAGER_UPDATE,
    DELETE_MANIFESTS,
    PULL_MANIFESTS,
    PUSH_MANIFESTS,
    IMPORT_MANIFESTS,
    "READ_ONLY",
    "LIST",
    "CREATE",
    "UPDATE",
    "DELETE",
)
CLAIMS = (*STOCK_CLAIMS, TAINT_MANIFESTS, REVOKE_MANIFESTS, MANAGE_CATALOG_IDS, MANAGE_USERS, READ_AUDIT, MANAGE_JOBS)
_READS = (LIST_MANIFESTS, PULL_MANIFESTS)
_PUBLISHES = (*_READS, PUSH_MANIFESTS)
ROLES = {
    USER: ("READ_ONLY", "LIST", LIST_MANIFESTS),
    ADMIN: STOCK_CLAIMS,
    SUPER_USER: CLAIMS,
    READER: _READS,
    PUBLISHER: _PUBLISHES,
    MANAGER: (
        *_PUBLISHES,
        UPDATE_MANIFESTS,
        DELETE_MANIFESTS,
        TAINT_MANIFESTS,
        REVOKE_MANIFESTS,
        MANAGE_CATALOG_IDS,
    ),
}


PULL = "pull"
PUSH = "push"


PASSWORD = "password"
API_KEY = "api_key"


@dataclass(frozen=True)
class Source:
    """The credential that a token or grant goes back to, and dies with.

    ``version`` is that of the password, ``id`` that of the API key. ``session`` is how often its user had been logged
    out everywhere when it was presented: a number, since the clocks of replicas differ. ``catalog`` is the id of the
    catalog that it was presented to, and ``epoch`` that of the catalog.
    """

    kind: str
    session: int
    epoch: int
    version: int = 0
    id: str = ""
    catalog: str = ""


@dataclass(frozen=True)
class Grant:
    """What a grant says: one transfer, and nothing else."""

    jti: str
    user_id: str
    source: Source
    verb: str
    catalog_id: str
    # The digest of each manifest that may be pulled, by its id.
    manifests: Mapping[str, str]
    bases: frozenset[str]
    version: str | None
    architecture: str | None
    # How often all grants of the user had been ended when it was minted
    number: int
    first_minted_at: float
    expires_at: int


@dataclass(frozen=True)
class Caller:
    """Who asks, with the rights of this moment; ``credential`` is token, api_key, grant, login or command."""

    user_id: str | None
    username: str
    roles: frozenset[str]
    claims: frozenset[str]
    credential: str
    grant: Grant | None = None
    source: Source | None = None
    # How often all grants of this user have been ended
    grant_number: int = 0
    # Somebody else has made the credential, who did not have all rights: it may not open all that its user's others do.
    is_limited: bool = False

    @property
    def is_super_user(self) -> bool:
        return SUPER_USER in self.roles


# The administrator at the command line of the server
COMMAND = Caller(None, "catalog-server", frozenset({SUPER_USER}), frozenset(), "command")


@dataclass(frozen=True)
class Audience:
    """Required roles and claims, in the order of their names."""

    roles: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    @classmethod
    def of(cls, roles: Iterable[str], claims: Iterable[str]) -> Audience:
        """The audience that a user wrote."""
        names = [tuple(sorted({addresses.normalise_right(name) for name in part})) for part in (roles, claims)]
        if any(len(part) > MAX_REQUIRED for part in names):
            raise BadRequest(f"At most {MAX_REQUIRED} roles and {MAX_REQUIRED} claims can be required.")
        return cls(*names)

    def edited(self, roles: Iterable[str] | None, claims: Iterable[str] | None) -> Audience:
        """This audience with what a user wrote in place of what is not None."""
        return Audience.of(self.roles if roles is None else roles, self.claims if claims is None else claims)

    @staticmethod
    @functools.lru_cache(maxsize=4096)
    def parse(text: str) -> Audience:
        """Read what ``text`` wrote."""
        data = json.loads(text)
        return Audience(tuple(data["roles"]), tuple(data["claims"]))

    def text(self) -> str:
        """Equal texts are equal audiences."""
        return json.dumps({"claims": self.claims, "roles": self.roles}, separators=(",", ":"), ensure_ascii=True)

    def admits(self, caller: Caller) -> bool:
        """Whether the caller belongs to it."""
        if caller.is_super_user:
            return True
        return (not self.roles or not caller.roles.isdisjoint(self.roles)) and (
            not self.claims or not caller.claims.isdisjoint(self.claims)
        )

    def lies_within(self, other: Audience) -> bool:
        """Whether everybody it can ever admit is admitted by ``other``, too."""
        return _stricter(self.roles, other.roles) and _stricter(self.claims, other.claims)


def _stricter(names: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return not others or (bool(names) and set(names) <= set(others))


@dataclass(frozen=True)
class Needs:
    """What a unit of work demands of its caller; it is named where the unit begins.

    ``claims``: any of them. ``super_user``: the role. Users only, unless grants are let in: ``pull_of`` takes a grant
    to pull that manifest, ``base_of`` one to push that names that manifest as base, ``push`` any grant to push (its
    address is then checked with ``check_push``), ``renewal`` any grant at all.
    """

    claims: tuple[str, ...] = ()
    super_user: bool = False
    pull_of: str | None = None
    base_of: str | None = None
    push: bool = False
    renewal: bool = False


# Any user, but no grant
KNOWN = Needs()
SUPER = Needs(super_user=True)
READ = Needs(claims=(LIST_MANIFESTS,))
EDIT = Needs(claims=(UPDATE_MANIFESTS, MANAGER_UPDATE))
DELETE = Needs(claims=(DELETE_MANIFESTS,))
TAINT = Needs(claims=(TAINT_MANIFESTS,))
REVOKE = Needs(claims=(REVOKE_MANIFESTS,))
MANAGE_IDS = Needs(claims=(MANAGE_CATALOG_IDS,))
MANAGE_PEOPLE = Needs(claims=(MANAGE_USERS,))
AUDIT = Needs(claims=(READ_AUDIT,))
JOBS = Needs(claims=(MANAGE_JOBS,))
MINT_PUSH = Needs()
RENEW = Needs(claims=(LIST_MANIFESTS,), renewal=True)
TRANSFER_IN = Needs(push=True)


def reading_content_of(manifest_id: str) -> Needs:
    """Reading index or segments of a manifest: a user, a grant to pull it, or one to push onto it."""
    return Needs(claims=(LIST_MANIFESTS,), pull_of=manifest_id, base_of=manifest_id)


def pulling(manifest_id: str) -> Needs:
    """What only a pull of a manifest needs: a user, or a grant to pull it."""
    return Needs(claims=(LIST_MANIFESTS,), pull_of=manifest_id)


def no_credentials() -> Unauthenticated:
    """The error of a request that says nothing of who sends it."""
    return Unauthenticated("This needs credentials: a token, an API key or a grant.")


def check(caller: Caller | None, needs: Needs) -> Caller:
    """The caller, if it fulfils what is needed.

    :raises Unauthenticated: there is none
    :raises GrantScope: it came with a grant for something else
    :raises Forbidden: it lacks a right
    """
    if caller is None:
        raise no_credentials()
    if caller.grant is not None and not _lets_in(caller.grant, needs):
        raise GrantScope("This grant was made for another transfer and opens nothing else.")
    if caller.is_super_user:
        return caller
    if needs.super_user:
        raise Forbidden(f"You need the role {SUPER_USER} for this.")
    # Whether a user may push is a matter of the catalog id: see catalog/authority.py.
    claims = () if caller.grant is not None and caller.grant.verb == PUSH else needs.claims
    if claims and caller.claims.isdisjoint(claims):
        raise Forbidden(f"You need the claim {' or '.join(claims)} for this.")
    return caller


def _lets_in(grant: Grant, needs: Needs) -> bool:
    if needs.renewal:
        return True
    if grant.verb == PULL:
        return needs.pull_of is not None and needs.pull_of in grant.manifests
    return needs.push or (needs.base_of is not None and needs.base_of in grant.bases)


def check_push(caller: Caller, catalog_id: str, version: str, architecture: str, bases: Iterable[str] = ()) -> None:
    """Raise GrantScope if the caller came with a grant that is not for this push."""
    grant = caller.grant
    if grant is None:
        return
    if (
        grant.catalog_id != catalog_id
        or grant.version != version
        or grant.architecture not in (None, architecture)
        or not grant.bases.issuperset(bases)
    ):
        raise GrantScope("This grant was made for another push, or names other bases.")
