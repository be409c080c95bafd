# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two tasks at one cache: the second is let in at every step of the first, and nothing wrong may come of it.

A step is a call of one of ``STEPS``. The first task stops before it, the second begins and runs until it has ended or
waits for a lock; then the first goes on. So each order is forced, not met by luck.

``MACFLEET_TEST_ORDERS_EVERY`` says how many steps each stop is apart, where not every one is tried.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api.manifests import Manifest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases import cache as cache_case
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.images import (
    content,
    mending,
    observe,
    seeds,
    segmented,
)
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.machines import vms
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull import plan, run
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.pull.wanted import PRESENT
from ansible_collections.macfleet.parallels.plugins.module_utils._host import clone, locks
from ansible_collections.macfleet.parallels.plugins.module_utils._host.cache.entries import Cache
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import bundle, reader, writer
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import (
    CHUNK,
    IMAGE,
    make_bundle,
    noise,
    tree,
)
from ansible_collections.macfleet.parallels.tests.unit.support.macs import InProcess
from ansible_collections.macfleet.parallels.tests.unit.support.shelf import Shelf

WAIT_SECONDS = 20.0
EVERY = int(os.environ.get("MACFLEET_TEST_ORDERS_EVERY", "1"))

# Whatever a task does between its plan, its locks, its work and what it publishes.
STEPS: tuple[tuple[t.Any, str], ...] = (
    (Cache, "lock"),
    (Cache, "survey"),
    (Cache, "partial"),
    (Cache, "demote"),
    (Cache, "publish"),
    (Cache, "touch"),
    (Cache, "set_verified"),
    (Cache, "remove"),
    (Cache, "empty_trash"),
    (observe, "observe"),
    (observe, "hash_place"),
    (mending, "mend"),
    (seeds, "hold_seeds"),
    (content, "fetch_content"),
    (segmented, "plan_fill"),
    (reader, "apply_plan"),
    (bundle, "inspect"),
    (writer, "write_pack"),
    (clone, "clone_tree"),
    (vms.Vms, "look"),
    (vms.Vms, "create"),
)


class World:
    """A host, and a catalog with two versions of an image."""

    def __init__(self, directory: Path, catalog: Shelf) -> None:
        self.catalog = catalog
        self.shelf = Shelf(directory)
        self.shelf.storage, self.shelf.indexes = catalog.storage, catalog.indexes
        self.shelf.lock_timeout_seconds = WAIT_SECONDS
        home = directory / "home"
        home.mkdir()
        self.shelf.prlctl = Prlctl(InProcess(home), "/usr/local/bin/prlctl")
        self.older, self.newer = catalog.manifests

    def source(self, manifest: Manifest) -> Path:
        return self.catalog.directory / manifest.version / "Runner.pvm"

    # What tasks do; each tells if it changed something

    def pull(self) -> bool:
        return bool(self.shelf.run(self.older)["changed"])

    def pull_newer(self) -> bool:
        return bool(self.shelf.run(self.newer)["changed"])

    def verify(self) -> bool:
        return self._change(cache_case.CacheRequest(cache_case.VERIFIED))

    def remove(self) -> bool:
        return self._change(cache_case.CacheRequest(cache_case.ABSENT, digest=self.older.digest))

    def push(self) -> bool:
        self.catalog.push(self.source(self.older), "2.0")
        return True

    def make(self) -> bool:
        return bool(self.shelf.run(self.older, state=PRESENT)["changed"])

    def _change(self, request: cache_case.CacheRequest) -> bool:
        return bool(cache_case.change(request, self.shelf.context, check_mode=False)["changed"])

    # Preparations

    def interrupt(self) -> None:
        """Leave half of the image behind."""
        partial = self.shelf.cache.partial(self.older.digest)
        shutil.copytree(self.source(self.older), partial.bundle_path, dirs_exist_ok=True)
        image = os.path.join(partial.bundle_path, IMAGE)
        os.truncate(image, os.path.getsize(image) // 2)

    def touch(self) -> None:
        """Have the entry be doubted: a file of it may have been changed."""
        self.pull()
        os.chmod(os.path.join(self.shelf.entry(self.older).bundle_path, "config.pvs"), 0o400)

    def damage(self) -> None:
        self.pull()
        path = Path(self.shelf.entry(self.older).bundle_path, IMAGE)
        path.chmod(0o644)
        with path.open("r+b") as stream:
            stream.write(b"damaged")

    def check(self) -> None:
        """Whatever the cache holds and trusts is right, and so is the virtual machine."""
        for manifest in (self.older, self.newer):
            entry = self.shelf.cache.find(manifest.digest)
            if entry is not None and observe.observe(self.shelf.cache, manifest.digest).is_trusted:
                assert tree(entry.bundle_path) == tree(self.source(manifest))
        home = self.shelf.directory / "Parallels/Runner.pvm"
        machines = self.shelf.context.prlctl.list_machines()
        assert [machine.home for machine in machines] == ([str(home)] if home.exists() else [])
        if home.exists():
            assert (home / IMAGE).read_bytes() == (self.source(self.older) / IMAGE).read_bytes()

    def settle(self) -> None:
        """Each state that was asked for is reached by at most one more run, and stays."""
        for task in (self.pull, self.pull_newer, self.verify):
            task()
        for task in (self.pull, self.pull_newer, self.verify):
            assert not task(), task
        self.check()


Prepare = t.Callable[[World], t.Any]
PREPARATIONS: dict[str, Prepare] = {
    "nothing": lambda world: None,
    "cached": World.pull,
    "half": World.interrupt,
    "touched": World.touch,
    "damaged": World.damage,
}
# Each task from the states that make it work hardest.
FIRST: dict[str, tuple[str, ...]] = {
    "pull": ("nothing", "half", "damaged"),
    "pull_newer": ("cached",),
    "verify": ("cached", "damaged"),
    "remove": ("cached", "half"),
    "push": ("cached",),
    "make": ("nothing", "cached", "touched"),
}
SECOND = ("pull", "pull_newer", "verify", "remove", "push", "make")
# The final state tells which of two tasks changed something.
ONE_FILLS = {("nothing", "pull", "pull"), ("half", "pull", "pull"), ("cached", "make", "make")}


class Gate:
    """Counts the steps of the first task, and lets the second in before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.target = -1
        self.second: t.Callable[[], bool] = lambda: False
        self.second_changed: t.Optional[bool] = None
        self._failure: t.Optional[BaseException] = None
        self._first = threading.get_ident()
        self._thread: t.Optional[threading.Thread] = None
        self._waits = threading.Event()
        for owner, name in STEPS:
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name), name))
        monkeypatch.setattr(locks, "_LONGEST_PAUSE_SECONDS", 0.01)
        real = locks._try_lock

        def try_lock(descriptor: int, operation: int) -> bool:
            taken = real(descriptor, operation)
            if not taken and threading.current_thread() is self._thread:
                self._waits.set()
            return taken

        monkeypatch.setattr(locks, "_try_lock", try_lock)

    def _watched(self, function: t.Callable[..., t.Any], name: str) -> t.Callable[..., t.Any]:
        @functools.wraps(function)
        def watched(*arguments: t.Any, **options: t.Any) -> t.Any:
            if threading.get_ident() == self._first:
                self._step(name)
            return function(*arguments, **options)

        return watched

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 == self.target:
            self._thread = threading.Thread(target=self._run_second)
            self._thread.start()
            assert self._waits.wait(WAIT_SECONDS), f"the second task neither ends nor waits before {name}"

    def _run_second(self) -> None:
        try:
            self.second_changed = self.second()
        except BaseException as error:
            self._failure = error
        finally:
            self._waits.set()

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure


def steps_of(directory: Path, catalog: Shelf, prepared: str, first: str) -> list[str]:
    """The steps of a task that is alone."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(directory, catalog)
        PREPARATIONS[prepared](world)
        gate = Gate(monkeypatch)
        getattr(world, first)()
        return gate.steps


@pytest.fixture(name="catalog", scope="module")
def catalog_fixture(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Two versions of an image that have most in common."""
    shelf = Shelf(tmp_path_factory.mktemp("catalog"))
    for version, chunks in (("1.0", range(1, 12)), ("1.1", [*range(1, 9), 40, 41])):
        content = b"".join(noise(number, CHUNK) for number in chunks)
        root = make_bundle(shelf.directory / version / "Runner.pvm", {IMAGE: content})
        shelf.manifests.append(shelf.push(root, version))
    return shelf


@pytest.fixture(name="directory")
def directory_fixture(tmp_path: Path) -> t.Iterator[Path]:
    """A directory in memory where there is one: this is about orders, and the disk takes most of the time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize(
    ("prepared", "first"), [(prepared, first) for first, states in FIRST.items() for prepared in states]
)
def test_whenever_a_second_task_is_let_in_nothing_wrong_comes_of_it(
    directory: Path, catalog: Shelf, prepared: str, first: str, second: str
) -> None:
    steps = steps_of(directory / "alone", catalog, prepared, first)
    assert steps
    for number, step in list(enumerate(steps))[::EVERY]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            world = World(directory / str(number), catalog)
            PREPARATIONS[prepared](world)
            gate = Gate(monkeypatch)
            gate.target, gate.second = number, getattr(world, second)
            first_changed = getattr(world, first)()
            gate.join()
        where = f"{second} before {step}, the step {number} of {first}"
        world.check()
        if (prepared, first, second) in ONE_FILLS:
            assert first_changed != gate.second_changed, where
        world.settle()


def test_one_name_in_two_directories_is_one_vm(
    directory: Path, catalog: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = steps_of(directory / "alone", catalog, "cached", "make").index("clone_tree")
    world = World(directory / "both", catalog)
    world.pull()
    elsewhere = str(directory / "both/elsewhere")
    gate = Gate(monkeypatch)
    gate.target = step
    gate.second = lambda: bool(world.shelf.run(world.older, state=PRESENT, directory=elsewhere)["changed"])
    assert world.make()
    gate.join()
    assert gate.second_changed is False
    assert len(world.shelf.context.prlctl.list_machines()) == 1
    world.check()


def test_bundle_that_another_task_registers_just_now_is_not_in_the_way(
    directory: Path, catalog: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other task begins after this one has looked, and has not registered its VM when this one looks again."""
    world = World(directory, catalog)
    world.pull()
    this, results = threading.get_ident(), []
    registers, planned = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: results.append(world.make()))
    real_register, real_plan, real_home = Prlctl.register, run.plan, plan.home_of

    def register(prlctl: Prlctl, bundle_path: str, uuid: str) -> None:
        registers.set()
        assert planned.wait(WAIT_SECONDS)
        real_register(prlctl, bundle_path, uuid)

    def home_of(*arguments: t.Any) -> str:
        if threading.get_ident() == this and not registers.is_set():
            other.start()
            assert registers.wait(WAIT_SECONDS)
        return real_home(*arguments)

    def tell(*arguments: t.Any) -> t.Any:
        try:
            return real_plan(*arguments)
        finally:
            if threading.get_ident() == this:
                planned.set()

    monkeypatch.setattr(Prlctl, "register", register)
    monkeypatch.setattr(plan, "home_of", home_of)
    monkeypatch.setattr(run, "plan", tell)
    try:
        assert not world.make()
    finally:
        other.join(WAIT_SECONDS)
    assert results == [True]
    world.check()
