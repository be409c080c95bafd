# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that work on one cache and are killed at any time: whatever is published and trusted is right.

Orders are forced elsewhere; this is for what nobody thought of. ``MACFLEET_TEST_KILL_ROUNDS`` makes it longer.
"""

from __future__ import annotations

import os
import random
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cache as cache_case
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import observe
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
    tree,
)
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

ROUNDS = int(os.environ.get("MACFLEET_TEST_KILL_ROUNDS", "10"))
PROCESSES = 4
SEED = 20261127
LONGEST_LIFE_SECONDS = 0.4


@pytest.fixture(name="shelf")
def shelf_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf(tmp_path)
    shelf.lock_timeout_seconds = 20.0
    for version, chunks in (("1.0", range(1, 61)), ("1.1", [*range(1, 41), *range(80, 100)])):
        content = b"".join(noise(number, CHUNK) for number in chunks)
        shelf.manifests.append(shelf.push(make_bundle(tmp_path / version / "Runner.pvm", {IMAGE: content}), version))
    real = shelf.storage.fetch

    def slow(*arguments: t.Any) -> t.Any:
        time.sleep(0.01)
        return real(*arguments)

    monkeypatch.setattr(shelf.storage, "fetch", slow)
    return shelf


def work(shelf: Shelf, choice: random.Random) -> None:
    """One of the things that tasks do."""
    manifest = choice.choice(shelf.manifests)
    what = choice.random()
    if what < 0.7:
        shelf.run(manifest, verify=what < 0.1)
        return
    state = cache_case.VERIFIED if what < 0.85 else cache_case.ABSENT
    cache_case.change(cache_case.CacheRequest(state, digest=manifest.digest), shelf.context, check_mode=False)


def start(shelf: Shelf, seed: int) -> int:
    """A process that does one of them; its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(shelf, random.Random(seed))
            status = 0
        finally:
            os._exit(status)
    return pid


def test_what_is_published_and_trusted_is_right_whoever_was_killed(shelf: Shelf) -> None:
    choice = random.Random(SEED)
    looked_at = killed = 0
    for number in range(ROUNDS):
        pids = [start(shelf, SEED + PROCESSES * number + process) for process in range(PROCESSES)]
        time.sleep(choice.random() * LONGEST_LIFE_SECONDS)
        victims = {pid for pid in pids if choice.random() < 0.5}
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            _pid, status = os.waitpid(pid, 0)
            killed += os.WIFSIGNALED(status)
            # Those who were left alone succeed, whatever became of the others.
            assert pid in victims or status == 0, f"a task of round {number} failed"
        for manifest in shelf.manifests:
            if observe.observe(shelf.cache, manifest.digest).is_trusted:
                looked_at += 1
                bundle = shelf.entry(manifest).bundle_path
                assert tree(bundle) == tree(shelf.directory / manifest.version / "Runner.pvm"), number
    assert looked_at and killed
    for manifest in shelf.manifests:
        shelf.run(manifest)
        assert not shelf.run(manifest)["changed"]
    assert shelf.cache.trash_bytes() == 0
