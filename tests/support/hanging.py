# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A directory that does not answer, as that of a file server that is away. ``hanging.c`` says how."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .power_cut import compiled

_SOURCE = Path(__file__).with_name("hanging.c")


def build(directory: Path) -> Path:
    """Compile the library into a directory; return its path.

    :raises NoPowerCuts: see ``power_cut.compiled``
    """
    return compiled(_SOURCE, directory / "hanging.so")


@dataclass(frozen=True)
class Hanging:
    """A directory below which processes with these variables wait while ``away``; ``flag`` is a file elsewhere."""

    library: Path
    below: Path
    flag: Path

    @property
    def variables(self) -> dict[str, str]:
        """Environment of a process for which the directory may hang."""
        return {"LD_PRELOAD": str(self.library), "HANG_BELOW": str(self.below), "HANG_WHILE": str(self.flag)}

    @contextlib.contextmanager
    def away(self) -> t.Iterator[None]:
        """It hangs as long as the block lasts."""
        self.flag.touch()
        try:
            yield
        finally:
            self.flag.unlink()
