# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Killed at any step that changes the disk: what is visible under a final name is whole, and a second run succeeds."""

from __future__ import annotations

import os
import pathlib
import signal
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache, difference
from ansible_collections.macfleet.parallels.plugins.module_utils._host.receipts import Receipts
from ansible_collections.macfleet.parallels.tests.unit.support.macs import (
    DIGEST,
    UUID,
    contents,
    fill,
    make_receipt,
    make_record,
)

_STEPS = ("chmod", "fchmod", "fsync", "mkdir", "open", "rename", "rmdir", "symlink", "unlink")
_MOST_STEPS = 500


def completes(action: t.Callable[[], t.Any], step: int) -> bool:
    """Run an action in a process that is killed before its n-th step; whether it came to its end."""
    process = os.fork()
    if process == 0:
        _die_at(step)
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(process, 0)[1]
    assert status in {0, signal.SIGKILL}
    return status == 0


def _die_at(step: int) -> None:
    left = step

    def dying(original: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **options: t.Any) -> t.Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return call

    for name in _STEPS:
        setattr(os, name, dying(getattr(os, name)))


def steps(action: t.Callable[[], t.Any]) -> t.Iterator[bool]:
    """After each way to be killed: whether the action was complete, the last one being that it was."""
    for step in range(1, _MOST_STEPS):
        done = completes(action, step)
        yield done
        if done:
            return
    pytest.fail("the action has no end")


def _cache(directory: pathlib.Path) -> t.Tuple[Cache, pathlib.Path]:
    cache = Cache.open(str(directory / "cache"), create=True)
    bundle = pathlib.Path(cache.partial(DIGEST).bundle_path)
    fill(bundle)
    return cache, bundle


def test_publishing(tmp_path: pathlib.Path) -> None:
    cache, bundle = _cache(tmp_path)
    expected = contents(bundle)
    for _done in steps(lambda: cache.publish(DIGEST, make_record())):
        entry = cache.find(DIGEST)
        if entry is not None:
            assert contents(pathlib.Path(entry.bundle_path)) == expected
            assert not difference(entry)
            assert entry.record.stamps.files
            assert cache.find_partial(DIGEST) is None
            cache.demote(DIGEST)
        partial = cache.partial(DIGEST)
        assert contents(pathlib.Path(partial.bundle_path)) == expected
    assert cache.publish(DIGEST, make_record()) == cache.find(DIGEST)
    assert sorted(os.listdir(os.path.join(cache.path, "bundles", DIGEST))) == ["bundle", "record.json"]


def test_removing(tmp_path: pathlib.Path) -> None:
    cache, bundle = _cache(tmp_path)
    expected = contents(pathlib.Path(cache.publish(DIGEST, make_record()).bundle_path))
    for done in steps(lambda: [cache.remove(DIGEST), cache.empty_trash()]):
        entry = cache.find(DIGEST)
        assert entry is None or not done
        if entry is not None:
            assert contents(pathlib.Path(entry.bundle_path)) == expected
        elif not done:
            cache.partial(DIGEST)
            fill(bundle)
            cache.publish(DIGEST, make_record())
            expected = contents(pathlib.Path(cache.path, "bundles", DIGEST, "bundle"))
    cache.remove(DIGEST)
    cache.empty_trash()
    assert os.listdir(os.path.join(cache.path, "trash")) == []


def test_counting_a_use(tmp_path: pathlib.Path) -> None:
    cache, _bundle = _cache(tmp_path)
    cache.publish(DIGEST, make_record())
    uses = 0
    for _done in steps(lambda: cache.touch(DIGEST, "2026-11-24T08:00:00Z")):
        entry = cache.find(DIGEST)
        assert entry is not None
        assert entry.record.use_count in {uses, uses + 1}
        uses = entry.record.use_count
    assert sorted(os.listdir(os.path.join(cache.path, "bundles", DIGEST))) == ["bundle", "record.json"]


def test_making_a_bundle(tmp_path: pathlib.Path) -> None:
    fill(tmp_path / "source")
    destination = tmp_path / "VM.pvm"
    for done in steps(lambda: clone.clone_tree(str(tmp_path / "source"), str(destination))):
        assert destination.exists() or not done
        if destination.exists():
            assert contents(destination) == contents(tmp_path / "source")
            clone.remove_tree(str(destination))
    clone.clone_tree(str(tmp_path / "source"), str(destination))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["VM.pvm", "source"]


def test_writing_a_receipt(tmp_path: pathlib.Path) -> None:
    receipts = Receipts(str(tmp_path))
    for done in steps(lambda: receipts.write(make_receipt())):
        found, unreadable = receipts.read_all()
        assert unreadable == []
        assert found in ([], [make_receipt()])
        assert found or not done
        receipts.remove(UUID)
