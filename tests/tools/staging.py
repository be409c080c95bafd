# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the checkout at .build/ansible_collections/macfleet/parallels, where ansible-test wants to be started."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

KEPT = (".git",)


def listed_files(checkout: Path) -> list[str]:
    """Files that git tracks or would track."""
    answer = subprocess.run(
        ["git", "-C", checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in answer.stdout.split("\0") if name and (checkout / name).is_file()]


def stage(checkout: Path, target: Path) -> None:
    """Make the copy equal to the checkout; unchanged files keep their times."""
    names = listed_files(checkout)
    wanted = {target / name for name in names}
    for path in sorted(target.rglob("*"), reverse=True):
        if path.relative_to(target).as_posix().startswith(KEPT) or path in wanted:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        else:
            path.unlink()
    for name in names:
        source, copy = checkout / name, target / name
        if copy.is_file() and filecmp.cmp(source, copy, shallow=False):
            shutil.copymode(source, copy)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)
    # The copy lies in a directory that the checkout ignores: as a repository of its own, tools that ask git see it.
    if not (target / ".git").exists():
        subprocess.run(["git", "init", "--quiet", target], check=True)
