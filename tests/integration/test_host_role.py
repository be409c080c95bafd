# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role catalog_host in real plays, on a host that says it is a Mac and has diskutil and tmutil."""

from __future__ import annotations

import getpass
import os
import stat
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, RunFailed, TaskResult

COLLECTIONS = Path(__file__).parents[4].parent
SECONDS = 120
OWNER = getpass.getuser()
# Both keep what they were told in a file on the volume or in the cache.
DISKUTIL = """#!/bin/sh
echo "diskutil $*" >> {log}
case "$1" in
    info) test -d "$3" || {{ echo "Could not find disk: $3" >&2; exit 1; }}
        test -e "$3/.owners" && word=true || word=false
        printf '<plist>\\n\\t<key>GlobalPermissionsEnabled</key>\\n\\t<%s/>\\n</plist>\\n' $word ;;
    enableOwnership) touch "$2/.owners" ;;
esac
"""
TMUTIL = """#!/bin/sh
echo "tmutil $*" >> {log}
case "$1" in
    isexcluded) test -e "$2/.excluded" && word=Excluded || word=Included
        printf '[%s]    %s\\n' $word "$2" ;;
    addexclusion) touch "$2/.excluded" ;;
esac
"""
PYTHON = """#!/bin/sh
PATH={programs}:$PATH PYTHONPATH={programs} exec {python} "$@"
"""
# The fact alone: on a real Mac, other facts come from programs that are not here.
SYSTEM = """
import platform, sys
real = platform.system
def system():
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return "{system}" if caller.endswith("facts.system.platform") else real()
platform.system = system
"""


class Host:
    """A host in a directory, with a cache in it and one on a volume."""

    def __init__(self, directory: Path, system: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.volume = directory / "Volumes/My Images"
        self.on_volume, self.own = self.volume / "cache", directory / "own cache"
        programs = directory / "bin"
        programs.mkdir()
        texts = {"diskutil": DISKUTIL, "tmutil": TMUTIL, "python": PYTHON, "sitecustomize.py": SYSTEM}
        for name, text in texts.items():
            program = programs / name
            program.write_text(text.format(log=self.log, programs=programs, python=sys.executable, system=system))
            program.chmod(0o755)
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(programs / "python"),
            "ansible_remote_tmp": str(directory / "tmp"),
        }
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "PATH": os.pathsep.join((str(programs), os.environ["PATH"])),
        }
        self._ansible = Ansible(directory / "runs", {"all": {"hosts": {"mac": variables}}}, environment)

    def prepare(self, check_mode: bool = False, **variables: t.Any) -> list[TaskResult]:
        """Run the role. Returns the results of tasks that changed something."""
        caches = [
            {"owner": OWNER, "path": str(self.own)},
            {"owner": OWNER, "path": str(self.on_volume), "volume": str(self.volume)},
        ]
        values = {
            "catalog_host_caches": caches,
            "catalog_host_facts_directory": str(self.directory / "facts"),
            "catalog_host_local_facts_directory": str(self.directory / "facts.d"),
            **variables,
        }
        roles = [{"role": "macfleet.parallels.catalog_host"}]
        play = {"hosts": "mac", "gather_facts": False, "check_mode": check_mode, "roles": roles}
        results = self._ansible.run("host", [play], values, SECONDS)
        return [result for result in results if result.result.get("changed")]

    def asked(self) -> list[str]:
        """What diskutil and tmutil were told since the last look."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(name="mac")
def mac_fixture(tmp_path: Path) -> Host:
    host = Host(tmp_path, "Darwin")
    host.volume.mkdir(parents=True)
    host.volume.chmod(0o775)
    return host


def test_a_volume_is_prepared_and_caches_are_hidden(mac: Host) -> None:
    mac.prepare()
    caches = [str(mac.own), str(mac.on_volume)]
    looks = [f"diskutil info -plist {mac.volume}", *(f"tmutil isexcluded {cache}" for cache in caches)]
    changes = [f"diskutil enableOwnership {mac.volume}", *(f"tmutil addexclusion {cache}" for cache in caches)]
    assert sorted(mac.asked()) == sorted([*looks, *changes])
    assert mode(mac.volume) == 0o755
    for cache in (mac.own, mac.on_volume):
        assert mode(cache) == 0o700
        assert (cache / ".metadata_never_index").is_file()
    assert mac.prepare() == []
    assert sorted(mac.asked()) == sorted(looks)


def test_caches_can_stay_in_backups(mac: Host) -> None:
    mac.prepare(catalog_host_hide_caches=False)
    assert not [line for line in mac.asked() if line.startswith("tmutil")]
    assert list(mac.own.iterdir()) == []


def test_check_mode_changes_nothing(mac: Host) -> None:
    assert mac.prepare(check_mode=True)
    assert mac.asked() == [f"diskutil info -plist {mac.volume}"]
    assert mode(mac.volume) == 0o775
    assert list(mac.volume.iterdir()) == []
    assert not mac.own.exists()


def test_a_volume_that_is_not_mounted_is_not_made(mac: Host) -> None:
    mac.volume.rmdir()
    with pytest.raises(RunFailed, match="Could not find disk"):
        mac.prepare()
    assert not mac.volume.exists()


def test_a_link_in_place_of_the_cache_is_not_followed(mac: Host) -> None:
    target = mac.directory / "precious"
    target.mkdir()
    target.chmod(0o755)
    mac.on_volume.symlink_to(target)
    with pytest.raises(RunFailed):
        mac.prepare()
    assert mode(target) == 0o755
    assert mac.on_volume.is_symlink()


def test_a_cache_deep_in_a_volume_is_refused(mac: Host) -> None:
    deep = {"owner": OWNER, "path": str(mac.volume / "a/cache"), "volume": str(mac.volume)}
    with pytest.raises(RunFailed, match="directly below its volume"):
        mac.prepare(catalog_host_caches=[deep])
    assert list(mac.volume.iterdir()) == []


def test_other_systems_have_neither_program(tmp_path: Path) -> None:
    host = Host(tmp_path, "Linux")
    host.volume.mkdir(parents=True)
    host.prepare()
    assert host.asked() == []
    assert mode(host.on_volume) == mode(host.own) == 0o700
    assert host.prepare() == []
