# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A writer of users, roles and API keys, and what a server must hold of them."""

from __future__ import annotations

import random
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from running import Server
from transfer_client import Client, good
from writers import ask

_ROLES = ("USER", "STAFF")
_MOST_USERS = 4
# Of the keys that are good no more, so many of the newest are tried after each kill: with all of them each of many
# kills would take longer than the one before.
_MOST_ENDED_KEYS = 20


@dataclass(frozen=True)
class Person:
    """What a writer knows of a user. ``keys`` are the API keys: of each, True until it is revoked."""

    roles: frozenset[str]
    claims: frozenset[str]
    keys: Mapping[str, bool] = field(default_factory=dict)


People = dict[str, Person]


@dataclass
class PeopleWriter:
    """Adds, edits and deletes users, makes and revokes their API keys, and makes a role for each."""

    prefix: str
    choice: random.Random
    audited: list[tuple[str, str]] = field(default_factory=list)
    people: People = field(default_factory=dict)
    perhaps: People | None = None
    roles: set[str] = field(default_factory=set)
    secrets: dict[str, str] = field(default_factory=dict)
    _added: int = 0

    def connect(self, server: Server) -> None:
        self._client = Client.of(server, "admin")

    def step(self) -> None:
        if len(self.people) < 2 or (len(self.people) < _MOST_USERS and self.choice.random() < 0.2):
            self._add()
            return
        name = self.choice.choice(sorted(self.people))
        person = self.people[name]
        action = self.choice.choice(("edit", "role", "key", "key", "revoke", "delete"))
        usable = sorted(key for key, is_good in person.keys.items() if is_good)
        if action == "edit":
            self._edit(name, person)
        elif action == "role":
            self._role(f"{self.prefix}_{self.choice.randint(1, 100)}".upper().replace("-", "_"))
        elif action == "key":
            self._key(name, person)
        elif action == "revoke" and usable:
            self._revoke(name, person, self.choice.choice(usable))
        elif action == "delete":
            left = {other: one for other, one in self.people.items() if other != name}
            self._send("user.delete", "DELETE", f"/users/{name}", left)

    def _rights(self) -> tuple[frozenset[str], frozenset[str]]:
        roles = self.choice.sample(_ROLES, self.choice.randint(1, 2))
        return frozenset(roles), frozenset(["READ_ONLY"] if self.choice.random() < 0.5 else [])

    def _send(self, action: str, method: str, path: str, wanted: People, **body: t.Any) -> t.Any:
        self.perhaps = wanted
        more = {"json": body} if body else {}
        answer = ask(lambda: self._client.http.request(method, path, **more))  # type: ignore[arg-type]
        result = good(answer)
        if self.perhaps != self.people:
            self.audited.append((answer.headers["x-request-id"], action))
        self.people, self.perhaps = wanted, None
        return result

    def _add(self) -> None:
        self._added += 1
        name = f"{self.prefix}-{self._added}"
        roles, claims = self._rights()
        wanted = {**self.people, name: Person(roles, claims)}
        body = {"username": name, "roles": sorted(roles), "claims": sorted(claims)}
        self._send("user.add", "POST", "/users", wanted, **body)

    def _edit(self, name: str, person: Person) -> None:
        roles, claims = self._rights()
        wanted = {**self.people, name: replace(person, roles=roles, claims=claims)}
        self._send("user.edit", "PATCH", f"/users/{name}", wanted, roles=sorted(roles), claims=sorted(claims))

    def _role(self, role: str) -> None:
        answer = ask(lambda: self._client.http.put(f"/roles/{role}", json={"claims": ["READ_ONLY"]}))
        if good(answer)["changed"]:
            self.audited.append((answer.headers["x-request-id"], "role.add"))
        self.roles.add(role)

    def _key(self, name: str, person: Person) -> None:
        answer = ask(
            lambda: self._client.http.post(f"/users/{name}/api_keys", json={"name": "a key", "expires_in": None})
        )
        made = good(answer)
        self.audited.append((answer.headers["x-request-id"], "api_key.add"))
        self.people[name] = replace(person, keys={**person.keys, made["key"]: True})
        self.secrets[made["key"]] = made["secret"]

    def _revoke(self, name: str, person: Person, key: str) -> None:
        wanted = {**self.people, name: replace(person, keys={**person.keys, key: False})}
        self._send("api_key.revoke", "DELETE", f"/api_keys/{key}", wanted)

    def check(self) -> None:
        found = self._found({*self.people, *(self.perhaps or {})})
        if self.perhaps is not None:
            self.perhaps = {name: self._with_keys(found, name, one) for name, one in self.perhaps.items()}
        self.people = {name: self._with_keys(found, name, one) for name, one in self.people.items()}
        assert found in (self.people, self.perhaps), (found, self.people, self.perhaps)
        self.people, self.perhaps = found, None
        for role in self.roles:
            assert good(self._client.http.get(f"/roles/{role}"))["claims"] == ["READ_ONLY"]
        usable = {key for person in self.people.values() for key, is_good in person.keys.items() if is_good}
        for key, secret in self.secrets.items():
            answer = self._client.anybody.get(f"{self._client.http.base_url}me", headers={"X-Api-Key": secret})
            assert answer.status_code == (200 if key in usable else 401), answer.text
        for key in [key for key in self.secrets if key not in usable][:-_MOST_ENDED_KEYS]:
            del self.secrets[key]

    def _with_keys(self, found: People, name: str, person: Person) -> Person:
        """With the keys that the server made, and whose secrets it could tell nobody."""
        untold = {key: True for key in found.get(name, person).keys if key not in self.secrets}
        return replace(person, keys={**untold, **person.keys})

    def _found(self, names: set[str]) -> People:
        found = {}
        for name in names:
            answer = self._client.http.get(f"/users/{name}")
            if answer.status_code != 404:
                record = good(answer)
                keys = good(self._client.http.get(f"/users/{name}/api_keys"))["api_keys"]
                states = {one["key"]: one["revoked_at"] is None for one in keys}
                found[name] = Person(frozenset(record["roles"]), frozenset(record["claims"]), states)
        return found
