# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of Debian packages without installing them: downloaded and unpacked into a directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from pathlib import Path

_PLACES = ("usr/sbin", "sbin", "usr/bin", "bin")
_TIMEOUT_SECONDS = 180


class Program(t.NamedTuple):
    """Where a program is and what it needs in its environment."""

    path: str
    environment: dict[str, str]


def find_program(name: str, package: str, directory: Path) -> Program | None:
    """An installed program, or that of a package unpacked into ``directory``; None if neither can be had."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    installed = shutil.which(name, path=search)
    if installed is not None:
        return Program(os.path.realpath(installed), {})
    root = directory / package
    if not _find(root, name):
        try:
            _unpack(package, root)
        except (OSError, subprocess.SubprocessError):
            return None
    found = _find(root, name)
    if found is None:
        return None
    libraries = sorted({str(path.parent) for path in root.rglob("*.so.*")})
    return Program(str(found), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})


def _find(root: Path, name: str) -> Path | None:
    return next((root / place / name for place in _PLACES if (root / place / name).is_file()), None)


def _unpack(package: str, root: Path) -> None:
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    settings = _lists(package, root)
    answer = _run(["apt-cache", *settings, "depends", "--no-recommends", "--no-suggests", package])
    needed = [line.split()[1] for line in answer.splitlines() if line.split()[:1] == ["Depends:"]]
    libraries = [name for name in needed if name.startswith("lib") and not _is_installed(name)]
    _run(["apt-get", *settings, "download", package, *libraries], archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(root)])


def _lists(package: str, root: Path) -> list[str]:
    """Settings of apt with package lists that know the package: those of the machine, or own ones."""
    if "Package:" in _run(["apt-cache", "show", package], check=False):
        return []
    state, cache = root / "state", root / "cache"
    for directory in (state / "lists/partial", cache / "archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    settings = ["-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}", "-o", "Debug::NoLocking=true"]
    settings += ["-o", "Dir::State::status=/var/lib/dpkg/status"]
    _run(["apt-get", *settings, "update"])
    return settings


def _is_installed(package: str) -> bool:
    return "ok installed" in _run(["dpkg-query", "--show", "--showformat=${Status}", package], check=False)


def _run(argv: t.Sequence[str], directory: Path | None = None, check: bool = True) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, check=check, timeout=_TIMEOUT_SECONDS
    )
    return done.stdout
