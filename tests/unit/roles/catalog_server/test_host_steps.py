# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps that the role does on the server's host, as it runs them: a program from standard input."""

from __future__ import annotations

import io
import json
import os
import pathlib
import resource
import subprocess
import sys
import tarfile
import typing as t

import pytest

PROGRAM = pathlib.Path(__file__).parents[4] / "roles/catalog_server/files/deploy/host_steps.py"


class Host:
    """A directory with the installation, and files that a server is started with."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.install = directory / "program"
        for name in ("releases/old", "releases/new", "venvs/one", "bin"):
            (self.install / name).mkdir(parents=True)
        for name in ("old", "new"):
            (self.release(name) / "complete").touch()
            (self.release(name) / "venv").symlink_to(self.install / "venvs/one")
        (self.install / "current").symlink_to(self.release("old"))
        self.settings = directory / "settings.env"
        self.url = directory / "database-url"
        self.settings.write_text("old", encoding="ascii")
        self.unchanged = directory / "unchanged"
        self.unchanged.write_text("same", encoding="ascii")
        self.url.write_text("sqlite:///old", encoding="ascii")

    def release(self, name: str) -> pathlib.Path:
        """The directory of a release."""
        return self.install / "releases" / name

    def call(self, *words: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
        """Do one step."""
        argv = [sys.executable, "-", str(self.install), *words]
        text = PROGRAM.read_text(encoding="utf-8")
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False, **options)

    def claim(self) -> str:
        """Begin a run of the role."""
        done = self.call("claim")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def changes(self, links: dict[str, str], removed: t.Sequence[pathlib.Path] = ()) -> str:
        """The last argument of put, back and clean."""
        files = [str(self.url), str(self.settings), str(self.unchanged)]
        return json.dumps({"files": files, "removed": [str(path) for path in removed], "links": links})

    def update(self, run: str, settings: str = "new") -> str:
        """New settings that this run has written, no URL of a database, and the new release."""
        new = {"current": str(self.release("new")), "previous": str(self.release("old"))}
        self.settings.with_name(f"settings.env.{run}.new").write_text(settings, encoding="ascii")
        return self.changes(new, [self.url])

    @property
    def state(self) -> dict[str, str]:
        """All files and links but that of the claim."""
        found = {}
        for path in sorted(self.install.parent.rglob("*")):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file() and path.name != "run":
                found[str(path)] = path.read_text(encoding="utf-8")
        return found


@pytest.fixture(name="host")
def make_host(tmp_path: pathlib.Path) -> Host:
    """An installation with a release in use, and a new one."""
    return Host(tmp_path)


def test_what_was_put_comes_back(host: Host) -> None:
    before = host.state
    run = host.claim()
    done = host.call("put", run, host.update(run))
    assert done.returncode == 0, done.stderr
    assert host.settings.read_text(encoding="ascii") == "new" and not host.url.exists()
    assert os.readlink(host.install / "current") == str(host.release("new"))
    links = {"current": str(host.release("old")), "previous": "", "undone": ""}
    assert host.call("back", run, host.changes(links)).returncode == 0
    assert host.state == before


def test_what_was_not_there_before_is_not_there_again(host: Host) -> None:
    host.url.unlink()
    before, run = host.state, host.claim()
    host.url.with_name(f"database-url.{run}.new").write_text("sqlite:///new", encoding="ascii")
    links = {"current": str(host.release("old")), "previous": "", "undone": ""}
    assert host.call("put", run, host.changes(links)).returncode == 0
    assert host.url.read_text(encoding="ascii") == "sqlite:///new"
    assert host.call("back", run, host.changes(links)).returncode == 0
    assert host.state == before


def test_what_ran_last_is_kept_by_an_interrupted_run_and_the_next(host: Host) -> None:
    for _number in range(2):
        run = host.claim()
        assert host.call("put", run, host.update(run)).returncode == 0
    links = {"current": str(host.release("old")), "previous": "", "undone": ""}
    assert host.call("back", host.claim(), host.changes(links)).returncode == 0
    assert host.settings.read_text(encoding="ascii") == "old" and host.url.exists()


def test_putting_needs_no_room_on_the_disk(host: Host) -> None:
    run = host.claim()
    changes = host.update(run)

    def nothing_can_be_written() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = host.call("put", run, changes, preexec_fn=nothing_can_be_written)
    assert done.returncode == 0, done.stderr
    assert host.settings.with_name("settings.env.before").read_text(encoding="ascii") == "old"


def test_what_cannot_be_put_leaves_everything_as_it_was(host: Host) -> None:
    before, run = host.state, host.claim()
    changes = host.update(run)
    (host.release("new") / "complete").unlink()
    done = host.call("put", run, changes)
    assert done.returncode == 1 and "what was in use before is there again" in done.stderr
    assert host.call("discard", run, changes).returncode == 0
    (host.release("new") / "complete").touch()
    assert host.state == before


def test_what_cannot_be_kept_is_not_replaced(host: Host) -> None:
    run = host.claim()
    changes = json.loads(host.update(run))
    # There is no room for more characters behind this name.
    long = host.settings.with_name("n" * 250)
    long.write_text("in use", encoding="ascii")
    before = host.state
    done = host.call("put", run, json.dumps({**changes, "files": [*changes["files"], str(long)]}))
    assert done.returncode == 1 and "so nothing was replaced" in done.stderr
    assert host.state == before


def test_the_steps_of_a_run_are_refused_when_another_has_begun(host: Host) -> None:
    first = host.claim()
    changes = host.update(first, "of the first run")
    second = host.claim()
    assert host.update(second) == changes
    before = host.state
    for step in ("put", "discard", "back", "clean"):
        refused = host.call(step, first, changes)
        assert refused.returncode == 1 and "Another run of the role has begun on this host" in refused.stderr
    for step in ("mark", "drop"):
        assert host.call(step, first, str(host.install / "venvs/one")).returncode == 1
    assert host.state == before and (host.install / "venvs/one").is_dir()
    # What the first one writes beside the files meanwhile does not change what the second one puts there.
    host.update(first, "of the first run, again")
    assert host.call("put", second, changes).returncode == 0
    assert host.settings.read_text(encoding="ascii") == "new"
    # Nobody has the claim then, and an earlier run does not get it back.
    assert host.call("clean", second, changes).returncode == 0
    assert (host.install / "run").read_text(encoding="ascii") == ""
    assert not list(host.settings.parent.glob("settings.env.*"))
    assert host.call("put", first, changes).returncode == 1


def test_cleaning_leaves_what_the_links_need(host: Host) -> None:
    for name in ("venvs/another", "venvs/two", "releases/half.new", "releases/before"):
        (host.install / name).mkdir()
    (host.release("before") / "venv").symlink_to(host.install / "venvs/two")
    (host.install / "previous").symlink_to(host.release("before"))
    host.settings.with_name("settings.env.before").write_text("older", encoding="ascii")
    done = host.call("clean", host.claim(), host.changes({}))
    assert done.returncode == 0, done.stderr
    assert {pathlib.Path(line).name for line in done.stdout.splitlines()} == {
        "settings.env.before",
        "half.new",
        "new",
        "another",
    }
    left = {path.name for name in ("releases", "venvs") for path in (host.install / name).iterdir()}
    assert left == {"old", "before", "one", "two"}


def packed(directory: pathlib.Path) -> pathlib.Path:
    """An archive of a release with a program, and with a file that fills its second half."""
    archive = directory / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        for name, content in (("package/program.py", b"x = 1\n"), ("package/data", os.urandom(1 << 20))):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            file.addfile(entry, io.BytesIO(content))
    return archive


def test_a_release_has_its_name_when_it_is_whole_and_others_can_read_it(host: Host, tmp_path: pathlib.Path) -> None:
    environment = host.install / "venvs/one"
    (environment / "bin").mkdir()
    (environment / "bin/python").symlink_to(sys.executable)
    archive, release = packed(tmp_path), host.release("another")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    words = ("unpack", host.claim(), str(archive), str(release), str(environment))
    assert host.call(*words).returncode == 1 and not release.exists()

    archive.write_bytes(whole)
    elsewhere = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere")}
    done = host.call(*words, umask=0o077, env=elsewhere)
    assert done.returncode == 0, done.stderr
    assert list(release.glob("package/__pycache__/*.pyc")) and (release / "complete").exists()
    assert not [path for path in (release, *release.rglob("*")) if path.stat().st_mode & 0o044 != 0o044]


def test_what_another_run_has_completed_meanwhile_stays(host: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    release, environment = host.release("old"), host.install / "venvs/one"
    run = host.claim()
    (environment / "half").touch()
    assert host.call("drop", run, str(environment)).returncode == 0 and not environment.exists()
    environment.mkdir()
    assert host.call("mark", run, str(environment)).returncode == 0
    before = host.state
    assert host.call("drop", run, str(environment)).returncode == 0
    assert host.call("unpack", run, str(packed(elsewhere)), str(release), str(environment)).returncode == 0
    assert host.state == before
