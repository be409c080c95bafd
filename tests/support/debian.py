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
_LIBRARIES = ("usr/lib", "lib")
_NEEDS = ("Depends:", "PreDepends:")
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
    libraries = sorted({str(path.parent) for place in _LIBRARIES for path in (root / place).rglob("*.so*")})
    return Program(str(found), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {})


def _find(root: Path, name: str) -> Path | None:
    return next((root / place / name for place in _PLACES if (root / place / name).is_file()), None)


def _unpack(package: str, root: Path) -> None:
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    settings = _lists(package, root)
    _run(["apt-get", *settings, "download", *_with_libraries(package, settings)], archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(root)])


def _with_libraries(package: str, settings: t.Sequence[str]) -> list[str]:
    """A package and the libraries that it needs and that are not installed."""
    found = [package]
    for name in found:
        answer = _run(["apt-cache", *settings, "depends", "--no-recommends", "--no-suggests", name])
        needed = dict.fromkeys(line.split()[1] for line in answer.splitlines() if line.strip().startswith(_NEEDS))
        found += [
            other for other in needed if other.startswith("lib") and other not in found and not _is_installed(other)
        ]
    return found


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
