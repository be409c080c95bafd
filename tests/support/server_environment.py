# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The virtual environment that the role catalog_server would make, of the packages that are there already."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_LOCK = Path(__file__).resolve().parents[2] / "roles/catalog_server/files/requirements.lock"
# What the role asks an interpreter.
_WHICH = """
import os, platform, sys
print(platform.python_version(), platform.python_implementation(), os.path.realpath(sys.executable))
"""


def make(install_directory: Path, python: str) -> Path:
    """Make the environment that the role expects for this interpreter; return its directory."""
    said = subprocess.run([python, "-c", _WHICH], capture_output=True, text=True, check=True).stdout.strip()
    name = hashlib.sha256(f"{said} ".encode() + _LOCK.read_bytes()).hexdigest()
    environment = install_directory / "venvs" / name
    (environment / "bin").mkdir(parents=True)
    # What a virtual environment is, with the packages of the one that runs this.
    (environment / "bin/python").symlink_to(os.path.realpath(sys.executable))
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment / "pyvenv.cfg")
    (environment / "lib").symlink_to(Path(sys.prefix) / "lib")
    (environment / "complete").touch()
    return environment
