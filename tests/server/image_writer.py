# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A writer of images: pushes, edits, tags, taints, revocations and deletions, and what a server must hold of them."""

from __future__ import annotations

import random
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx
from packs import CHUNK_SIZE, HandMade, make_pack, sha256
from running import Server
from transfer_client import Client, good
from writers import ask

TAGS = ("stable", "beta")
_MOST_IMAGES = 6


@dataclass(frozen=True)
class Image:
    """What a writer knows of a version."""

    id: str
    digest: str
    description: str = ""
    tags: frozenset[str] = frozenset()
    tainted: bool = False
    revoked: bool = False

    @classmethod
    def of(cls, record: Mapping[str, t.Any]) -> Image:
        """As the server describes it."""
        return cls(
            record["id"],
            record["digest"],
            record["description"],
            frozenset(record["tags"]),
            record["tainted"],
            record["revoked"],
        )


Images = dict[int, Image]


def _with_latest(images: Images) -> Images:
    """Put ``latest`` where it belongs: at the version that was pushed last, which has the greatest number."""
    newest = max(images, default=None)
    return {
        number: replace(image, tags=(image.tags - {"latest"}) | ({"latest"} if number == newest else set()))
        for number, image in images.items()
    }


@dataclass
class _Push:
    """A push that is not known to have been committed."""

    number: int
    upload_id: str
    revision: str
    pack: HandMade
    stored: set[str] = field(default_factory=set)
    is_sent: bool = False


@dataclass
class ImageWriter:
    """Pushes versions of one catalog id, moves their tags, taints, revokes and deletes them."""

    catalog_id: str
    choice: random.Random
    audited: list[tuple[str, str]] = field(default_factory=list)
    images: Images = field(default_factory=dict)
    # What is there if the last request, to which no answer came, was done.
    perhaps: Images | None = None
    push: _Push | None = None
    _pushed: int = 0
    # The version whose begin was asked for last
    _asked: int = 0

    def connect(self, server: Server) -> None:
        self._client = Client.of(server, "admin")

    def step(self) -> None:
        if len(self.images) > _MOST_IMAGES:
            self._change("delete", self.choice.choice(sorted(self.images)))
        elif self.push is not None or not self.images or self.choice.random() < 0.3:
            self._push_on()
        else:
            action = self.choice.choice(("edit", "edit", "tags", "tags", "taint", "untaint", "revoke", "delete"))
            self._change(action, self.choice.choice(sorted(self.images)))

    def _push_on(self) -> None:
        """Begin a push, store one of its objects, or commit it."""
        if self.push is None:
            self._begin()
            return
        push = self.push
        left = sorted(set(push.pack.segments) - push.stored)
        if left:
            urls = ask(lambda: self._client.store_urls(push.upload_id, {left[0]: len(push.pack.segments[left[0]])}))
            url = good(urls)["urls"][0]["url"]
            good(ask(lambda: self._client.anybody.put(url, content=push.pack.segments[left[0]])))
            push.stored.add(left[0])
            return
        push.is_sent = True
        answer = ask(lambda: self._client.commit(push.upload_id, push.pack.index, push.revision))
        self._committed(push, good(answer))
        self.audited.append((answer.headers["x-request-id"], "manifest.push"))

    def _begin(self) -> None:
        number = self._pushed + 1
        # One that was asked for before, and not answered, may have been done: then this one changes nothing.
        is_first = number != self._asked
        self._asked = number
        answer = ask(lambda: self._client.begin(self.catalog_id, f"1.{number}"))
        upload_id, revision = good(answer)["id"], answer.json()["revision"]
        if is_first:
            self.audited.append((answer.headers["x-request-id"], "upload.begin"))
        self._pushed = number
        files = {"disk": self.choice.randbytes(self.choice.randint(1, 3) * CHUNK_SIZE)}
        self.push = _Push(number, upload_id, revision, make_pack(upload_id, files, segment_bytes=CHUNK_SIZE))

    def _committed(self, push: _Push, record: Mapping[str, t.Any]) -> None:
        assert (record["digest"], record["version"]) == (push.pack.digest, f"1.{push.number}")
        self.images = _with_latest({**self.images, push.number: Image.of(record)})
        assert self.images[push.number] == Image.of(record)
        self.push = None

    def _change(self, action: str, number: int) -> None:
        image = self.images[number]
        if action == "edit":
            text = f"edit {self.choice.random()}"
            self._send("PATCH", image, {"description": text}, {number: replace(image, description=text)})
        elif action == "tags":
            wanted = frozenset(self.choice.sample(TAGS, self.choice.randint(0, len(TAGS))))
            moved = {other: replace(one, tags=one.tags - wanted) for other, one in self.images.items()}
            moved[number] = replace(image, tags=wanted | (image.tags & {"latest"}))
            self._send("PATCH", image, {"tags": sorted(wanted)}, moved)
        elif action == "delete":
            left = {other: one for other, one in self.images.items() if other != number}
            self._delete(image, _with_latest(left))
        elif action == "revoke":
            self._send("revoke", image, {}, {number: replace(image, revoked=True)})
        elif action in ("taint", "untaint") and not image.revoked:
            self._send(action, image, {}, {number: replace(image, tainted=action == "taint")})

    def _send(self, verb: str, image: Image, body: Mapping[str, t.Any], changed: Images) -> None:
        wanted = {**self.images, **changed}
        method, path = ("PATCH", "") if verb == "PATCH" else ("POST", f"/{verb}")
        self.perhaps = wanted
        answer = ask(lambda: self._client.http.request(method, f"/manifests/{image.id}{path}", json=body or None))
        record = good(answer)
        self._known(answer, "edit" if verb == "PATCH" else verb)
        assert Image.of(record) in self.images.values()

    def _delete(self, image: Image, left: Images) -> None:
        self.perhaps = left
        answer = ask(lambda: self._client.http.delete(f"/manifests/{image.id}"))
        good(answer)
        self._known(answer, "delete")

    def _known(self, answer: httpx.Response, action: str) -> None:
        assert self.perhaps is not None
        # The server writes down what changes, and nothing else.
        if self.perhaps != self.images:
            self.audited.append((answer.headers["x-request-id"], f"manifest.{action}"))
        self.images, self.perhaps = self.perhaps, None

    def check(self) -> None:
        found = self._found()
        push = self.push
        if push is not None and push.is_sent and push.number in found:
            # All of it, though nobody was told.
            record = good(self._client.commit(push.upload_id, push.pack.index, push.revision))
            self._committed(push, record)
        elif push is not None:
            self._check_upload(push)
        assert found in (self.images, self.perhaps), (found, self.images, self.perhaps)
        self.images, self.perhaps = found, None

    def _check_upload(self, push: _Push) -> None:
        said = good(self._client.http.get(f"/uploads/{push.upload_id}"))
        assert said["revision"] == push.revision
        there = {one["sha256"]: one for one in said["segments"]}
        assert push.stored <= set(there), "an object that was stored is not there"
        assert set(there) <= set(push.pack.segments)
        for name, one in there.items():
            stored = self._client.anybody.get(one["url"])
            assert (stored.status_code, sha256(stored.content)) == (200, name)
        push.is_sent = False

    def _found(self) -> Images:
        page = good(self._client.http.get("/manifests", params={"catalog_id": self.catalog_id, "limit": 200}))
        assert page["next"] is None
        return {int(one["version"].partition(".")[2]): Image.of(one) for one in page["manifests"]}
