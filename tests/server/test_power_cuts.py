# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Power cuts under writes: what the server has acknowledged, and what its role has put there, outlives the loss of what
was not synced.

``MACFLEET_TEST_POWER_CUTS`` says how many, ``MACFLEET_TEST_SEED`` repeats the requests of a run that failed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support import power_cut
from running import Program, Server, Template, running, start
from test_kills import LONGEST_PAUSE_SECONDS, SEED, STEPS, check, new_writers
from writers import Writer, write_until

CUTS = int(os.environ.get("MACFLEET_TEST_POWER_CUTS", "5"))
# So many are enough to find what is never synced.
CUTS_OF_A_FAULTY_SERVER = 5
LOOKS_AT_STATES = 5
SETTINGS = {"CATALOG_JOBS_SECONDS": "1"}
FAULTY = str(Path(__file__).with_name("faulty_server.py"))
HOST_STEPS = Path(__file__).parents[2] / "roles/catalog_server/files/deploy/host_steps.py"


@contextmanager
def modelled(
    template: Template, library: Path, directory: Path, *words: str
) -> Iterator[tuple[Server, power_cut.Durable]]:
    """A server, of which everything is durable that it writes when it starts for the first time; and its model."""
    data_dir = directory / "data"
    with running(template, data_dir, SETTINGS):
        pass
    durable = power_cut.Durable(library, data_dir, directory / "model")
    durable.begin()
    server = start(data_dir, SETTINGS, Program(words or ("-m", "catalog_server"), durable.variables))
    try:
        yield server, durable
    finally:
        if server.process.poll() is None:
            server.stop()


def cut(
    server: Server, durable: power_cut.Durable, writers: list[Writer], *, steps: int = STEPS[1], seconds: float = 0
) -> None:
    """Let the writers do some steps, cut the power so much later, and start the server again."""
    write_until(writers, server.kill, steps=steps, seconds=seconds)
    lost = durable.root.with_name("lost")
    shutil.rmtree(lost, ignore_errors=True)
    durable.cut(lost)
    server.restart()


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_what_was_acknowledged_outlives_power_cuts(template: Template, library: Path, tmp_path: Path) -> None:
    print(f"MACFLEET_TEST_SEED={SEED}")
    writers, choice = new_writers(SEED), random.Random(SEED)
    with modelled(template, library, tmp_path) as (server, durable):
        for writer in writers:
            writer.connect(server)
        for number in range(CUTS):
            steps, seconds = choice.randint(*STEPS), choice.random() * LONGEST_PAUSE_SECONDS
            print(f"cut {number} after {steps} steps and {seconds:.3f} s")
            cut(server, durable, writers, steps=steps, seconds=seconds)
            check(server, writers, with_states=number % LOOKS_AT_STATES == 0)
    assert any(writer.audited for writer in writers)


@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
@pytest.mark.parametrize("fault", ["database", "commits", "directories"])
def test_power_cuts_find_what_is_not_synced(template: Template, library: Path, tmp_path: Path, fault: str) -> None:
    with modelled(template, library, tmp_path, FAULTY, fault) as (server, durable):
        assert any(
            loses(server, durable, new_writers(f"{SEED} {number}", f"faulty{number}"))
            for number in range(CUTS_OF_A_FAULTY_SERVER)
        )


def loses(server: Server, durable: power_cut.Durable, writers: list[Writer]) -> bool:
    """Returns True if a power cut loses something that was acknowledged."""
    for writer in writers:
        writer.connect(server)
    cut(server, durable, writers)
    try:
        check(server, writers, with_states=False)
    except AssertionError as error:
        print(f"lost: {error}")
        return True
    return False


PUT = """
import hashlib, sys
from ansible_collections.macfleet.parallels.plugins.module_utils._storage.local import LocalStorage
LocalStorage(sys.argv[1]).put("packs/p/object", b"1", hashlib.sha256(b"1").hexdigest())
"""


def test_an_object_in_a_folder_that_another_process_has_just_made(library: Path, tmp_path: Path) -> None:
    """That one was killed before it could sync the name of the folder."""
    root = tmp_path / "storage"
    root.mkdir()
    durable = power_cut.Durable(library, root, tmp_path / "model")
    durable.begin()
    (root / "packs/p").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", PUT, str(root)], env={**os.environ, **durable.variables}, check=True)
    durable.cut()
    assert (root / "packs/p/object").read_bytes() == b"1"


# The system writes names whenever it likes to.
NAMES = """
import os, sys
for directory, _directories, _files in os.walk(sys.argv[1]):
    os.fsync(os.open(directory, os.O_RDONLY))
"""


def run(durable: power_cut.Durable, *words: str | Path) -> str:
    """Run a Python program whose writes are modelled; return what it says."""
    variables = {**os.environ, **durable.variables}
    argv = [sys.executable, *map(str, words)]
    return subprocess.run(argv, env=variables, capture_output=True, text=True, check=True).stdout.strip()


def test_a_release_that_the_role_has_unpacked_is_whole(library: Path, tmp_path: Path) -> None:
    install, environment, archive = (tmp_path / name for name in ("program", "environment", "release.tar.gz"))
    release = install / "releases/one"
    release.parent.mkdir(parents=True)
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(sys.executable)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(__file__, "package/program.py")
    durable = power_cut.Durable(library, install, tmp_path / "model")
    durable.begin()
    claimed = run(durable, HOST_STEPS, install, "claim")
    run(durable, HOST_STEPS, install, "unpack", claimed, archive, release, environment)
    run(durable, "-c", NAMES, install)
    durable.cut()
    assert (release / "complete").exists()
    assert (release / "package/program.py").read_bytes() == Path(__file__).read_bytes()
    assert all(path.stat().st_size for path in release.glob("package/__pycache__/*"))


def test_settings_that_the_role_has_put_into_their_place_are_whole(library: Path, tmp_path: Path) -> None:
    install = tmp_path / "program"
    install.mkdir()
    settings = install / "settings.env"
    settings.write_text("old", encoding="ascii")
    durable = power_cut.Durable(library, install, tmp_path / "model")
    durable.begin()
    claimed = run(durable, HOST_STEPS, install, "claim")
    settings.with_name(f"settings.env.{claimed}.new").write_text("new", encoding="ascii")
    changes = json.dumps({"files": [str(settings)], "removed": [], "links": {}})
    run(durable, HOST_STEPS, install, "put", claimed, changes)
    run(durable, "-c", NAMES, install)
    durable.cut()
    assert settings.read_text(encoding="ascii") == "new"
    assert settings.with_name("settings.env.before").read_text(encoding="ascii") == "old"
