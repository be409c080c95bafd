# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands of the administrator that are killed, or lose power, at any step: what has its final name is whole.

``MACFLEET_TEST_CUT_STEPS`` says how many steps of each command are tried; 0 is all of them.
"""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support.power_cut import Durable
from catalog_server.keys import read_secrets
from catalog_server.operations import archive, backup
from catalog_server.settings import Settings
from cut_commands import Commands, Done, commands
from running import Template, environment

MOST_STEPS = int(os.environ.get("MACFLEET_TEST_CUT_STEPS", "12"))

pytestmark = pytest.mark.parametrize("template", ["sqlite"], indirect=True)


@pytest.fixture(scope="module", name="runner")
def runner_fixture(library: Path) -> Iterator[Commands]:
    """Runs the commands."""
    with commands(library, environment(Path("/nonexistent"))) as started:
        yield started


class Place:
    """A directory with an installation in it, as it is before a command; each attempt begins with that."""

    def __init__(self, library: Path, directory: Path) -> None:
        self.root = directory / "place"
        self.root.mkdir()
        self._before = directory / "before"
        self._durable = Durable(library, self.root, directory / "model")

    @property
    def data_dir(self) -> Path:
        return self.root / "data"

    def keep(self) -> None:
        """Keep what is there now as what each attempt begins with."""
        shutil.copytree(self.root, self._before)

    def attempt(self, runner: Commands, step: int, *words: str) -> Done:
        """Run a command on what was kept."""
        shutil.rmtree(self.root)
        shutil.copytree(self._before, self.root)
        self._durable.begin()
        return self.again(runner, *words, step=step)

    def again(self, runner: Commands, *words: str, step: int = 0) -> Done:
        """Run a command on what is there now."""
        return runner.run(self._durable, step, {"CATALOG_DATA_DIR": str(self.data_dir)}, *words)

    def cut(self) -> None:
        """Leave what is durable."""
        self._durable.cut()


@pytest.fixture(name="place")
def place_fixture(library: Path, tmp_path: Path) -> Place:
    """An empty one."""
    return Place(library, tmp_path)


def killed_at_each_step(place: Place, runner: Commands, *words: str) -> Iterator[bool]:
    """Yields behind each attempt that was killed, and behind each that lost power; True for the whole command."""
    whole = place.attempt(runner, 0, *words)
    assert whole.status == 0, whole.said
    every = math.ceil(whole.steps / MOST_STEPS) if MOST_STEPS else 1
    # 0 is no step, so the command comes to its end.
    for step in range(0, whole.steps + 1, every):
        for is_cut in (False, True):
            done = place.attempt(runner, step, *words)
            assert done.status == (None if step else 0), f"the step {step} of {whole.steps} did not come: {done.said}"
            if is_cut:
                place.cut()
            yield not step


def test_a_backup_that_is_cut_off_is_none(template: Template, place: Place, runner: Commands, tmp_path: Path) -> None:
    shutil.copytree(template.data_dir, place.data_dir)
    backups = place.root / "backups"
    words = ("backup", "--into", str(backups), "--keep", "1")
    backup.make(Settings(data_dir=place.data_dir), backups / "20260101T000000Z")
    place.keep()
    for is_whole in killed_at_each_step(place, runner, *words):
        found = [path for path in backups.iterdir() if not path.name.startswith(".")]
        assert found, "the old backup is gone, and the new one is not there"
        for path in found:
            archive.read(path)
        assert not is_whole or [path.name for path in found] != ["20260101T000000Z"]
        again = place.again(runner, "backup", str(backups / "again"))
        assert again.status == 0, again.said
        assert not list(backups.glob(".*"))


def state_of(file: Path) -> tuple[str, int, int]:
    """What a database says of itself: if it is whole, its epoch, and if garbage is collected."""
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        return verdict, *connection.execute("SELECT epoch, gc_enabled FROM catalog").fetchone()


def test_a_restore_that_is_cut_off_is_done_again_or_is_whole(
    template: Template, place: Place, runner: Commands, tmp_path: Path
) -> None:
    saved = backup.make(Settings(data_dir=template.data_dir), tmp_path / "saved")
    own = "the secret of this installation, which goes on to sign"
    place.data_dir.mkdir(mode=0o700)
    (place.data_dir / "server-secret").write_text(own + "\n", encoding="ascii")
    (place.data_dir / "server-secret").chmod(0o600)
    place.keep()
    file = place.data_dir / "catalog.db"
    for is_whole in killed_at_each_step(place, runner, "restore", str(saved)):
        # The secrets of the backup are not used.
        assert read_secrets(place.data_dir / "server-secret")[0].text == own
        assert file.exists() or not is_whole
        if file.exists():
            verdict, epoch, gc_enabled = state_of(file)
            assert (verdict, gc_enabled) == ("ok", 0) and epoch > archive.read(saved).epoch
            assert len(read_secrets(place.data_dir / "server-secret")) == 1
        again = place.again(runner, "restore", str(saved))
        assert again.status == 0 or "Move it away first." in again.said
        assert state_of(file)[0] == "ok"
        assert {path.name for path in place.data_dir.iterdir()} == {"catalog.db", "server-secret"}


def test_a_rotation_of_keys_that_is_cut_off_loses_none(template: Template, place: Place, runner: Commands) -> None:
    shutil.copytree(template.data_dir, place.data_dir)
    before = read_secrets(place.data_dir / "server-secret")
    place.keep()
    for is_whole in killed_at_each_step(place, runner, "key", "rotate"):
        found = read_secrets(place.data_dir / "server-secret")
        assert found[-1] == before[0] and len(found) == 2 if is_whole else found[-1] == before[0]
        # The next start removes what is left over.
        assert place.again(runner, "key", "list").status == 0
        assert not list(place.data_dir.glob(".*"))


def test_a_first_start_that_is_cut_off_is_done_again(template: Template, place: Place, runner: Commands) -> None:
    place.keep()
    for is_whole in killed_at_each_step(place, runner, "migrate"):
        if is_whole:
            assert state_of_tables(place.data_dir / "catalog.db")
        again = place.again(runner, "migrate")
        assert again.status == 0, again.said
        assert place.again(runner, "user", "list").status == 0
        assert not list(place.data_dir.glob(".*"))


def state_of_tables(file: Path) -> list[tuple[str]]:
    """The revision of the schema of a database."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT version_num FROM alembic_version").fetchall()
