# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs the simulator for one user, and looks into it from outside."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

_PACKAGE = "prlctl_simulator"
_MODULES = ("__init__", "arguments", "bundle", "commands", "listing", "main", "server", "state")
_PROGRAM = """#!{interpreter}
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from {package}.main import main

sys.exit(main(sys.argv))
"""


def install(directory: t.Union[str, os.PathLike[str]], python: t.Optional[str] = None) -> str:
    """Put ``prlctl`` and ``prlsrvctl`` into a directory; returns the path of the former.

    They run with ``python``, or with the python3 that is first in the PATH.
    """
    program = pathlib.Path(directory, "prlctl")
    package = program.with_name(_PACKAGE)
    package.mkdir(parents=True, exist_ok=True)
    for name in _MODULES:
        shutil.copyfile(pathlib.Path(__file__).with_name(f"{name}.py"), package / f"{name}.py")
    interpreter = f"{python} -IS" if python else "/usr/bin/env python3"
    program.write_text(_PROGRAM.format(interpreter=interpreter, package=_PACKAGE), encoding="utf-8")
    program.chmod(0o755)
    server = program.with_name("prlsrvctl")
    server.unlink(missing_ok=True)
    server.symlink_to("prlctl")
    return str(program)


class Simulated:
    """The simulated Parallels Desktop of the user with that home."""

    def __init__(self, home: t.Union[str, os.PathLike[str]]) -> None:
        self._directory = pathlib.Path(home, ".parallels-simulator")

    def fail(self, *faults: t.Mapping[str, t.Any]) -> None:
        """Replace the faults; README.md tells what they may say."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._directory / "faults.json").write_text(json.dumps(faults), encoding="utf-8")

    def behave(self, **behaviour: t.Any) -> None:
        """Replace the behaviour; README.md lists what there is."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._directory / "behaviour.json").write_text(json.dumps(behaviour), encoding="utf-8")

    def calls(self) -> t.List[t.List[str]]:
        """Every command so far, the program first."""
        try:
            lines = (self._directory / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def machines(self) -> t.Dict[str, t.Dict[str, t.Any]]:
        """What is registered, by UUID: home, state, last_name, started_at."""
        try:
            machines: t.Dict[str, t.Dict[str, t.Any]] = json.loads(
                (self._directory / "state.json").read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        return machines
