# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose virtual machine runs from the bundle that is pushed."""

from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.metadata import PushRequest
from ansible_collections.macfleet.parallels.plugins.module_utils._cases.push.stopped import check_stopped
from ansible_collections.macfleet.parallels.plugins.module_utils._host.prlctl import CommandResult, Prlctl
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import BundleInUse
from ansible_collections.macfleet.parallels.tests.support import bundles

OURS = "11111111-2222-4333-8444-555555555555"
STRANGER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture(name="bundle")
def bundle_fixture(tmp_path: Path) -> Path:
    path = Path(bundles.make_shell(str(tmp_path), "Runner", bundles.PVM, bundles.PLAIN, 1 << 20))
    text = (path / "config.pvs").read_text("utf-8")
    begin, end = text.index("<VmUuid>"), text.index("</VmUuid>")
    (path / "config.pvs").write_text(text[:begin] + "<VmUuid>{" + OURS + "}" + text[end:], "utf-8")
    return path


def request(bundle: Path, **options: t.Any) -> PushRequest:
    empty: dict[str, t.Any] = dict.fromkeys(PushRequest.__annotations__)
    return PushRequest(**{**empty, "path": str(bundle), "allow_suspended": False, **options})


def parallels(*machines: dict[str, str]) -> Prlctl:
    """A prlctl that lists these, all of them or one by its UUID."""

    def run(argv: t.Sequence[str], timeout_seconds: float) -> CommandResult:
        listed = [one for one in machines if argv[2] in ("-a", one["ID"])]
        return CommandResult(0, json.dumps(listed), "")

    return Prlctl(run, "/usr/local/bin/prlctl")


def vm(uuid: str, state: str, home: str = "") -> dict[str, str]:
    return {"ID": uuid, "Name": "vm", "State": state, "Home": home}


def test_without_parallels_the_bundle_has_to_do(bundle: Path) -> None:
    check_stopped(request(bundle), None)


@pytest.mark.parametrize("state", ["running", "paused", "starting", "suspended", ""])
def test_a_machine_that_lies_there_must_be_stopped(bundle: Path, state: str) -> None:
    with pytest.raises(BundleInUse, match="Runner.pvm"):
        check_stopped(request(bundle), parallels(vm(STRANGER, state, f"{bundle}/")))


@pytest.mark.parametrize(
    ("state", "options"), [("stopped", {}), ("invalid", {}), ("suspended", {"allow_suspended": True})]
)
def test_a_machine_that_is_at_rest_may_be_pushed(bundle: Path, state: str, options: dict[str, t.Any]) -> None:
    check_stopped(request(bundle, **options), parallels(vm(OURS, state, str(bundle))))


def test_strangers_that_run_stop_nobody(bundle: Path) -> None:
    elsewhere = vm(STRANGER, "running", str(bundle.parent / "Other.pvm"))
    check_stopped(request(bundle), parallels(elsewhere, vm(STRANGER[::-1], "running")))


def test_a_machine_whose_place_is_not_told_is_known_by_its_uuid(bundle: Path) -> None:
    with pytest.raises(BundleInUse, match="running"):
        check_stopped(request(bundle), parallels(vm(STRANGER, "running"), vm(OURS, "running")))
    check_stopped(request(bundle), parallels(vm(OURS, "stopped")))


@pytest.mark.parametrize("configuration", [b"", b"<a/>", b"no xml"])
def test_a_bundle_without_uuid_is_nobodys(bundle: Path, configuration: bytes) -> None:
    (bundle / "config.pvs").write_bytes(configuration)
    check_stopped(request(bundle), parallels(vm(OURS, "running")))
    (bundle / "config.pvs").unlink()
    check_stopped(request(bundle), parallels(vm(OURS, "running")))


def test_a_bundle_behind_a_link_is_the_same(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(BundleInUse):
        check_stopped(request(tmp_path / "link" / bundle.name), parallels(vm(STRANGER, "running", str(bundle))))


def test_a_bundle_whose_path_is_spelled_another_way_is_the_same(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As at /System/Volumes/Data on macOS, or with another case: the same inode, and no link to be resolved.
    other = tmp_path / "other" / bundle.name
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: stat(str(path).replace(str(other), str(bundle)), **options))
    with pytest.raises(BundleInUse):
        check_stopped(request(other), parallels(vm(STRANGER, "running", f"{bundle}/")))


def test_a_machine_whose_place_is_not_found_is_known_by_its_uuid(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleInUse):
        check_stopped(request(bundle), parallels(vm(OURS, "running", str(tmp_path / "moved.pvm"))))


def test_a_copy_of_a_bundle_whose_machine_runs_may_be_pushed(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / bundle.name
    shutil.copytree(bundle, copy)
    check_stopped(request(copy), parallels(vm(OURS, "running", str(bundle))))
