# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.
"""Signed URLs of a transfer, asked for ahead of their use and in a thread of their own.

So a metadata server that keeps silent does not stop a storage that works: the workers use the URLs that are there.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import (
    SEGMENTS,
    URLS_OF_A_PULL,
    URLS_OF_AN_UPLOAD,
    CatalogClient,
    ObjectName,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import TEMPORARY
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl

Key = t.TypeVar("Key", bound=t.Hashable)
Alive = t.Callable[[], None]
Clock = t.Callable[[], float]

# A URL is not used in its last 20 seconds, or in its last quarter if that is shorter.
_MARGIN_SECONDS = 20.0
# URLs that a pull holds in advance: 256 segments at first, of which half are left when more are asked for. They last
# for 200 seconds at 20 MB/s. Later it is twice as many as were used, so that a fast pull has enough for minutes and a
# slow one does not ask for what would expire unused.
_LEAST_AHEAD = 256
_MOST_AHEAD = URLS_OF_A_PULL
# URLs that are kept, in pages: one that waits for its use, and those that were used last, since a segment is read in
# several ranges. One URL may have 2 kB, and a pull of 1 TiB uses 33,000.
_KEPT_PAGES = 3
# How often a worker that waits for a URL looks whether the transfer has to end.
_LOOK_SECONDS = 1.0
# When nobody waits for the URLs that could not be got, they are asked for again so much later.
_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class _Known:
    signed: SignedUrl
    use_until: float
    renew_at: float


@dataclass(frozen=True)
class _Failed:
    error: Exception
    began_at: float


class UrlAsker(t.Generic[Key]):
    """Gets URLs by ``ask(keys)``, at most ``page`` at a time, in one thread that lives while there is something to ask.

    The URLs of the last three pages are kept. One that is used later than that is asked for again.
    ``alive`` is called while a worker waits for a URL; an exception of it ends the waiting. Several threads may
    use it.
    """

    def __init__(
        self,
        ask: t.Callable[[t.List[Key]], t.Mapping[Key, SignedUrl]],
        page: int,
        alive: Alive,
        clock: Clock = time.monotonic,
    ) -> None:
        self._ask = ask
        self._page = page
        self._alive = alive
        self._clock = clock
        self._changed = threading.Condition()
        # Both in the order in which they are asked for.
        self._known: dict[Key, _Known] = {}
        self._wanted: dict[Key, None] = {}
        self._asked: set[Key] = set()
        self._failed: dict[Key, _Failed] = {}
        self._pause_until = float("-inf")
        self._refusal: t.Optional[Exception] = None

    def get(self, key: Key, refused: t.Optional[SignedUrl]) -> SignedUrl:
        """Return a URL, and wait for it if there is none; ``refused`` is not good any more.

        :raises ApiError: the server was asked for it and did not send it
        """
        with self._changed:
            old = self._known.get(key)
            if old is not None and old.signed is not refused and self._clock() < old.use_until:
                return old.signed
            if self._refusal is not None:
                raise self._refusal
            came_at = self._clock()
            self._failed.pop(key, None)
            self._want([key])
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: key in self._failed or self._known.get(key, old) is not old, _LOOK_SECONDS
                )
                known = self._known.get(key)
                # Whatever its lifetime is, a URL that has just come is used.
                if known is not None and known is not old:
                    return known.signed
                failed = self._failed.get(key)
                if failed is not None:
                    # It stays there for the others that wait.
                    if failed.began_at > came_at - _PAUSE_SECONDS:
                        raise failed.error
                    # That request, and the patience with the server, began long before.
                    del self._failed[key]
                # It is wanted already, unless it came and was dropped before this thread had its turn.
                self._want([key])
            self._alive()

    def prefetch(self, keys: t.Iterable[Key]) -> None:
        """Ask for URLs that will be used soon, unless they are there; does not wait."""
        with self._changed:
            now = self._clock()
            if now >= self._pause_until:
                self._want(key for key in keys if key not in self._known or now >= self._known[key].renew_at)

    def _want(self, keys: t.Iterable[Key]) -> None:
        self._wanted.update(dict.fromkeys(key for key in keys if key not in self._asked))
        if self._wanted and not self._asked:
            # It ends by itself, at the latest when the patience with the server does.
            threading.Thread(target=self._run, args=(self._next_page(),), name="urls", daemon=True).start()

    def _next_page(self) -> list[Key]:
        page = list(self._wanted)[: self._page]
        for key in page:
            del self._wanted[key]
        self._asked = set(page)
        return page

    def _run(self, page: list[Key]) -> None:
        while page:
            began_at = self._clock()
            found: t.Mapping[Key, SignedUrl] = {}
            error: t.Optional[Exception] = None
            try:
                found = self._ask(page)
            except Exception as caught:
                error = caught
            with self._changed:
                self._keep(found, began_at)
                if error is not None:
                    self._failed.update(dict.fromkeys(page, _Failed(error, began_at)))
                    if not isinstance(error, TEMPORARY):
                        # The server has decided, and that holds for every URL.
                        self._refusal = error
                    self._pause_until = self._clock() + _PAUSE_SECONDS
                page = self._next_page()
                self._changed.notify_all()

    def _keep(self, found: t.Mapping[Key, SignedUrl], since: float) -> None:
        for key, signed in found.items():
            self._known.pop(key, None)
            self._known[key] = _known(signed, since)
        for key in list(self._known)[: -_KEPT_PAGES * self._page]:
            del self._known[key]


def _known(signed: SignedUrl, since: float) -> _Known:
    seconds = signed.lifetime_seconds
    return _Known(signed, since + seconds - min(_MARGIN_SECONDS, seconds / 4), since + seconds / 2)


class PullUrls:
    """URLs that read objects of one kind for a pull of a manifest, held in advance in the order of their use."""

    def __init__(
        self,
        catalog: CatalogClient,
        manifest_id: str,
        order: t.Iterable[ObjectName],
        alive: Alive = lambda: None,
        clock: Clock = time.monotonic,
        kind: str = SEGMENTS,
    ) -> None:
        self._order = list(dict.fromkeys(order))
        self._place = {key: number for number, key in enumerate(self._order)}
        self._asker: UrlAsker[ObjectName] = UrlAsker(
            lambda keys: catalog.object_urls(manifest_id, keys, kind), URLS_OF_A_PULL, alive, clock
        )
        self._clock = clock
        self._furthest = 0
        self._looked = (-1, float("-inf"))

    def __call__(self, key: ObjectName, refused: t.Optional[SignedUrl]) -> SignedUrl:
        """Return a URL that reads the object ``key``."""
        place = self._place.get(key)
        if place is None:
            # A damaged seed has its chunks in segments that nobody planned to read.
            return self._asker.get(key, refused)
        if place < self._furthest:
            # It is read once more, or late. The others from there on have been used, and may have been dropped.
            return self._asker.get(key, refused)
        self._furthest = place
        # In steps of half of what is held in advance, so that a request is for many.
        step = min(_MOST_AHEAD, max(_LEAST_AHEAD, 1 << place.bit_length())) // 2
        end = (place // step + 2) * step
        # Each look costs a little for each URL held, so there are few.
        if end != self._looked[0] or self._clock() >= self._looked[1] + _LOOK_SECONDS:
            self._looked = (end, self._clock())
            self._asker.prefetch(self._order[place:end])
        return self._asker.get(key, refused)


class ResumeUrls:
    """URLs that read segments of an open upload: those that came with it, and new ones when one is refused."""

    def __init__(self, catalog: CatalogClient, upload: Upload) -> None:
        self._catalog = catalog
        self._upload_id = upload.id
        self._urls = _urls_of(upload)
        self._lock = threading.Lock()

    def __call__(self, key: ObjectName, refused: t.Optional[SignedUrl]) -> SignedUrl:
        """Return a URL that reads the segment ``key``."""
        # Reading what an upload has already stops nobody: nothing else goes on meanwhile.
        with self._lock:
            if self._urls[key[1]] is refused:
                self._urls.update(_urls_of(self._catalog.upload(self._upload_id)))
            return self._urls[key[1]]


def _urls_of(upload: Upload) -> dict[str, SignedUrl]:
    return {stored.sha256: stored.signed for stored in upload.segments}


class UploadUrls:
    """URLs that store objects of one kind in one upload.

    A URL binds the SHA-256 of its object, so it can be asked for when the object is there, and not before. Those of
    objects that are finished while a request is under way are asked for together by the next one.
    """

    def __init__(
        self,
        catalog: CatalogClient,
        upload_id: str,
        alive: Alive = lambda: None,
        clock: Clock = time.monotonic,
        kind: str = SEGMENTS,
    ) -> None:
        self._asker: UrlAsker[t.Tuple[str, int]] = UrlAsker(
            lambda keys: _by_key(catalog, upload_id, keys, kind), URLS_OF_AN_UPLOAD, alive, clock
        )

    def __call__(self, key: t.Tuple[str, int], refused: t.Optional[SignedUrl]) -> SignedUrl:
        """Return a URL that stores the object ``key``, a SHA-256 and a size in bytes."""
        return self._asker.get(key, refused)


def _by_key(
    catalog: CatalogClient, upload_id: str, keys: t.Sequence[t.Tuple[str, int]], kind: str
) -> dict[t.Tuple[str, int], SignedUrl]:
    found = catalog.upload_urls(upload_id, keys, kind)
    return {key: found[key[0]] for key in keys}
