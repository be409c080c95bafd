# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a power cut leaves of a directory: only what was synced. ``power_cut.c`` says what counts as that."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("power_cut.c")
_ROOT = "root"
_NAMES = ".names"


class NoPowerCuts(Exception):
    """They cannot be had on this machine, and why."""


def build(directory: Path) -> Path:
    """Compile the library into a directory; return its path.

    :raises NoPowerCuts: see ``compiled``
    """
    return compiled(_SOURCE, directory / "power_cut.so")


def compiled(source: Path, library: Path) -> Path:
    """Compile a library for LD_PRELOAD; return its path.

    :raises NoPowerCuts: there is no compiler with the headers of the C library, or this is not Linux
    """
    if sys.platform != "linux":
        raise NoPowerCuts("Such libraries are for Linux only.")
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/stdio.h").exists():
        raise NoPowerCuts("There is no C compiler: the packages are called gcc and libc6-dev.")
    words = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(source)]
    subprocess.run([compiler, *words], check=True)
    return library


@dataclass(frozen=True)
class Durable:
    """A directory, and the model of what is durable of it."""

    library: Path
    root: Path
    model: Path

    def begin(self) -> None:
        """All that is there now is durable."""
        shutil.rmtree(self.model, ignore_errors=True)
        self.model.mkdir(parents=True)
        library = ctypes.CDLL(str(self.library))
        library.power_cut_begin(os.fsencode(self.root), os.fsencode(self.model))

    @property
    def variables(self) -> dict[str, str]:
        """Environment of a process whose writes are modelled."""
        return {
            "LD_PRELOAD": str(self.library),
            "POWER_CUT_ROOT": str(self.root),
            "POWER_CUT_MODEL": str(self.model),
        }

    def cut(self, lost: Path | None = None) -> None:
        """Leave of the directory what is durable; no process may use it. What it was before is moved to ``lost``."""
        rebuilt = self.root.with_name(f"{self.root.name}.rebuilt")
        rebuilt.mkdir(mode=self.root.stat().st_mode & 0o7777)
        self._rebuild((self.model / _ROOT).read_text(encoding="ascii"), rebuilt)
        if lost is None:
            shutil.rmtree(self.root)
        else:
            self.root.rename(lost)
        rebuilt.rename(self.root)
        self.begin()

    def _rebuild(self, name: str, target: Path) -> None:
        for kind, mode, entry, at in self._names(name):
            path = target / at
            if kind == "d":
                path.mkdir()
                self._rebuild(entry, path)
            elif kind == "f":
                path.touch()
                # A file that was never synced has its name, and nothing in it.
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(self.model / entry, path)
            else:
                continue
            path.chmod(mode)

    def _names(self, name: str) -> t.Iterator[tuple[str, int, str, str]]:
        try:
            lines = (self.model / f"{name}{_NAMES}").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            kind, mode, entry, at = line.split(" ", 3)
            yield kind, int(mode, 8), entry, at
