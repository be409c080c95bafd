# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role catalog_server when runs and servers are killed, hosts reboot and backups fail; and what nobody may see."""

from __future__ import annotations

import os
import signal
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.integration import installation as installations
from ansible_collections.macfleet.parallels.tests.integration.installation import Installation, another_release
from ansible_collections.macfleet.parallels.tests.support import postgres
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Run, RunFailed
from ansible_collections.macfleet.parallels.tests.support.process_list import Watched
from ansible_collections.macfleet.parallels.tests.support.waiting import holds_within

SECONDS = installations.SECONDS
# Where an update may be killed: each of these tasks has begun, and nobody knows how far it came.
STEPS = (
    "Unpack the archive",
    "Write what is new beside what is in use",
    "Make a backup before the update",
    "Bring the database to the schema of the release",
    "Keep what is in use, and put what is new into its place",
    "Ask whether a server runs, and with this release and these settings",
    "Wait until the server is ready",
    "Remove what is not needed any more",
)
# Without more time, in the middle of what cannot be done at once.
FEW = ("Keep what is in use, and put what is new into its place",)
MARKER = "s3cret-marker-of-a-password"


def wait_for(condition: t.Callable[[], bool]) -> None:
    assert holds_within(SECONDS, condition), "the condition was not met in time"


# Its migration has done everything, and does not end yet.
LINGERING = """

_tidy = tidy


def tidy(settings):
    import time

    _tidy(settings)
    marker = settings.data_dir / "MARKER"
    if not marker.exists():
        marker.touch()
        while marker.exists():
            time.sleep(0.05)
"""


def begin_to_update(installation: Installation, directory: Path, token_seconds: int) -> tuple[Run, Path]:
    """Begin a run with another release and setting; return it when it has migrated, with the file to remove then."""
    marker = installation.data / directory.name
    release = another_release(directory, {"+operations/restore.py": LINGERING.replace("MARKER", marker.name)})
    run = installation.start(release, catalog_server_settings={"token_seconds": token_seconds})
    wait_for(lambda: marker.exists() or run.process.poll() is not None)
    return run, marker


def test_of_two_runs_at_once_the_later_one_goes_on(installation: Installation, tmp_path: Path) -> None:
    before, pid = installation.files, installation.pid
    run, marker = begin_to_update(installation, tmp_path / "first", 799)
    # It removes the release of the other run, which nothing uses yet.
    assert installation.run() == ["Remove what is not needed any more"]
    marker.unlink()
    with pytest.raises(RunFailed, match="Another run of the role has begun on this host"):
        run.wait(SECONDS)
    assert (installation.files, installation.pid) == (before, pid)
    assert installation.answers() and installation.run() == []


def test_an_earlier_run_that_fails_takes_nothing_from_a_later_one(installation: Installation, tmp_path: Path) -> None:
    first, first_marker = begin_to_update(installation, tmp_path / "first", 797)
    second, second_marker = begin_to_update(installation, tmp_path / "second", 798)
    first_marker.unlink()
    with pytest.raises(RunFailed, match="Another run of the role has begun on this host"):
        first.wait(SECONDS)
    second_marker.unlink()
    second.wait(SECONDS)
    assert "CATALOG_TOKEN_SECONDS=798" in installation.settings
    assert installation.state().returncode == 0 and installation.answers()
    installation.run()
    assert not left_beside(installation)


@pytest.mark.parametrize("step", STEPS if os.environ.get("MACFLEET_TEST_SYSTEMD") else FEW)
def test_a_run_that_was_killed_is_made_good_by_the_next(installation: Installation, tmp_path: Path, step: str) -> None:
    settings = {"token_seconds": 700 + STEPS.index(step)}
    release = another_release(tmp_path, {"+__main__.py": f"# {step}\n"})
    old = installation.current
    run = installation.start(release, catalog_server_settings=settings)
    wait_for(lambda: f": {step}]" in run.log.read_text(encoding="utf-8") or run.process.poll() is not None)
    assert run.process.poll() is None, run.log.read_text(encoding="utf-8")[-2000:]
    run.kill()
    # Whatever is in use now, it starts.
    assert installation.command("check").returncode == 0

    installation.run(release, catalog_server_settings=settings)
    assert installation.current != old and installation.answers()
    assert installation.state().returncode == 0
    assert "CATALOG_TOKEN_SECONDS=7" in installation.settings
    if step in FEW:
        assert installation.run(release, catalog_server_settings=settings) == []
    assert not left_beside(installation)


def left_beside(installation: Installation) -> list[Path]:
    """What runs have left beside the files that they replace."""
    return [path for path in installation.config.rglob("*") if path.suffix in (".new", ".before")]


def test_a_server_that_dies_comes_back(installation: Installation) -> None:
    pid = installation.pid
    assert installation.call("kill", f"-{signal.SIGKILL}", str(pid)).returncode == 0
    wait_for(lambda: installation.state().returncode == 0 and installation.pid != pid)


@pytest.mark.deployed("none")
def test_a_server_whose_keeper_was_killed_is_kept_again(installation: Installation) -> None:
    def status() -> int:
        return installation.call(str(installation.program / "bin/catalog-server-background"), "status").returncode

    pid, keeper = installation.pid, int((installation.data / "catalog-server.pid").read_text(encoding="ascii"))
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: status() == 4)
    assert installation.state().returncode == 0 and installation.answers()
    assert installation.run() == ["Stop the server", "Start the server"]
    assert installation.pid != pid and installation.answers()
    assert status() == 0


# What nobody may see


def test_secrets_are_in_no_output_and_in_no_arguments(installation: Installation) -> None:
    assert installation.first_run is not None
    shown = installation.first_run.log.read_text(encoding="utf-8")
    shown += "".join(str(result) for result in installation.first_run.results())
    # It was looked at closely.
    assert "no_log" in shown and any("ansible-playbook" in words for words in installation.first_arguments)
    for name in ("server-secret", "admin-password"):
        secret = (installation.config / "secrets" / name).read_text(encoding="ascii").strip()
        assert secret not in shown
        assert not [words for words in installation.first_arguments if secret in words]


# The PostgreSQL of the tests has no address that another host could reach.
@pytest.mark.deployed("none")
def test_the_password_of_a_database_is_seen_nowhere(installation: Installation) -> None:
    try:
        with postgres.running() as server:
            url = server.url(server.create()).replace("tests@", f"tests:{MARKER}@")
            another = {"catalog_server_database_url": url, **installation.another_storage}
            with Watched() as watched:
                run = installation.start(words=["-vvv", "--diff"], **another)
                run.wait(installations.SECONDS)
                saved = installation.command("backup", f"{installation.inside(installation.data)}-saved")
            assert saved.returncode == 0, saved.stderr
            assert installation.run(**another) == []
            installation.run()
    except postgres.NoPostgres as error:
        pytest.skip(f"PostgreSQL is needed: {error}")
    shown = [run.log.read_text(encoding="utf-8"), str(run.results()), saved.stdout, *watched.arguments]
    assert any("ansible-playbook" in words for words in watched.arguments)
    assert not [text for text in shown if MARKER in text]
    readable = [path for path in installation.config.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not [path for path in readable if MARKER in path.read_text(encoding="utf-8")]


# With systemd


@pytest.mark.deployed("systemd")
def test_a_reboot_behind_a_refused_run_is_no_outage(installation: Installation) -> None:
    systemd = installation.systemd
    assert systemd is not None
    before = installation.files
    for wrong in ({"catalog_server_settings": {"token_secnds": 1}}, {"catalog_server_database_url": "mysql://x"}):
        with pytest.raises(RunFailed):
            installation.run(**wrong)
    systemd.reboot()
    wait_for(lambda: installation.state().returncode == 0)
    assert installation.files == before and installation.answers()
    assert installation.run() == []


@pytest.mark.deployed("systemd")
def test_backups_are_made_and_their_failure_is_seen(installation: Installation) -> None:
    systemd = installation.systemd
    assert systemd is not None
    units = systemd.root / "etc/systemd/system"
    (units / "told.service").write_text("[Service]\nType=oneshot\nExecStart=touch /root/told\n", encoding="ascii")
    # Without the random delay that spreads the load of many hosts
    hurried = units / "catalog-server-backup.timer.d/hurried.conf"
    hurried.parent.mkdir(exist_ok=True)
    hurried.write_text("[Timer]\nRandomizedDelaySec=0\nAccuracySec=1us\n", encoding="ascii")
    often = {"catalog_server_backup_schedule": "*:*:0/2", "catalog_server_backup_on_failure": "told.service"}
    there = {path.name for path in installation.backups}
    installation.run(catalog_server_backups_kept=2, **often)
    wait_for(lambda: len({path.name for path in installation.backups} - there) == 2)

    directory = installation.backups[0].parent
    hidden = directory.rename(directory.with_name("hidden"))
    directory.touch()
    wait_for((systemd.root / "root/told").exists)
    systemd.run("systemctl", "stop", "catalog-server-backup.timer", check=True)
    directory.unlink()
    hidden.rename(directory)
    never = {**often, "catalog_server_backup_schedule": ""}
    assert "The last backup has failed" in told_at_the_end(installation, **never)
    systemd.run("systemctl", "start", "catalog-server-backup.service", check=True)
    assert "Nothing makes backups by itself" in told_at_the_end(installation, **never)
    hurried.unlink()
    installation.run()
    assert systemd.run("systemctl", "is-enabled", "catalog-server-backup.timer").stdout.strip() == "enabled"


def told_at_the_end(installation: Installation, **variables: t.Any) -> str:
    run = installation.start(**variables)
    (told,) = [result.result["msg"] for result in run.wait(installations.SECONDS) if "Tell what" in result.task]
    return str(told[-1])
