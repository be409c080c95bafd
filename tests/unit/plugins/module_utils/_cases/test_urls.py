# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
import time
import tracemalloc
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import (
    BadReply,
    Blocked,
    Throttled,
    Unreachable,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._api.uploads import Upload, UploadedSegment
from ansible_collections.macfleet.parallels.plugins.module_utils._base.signed_url import SignedUrl
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import urls as urls_module
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.urls import (
    PullUrls,
    ResumeUrls,
    UploadUrls,
    UrlAsker,
)

PATIENCE_SECONDS = 10.0
SEGMENTS = [("0" * 32, f"{number:064x}") for number in range(6400)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Catalog:
    """A metadata server that answers while ``answers`` is set; each URL tells the request that brought it."""

    def __init__(self, lifetime_seconds: float = 3600.0) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.requests: list[list[t.Any]] = []
        self.errors: list[Exception] = []
        self.lifetime_seconds = lifetime_seconds
        self._changed = threading.Condition()

    def object_urls(self, manifest_id: str, keys: t.Sequence[t.Any], kind: str) -> dict[t.Any, SignedUrl]:
        return self._answer(list(keys), lambda key: key)

    def upload_urls(self, upload_id: str, keys: t.Sequence[tuple[str, int]], kind: str) -> dict[str, SignedUrl]:
        return self._answer(list(keys), lambda key: key[0])

    def wait_for(self, requests: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= requests, PATIENCE_SECONDS), self.requests

    def _answer(self, keys: list[t.Any], name: t.Callable[[t.Any], t.Any]) -> dict[t.Any, SignedUrl]:
        with self._changed:
            self.requests.append(keys)
            number = len(self.requests)
            self._changed.notify_all()
        assert self.answers.wait(PATIENCE_SECONDS)
        if self.errors:
            raise self.errors.pop(0)
        return {name(key): SignedUrl(f"https://s/{number}", self.lifetime_seconds) for key in keys}


def pull_urls(catalog: Catalog, clock: Clock, alive: t.Callable[[], None] = lambda: None) -> PullUrls:
    return PullUrls(t.cast(CatalogClient, catalog), "m", SEGMENTS, alive, clock)


def upload_urls(catalog: Catalog, alive: t.Callable[[], None] = lambda: None) -> UploadUrls:
    return UploadUrls(t.cast(CatalogClient, catalog), "u", alive)


def settle(catalog: Catalog) -> None:
    """Wait until nothing is asked any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(thread.name == "urls" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.001)


# What a pull asks for


def test_a_long_pull_asks_for_many_urls_at_once() -> None:
    catalog = Catalog()
    urls = pull_urls(catalog, Clock())
    for key in SEGMENTS:
        for _range in range(4):
            urls(key, None)
        settle(catalog)
    assert len(catalog.requests) < 40
    # Each URL is asked for once.
    assert sorted(key for keys in catalog.requests for key in keys) == SEGMENTS


class LongUrls(Catalog):
    """Each URL has 2 kB, as those of Azure and of sessions of AWS have."""

    def object_urls(self, manifest_id: str, keys: t.Sequence[t.Any], kind: str) -> dict[t.Any, SignedUrl]:
        found = super().object_urls(manifest_id, keys, kind)
        return {key: SignedUrl(key[1] * 32, signed.lifetime_seconds) for key, signed in found.items()}


def test_a_long_pull_does_not_keep_the_urls_that_it_has_used() -> None:
    catalog = LongUrls()
    urls = pull_urls(catalog, Clock())
    tracemalloc.start()
    try:
        for number, key in enumerate(SEGMENTS):
            urls(key, None)
            # One worker is late by as much as there are requests at once.
            urls(SEGMENTS[max(0, number - 16)], None)
            settle(catalog)
        _size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All of them have 13 MB.
    assert peak < 6_000_000
    assert sorted(key for keys in catalog.requests for key in keys) == SEGMENTS


def test_a_url_that_was_dropped_is_asked_for_alone() -> None:
    catalog = Catalog()
    urls = pull_urls(catalog, Clock())
    for key in SEGMENTS[:4000]:
        urls(key, None)
        settle(catalog)
    before = len(catalog.requests)
    urls(SEGMENTS[7], None)
    settle(catalog)
    assert catalog.requests[before:] == [[SEGMENTS[7]]]


def test_a_url_that_is_dropped_before_its_waiter_sees_it_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls_module, "_LOOK_SECONDS", 0.01)
    catalog = Catalog()

    def others_come_first() -> None:
        if not catalog.answers.is_set():
            catalog.answers.set()
            asker.prefetch(["b", "c", "d"])
            settle(catalog)

    asker: UrlAsker[str] = UrlAsker(lambda keys: catalog.object_urls("m", keys, "segments"), 1, others_come_first)
    catalog.answers.clear()
    found: list[SignedUrl] = []
    waiting = threading.Thread(target=lambda: found.append(asker.get("a", None)), daemon=True)
    waiting.start()
    waiting.join(PATIENCE_SECONDS)
    assert [one.url for one in found] == ["https://s/5"]
    assert catalog.requests == [["a"], ["b"], ["c"], ["d"], ["a"]]


def test_urls_are_there_before_they_are_used() -> None:
    catalog = Catalog()
    urls = pull_urls(catalog, Clock())
    for number in range(200):
        urls(SEGMENTS[number], None)
        settle(catalog)
    catalog.answers.clear()
    # At 20 MB/s, 120 seconds take 75 segments.
    for number in range(200, 275):
        urls(SEGMENTS[number], None)
    catalog.answers.set()
    settle(catalog)


def test_a_silent_server_stops_only_whoever_has_no_url() -> None:
    catalog = Catalog()
    urls = pull_urls(catalog, Clock())
    urls(SEGMENTS[0], None)
    settle(catalog)
    catalog.answers.clear()
    found: list[SignedUrl] = []
    waiting = threading.Thread(target=lambda: found.append(urls(SEGMENTS[5000], None)))
    waiting.start()
    catalog.wait_for(2)
    began_at = time.monotonic()
    for number in range(64):
        urls(SEGMENTS[number], None)
    assert time.monotonic() - began_at < PATIENCE_SECONDS / 2 and not found
    catalog.answers.set()
    waiting.join()
    assert len(found) == 1
    settle(catalog)


def test_urls_are_renewed_when_half_of_their_lifetime_has_passed() -> None:
    catalog, clock = Catalog(1000.0), Clock()
    urls = pull_urls(catalog, clock)
    first = urls(SEGMENTS[0], None)
    settle(catalog)
    clock.now = 499.0
    assert urls(SEGMENTS[0], None) is first
    settle(catalog)
    assert len(catalog.requests) == 1
    catalog.answers.clear()
    clock.now = 501.0
    # Nobody waits for it.
    assert urls(SEGMENTS[0], None) is first
    catalog.wait_for(2)
    catalog.answers.set()
    settle(catalog)
    assert urls(SEGMENTS[0], None).url == "https://s/2"


def test_a_url_is_not_used_at_the_very_end_of_its_lifetime() -> None:
    catalog, clock = Catalog(1000.0), Clock()
    urls = pull_urls(catalog, clock)
    urls(SEGMENTS[0], None)
    settle(catalog)
    clock.now = 980.0
    assert urls(SEGMENTS[0], None).url == "https://s/2"
    settle(catalog)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_url_of_whatever_lifetime_is_used_once(seconds: float) -> None:
    catalog = Catalog(seconds)
    urls = pull_urls(catalog, Clock())
    for number in range(3):
        urls(SEGMENTS[number], None)
        settle(catalog)
    assert len(catalog.requests) <= 6


def test_a_url_that_was_refused_is_replaced_once_for_all_who_had_it() -> None:
    catalog = Catalog()
    urls = pull_urls(catalog, Clock())
    refused = urls(SEGMENTS[0], None)
    settle(catalog)
    renewed = urls(SEGMENTS[0], refused)
    assert renewed is not refused
    assert urls(SEGMENTS[0], refused) is renewed
    settle(catalog)
    assert len(catalog.requests) == 2


@pytest.mark.parametrize(
    "error",
    [Unreachable("down"), Throttled("later"), BadReply("the page of a proxy"), Blocked("tainted", code="tainted")],
)
def test_everybody_who_waits_for_a_url_hears_of_the_error(error: Exception) -> None:
    catalog = Catalog()
    catalog.answers.clear()
    catalog.errors = [error]
    urls = pull_urls(catalog, Clock())
    heard: list[Exception] = []

    def ask() -> None:
        with pytest.raises(type(error)) as caught:
            urls(SEGMENTS[0], None)
        heard.append(caught.value)

    threads = [threading.Thread(target=ask) for _range in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    catalog.answers.set()
    for thread in threads:
        thread.join()
    assert heard == [error] * 4
    if not isinstance(error, Blocked):
        # Whoever comes then asks anew.
        assert urls(SEGMENTS[0], None).url == "https://s/2"
    else:
        with pytest.raises(type(error)):
            urls(SEGMENTS[1], None)
    settle(catalog)
    assert len(catalog.requests) == 2 - isinstance(error, Blocked)


def test_an_error_that_nobody_waits_for_is_no_error() -> None:
    catalog, clock = Catalog(1000.0), Clock()
    urls = pull_urls(catalog, clock)
    first = urls(SEGMENTS[0], None)
    settle(catalog)
    catalog.errors = [Unreachable("down")]
    clock.now = 501.0
    for _time in range(5):
        assert urls(SEGMENTS[0], None) is first
        settle(catalog)
    # After a pause it is asked again, and not at once.
    assert len(catalog.requests) == 2
    clock.now = 512.0
    urls(SEGMENTS[0], None)
    settle(catalog)
    assert urls(SEGMENTS[0], None).url == "https://s/3"


def test_whoever_joins_a_request_that_fails_soon_asks_once_more() -> None:
    catalog, clock = Catalog(1000.0), Clock()
    urls = pull_urls(catalog, clock)
    first = urls(SEGMENTS[0], None)
    settle(catalog)
    catalog.answers.clear()
    catalog.errors = [Unreachable("down")]
    clock.now = 501.0
    urls(SEGMENTS[0], None)
    catalog.wait_for(2)
    # The server has been silent for four minutes when somebody needs the URL.
    clock.now = 741.0
    found: list[SignedUrl] = []
    waiting = threading.Thread(target=lambda: found.append(urls(SEGMENTS[0], first)))
    waiting.start()
    time.sleep(0.1)
    catalog.answers.set()
    waiting.join()
    assert [one.url for one in found] == ["https://s/3"]
    settle(catalog)


def test_whoever_waits_can_be_ended() -> None:
    def enough() -> None:
        raise KeyError("cancelled")

    catalog = Catalog()
    catalog.answers.clear()
    for urls, key in (
        (pull_urls(catalog, Clock(), enough), SEGMENTS[0]),
        (upload_urls(catalog, enough), ("a" * 64, 5)),
    ):
        with pytest.raises(KeyError):
            urls(key, None)
    catalog.answers.set()
    settle(catalog)


# What a push asks for


def test_urls_of_segments_that_are_finished_meanwhile_are_asked_for_together() -> None:
    catalog = Catalog()
    catalog.answers.clear()
    urls = upload_urls(catalog)
    found: list[SignedUrl] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(urls((f"{number:064x}", 5), None)))
        for number in range(8)
    ]
    threads[0].start()
    catalog.wait_for(1)
    for thread in threads[1:]:
        thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(urls._asker._wanted) < 7:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    catalog.answers.set()
    for thread in threads:
        thread.join()
    settle(catalog)
    assert [len(keys) for keys in catalog.requests] == [1, 7]
    assert len(found) == 8


def test_urls_of_an_interrupted_push_are_asked_for_when_one_is_refused() -> None:
    def upload(number: int) -> Upload:
        segments = tuple(
            UploadedSegment(f"{one:064x}", 5, SignedUrl(f"https://s/{number}/{one}", 900)) for one in range(2)
        )
        return Upload("u", 0.0, "local", 1 << 20, "r", (), segments)

    asked: list[str] = []

    class Resumed:
        def upload(self, upload_id: str) -> Upload:
            asked.append(upload_id)
            return upload(2)

    urls = ResumeUrls(t.cast(CatalogClient, Resumed()), upload(1))
    first = urls(("u", f"{0:064x}"), None)
    assert first.url == "https://s/1/0"
    renewed = urls(("u", f"{0:064x}"), first)
    assert renewed.url == "https://s/2/0"
    assert urls(("u", f"{0:064x}"), first) is renewed
    assert urls(("u", f"{1:064x}"), None).url == "https://s/2/1"
    assert asked == ["u"]
