# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copy of the checkout that ansible-test is started in."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from staging import stage


@pytest.fixture(name="checkout")
def make_checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    checkout = tmp_path / "checkout"
    (checkout / "plugins").mkdir(parents=True)
    (checkout / "plugins/kept.py").write_text("kept", encoding="utf-8")
    (checkout / "run").write_text("run", encoding="utf-8")
    (checkout / "run").chmod(0o755)
    (checkout / ".gitignore").write_text("/.build/\n*.pyc\n", encoding="utf-8")
    (checkout / "junk.pyc").write_text("junk", encoding="utf-8")
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    return checkout


def names_below(directory: pathlib.Path) -> list[str]:
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(directory).parts
    )


def test_files_that_git_would_track_are_copied_with_their_modes(checkout: pathlib.Path) -> None:
    copy = checkout / ".build/copy"
    stage(checkout, copy)
    assert names_below(copy) == [".gitignore", "plugins/kept.py", "run"]
    assert os.access(copy / "run", os.X_OK)


def test_a_second_copy_follows_what_changed_and_leaves_the_rest(checkout: pathlib.Path) -> None:
    copy = checkout / ".build/copy"
    stage(checkout, copy)
    before = (copy / "plugins/kept.py").stat()
    (checkout / "run").unlink()
    (checkout / "docs").mkdir()
    (checkout / "docs/new.md").write_text("new", encoding="utf-8")
    (copy / "output").mkdir()
    (copy / "output/report.xml").write_text("old", encoding="utf-8")
    stage(checkout, copy)
    assert names_below(copy) == [".gitignore", "docs/new.md", "plugins/kept.py"]
    assert (copy / "plugins/kept.py").stat() == before


def test_tools_that_ask_git_see_a_repository_of_its_own(checkout: pathlib.Path) -> None:
    copy = checkout / ".build/copy"
    stage(checkout, copy)
    answer = subprocess.run(
        ["git", "-C", copy, "ls-files", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == [".gitignore", "plugins/kept.py", "run"]
