# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other programs move for a second version of an image: their new chunks, and the index that they read.

casync and desync cut at contents, into chunks of 64 KiB on average; restic has its own size. Each compresses as it does
by default. Where they are not installed, casync and restic are unpacked from packages of Debian, and desync is built by
``go``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.support.debian import Program, find_program

_DESYNC = "github.com/folbricht/desync/cmd/desync@v0.9.6"
_SECONDS = 1800
_PASSWORD = "no secret: a repository of the benchmark"


@dataclass(frozen=True)
class Peer:
    """One program, None if it cannot be had, and what it stores below ``place``."""

    name: str
    program: Program | None
    place: Path

    def store(self, image: Path) -> None:
        """Store the first version."""
        self.place.mkdir(parents=True)
        self._add(image, "first")

    def moved(self, image: Path) -> int:
        """Store a second version. Returns the bytes that a client reads which has the first; they are dropped again."""
        before = self._files()
        self._add(image, "second")
        added = self._files() - before
        try:
            return sum(path.stat().st_size for path in added)
        finally:
            for path in added:
                path.unlink()

    def _add(self, image: Path, version: str) -> None:
        assert self.program is not None
        _STORE[self.name](self.program, self.place, image, version)

    def _files(self) -> set[Path]:
        return {path for path in self.place.rglob("*") if path.is_file()}


def find_peers(place: Path, packages: Path) -> list[Peer]:
    """All of them, those that cannot be had included; each stores below ``place``."""
    found = {
        "casync": find_program("casync", "casync", packages),
        "desync": _find_desync(packages),
        "restic": find_program("restic", "restic", packages),
    }
    return [Peer(name, program, place / name) for name, program in found.items()]


def _find_desync(packages: Path) -> Program | None:
    installed = shutil.which("desync") or shutil.which("desync", path=str(packages))
    if installed is None and (go := shutil.which("go")):
        packages.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GOBIN": str(packages)}
        subprocess.run([go, "install", _DESYNC], env=environment, capture_output=True, timeout=_SECONDS, check=False)
        installed = shutil.which("desync", path=str(packages))
    return None if installed is None else Program(installed, {})


def _casync(program: Program, place: Path, image: Path, version: str) -> None:
    _run(program, ["make", f"--store={place}/store.castr", f"{place}/{version}.caibx", str(image)])


def _desync(program: Program, place: Path, image: Path, version: str) -> None:
    (place / "store.castr").mkdir(exist_ok=True)
    _run(program, ["make", "--store", f"{place}/store.castr", f"{place}/{version}.caibx", str(image)])


def _restic(program: Program, place: Path, image: Path, _version: str) -> None:
    repository = place / "repository"
    words = ["--no-cache", "--repo", str(repository)]
    if not repository.exists():
        _run(program, [*words, "init"])
    # By way of standard input, so that nothing is told by times and names of files.
    with image.open("rb") as stream:
        _run(program, [*words, "backup", "--stdin", "--stdin-filename", "disk"], stream)


_STORE: t.Mapping[str, t.Callable[[Program, Path, Path, str], None]] = {
    "casync": _casync,
    "desync": _desync,
    "restic": _restic,
}


def _run(program: Program, words: t.Sequence[str], stdin: t.IO[bytes] | int = subprocess.DEVNULL) -> None:
    subprocess.run(
        [program.path, *words],
        env={**os.environ, **program.environment, "RESTIC_PASSWORD": _PASSWORD},
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_SECONDS,
        check=True,
    )
