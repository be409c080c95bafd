# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Set up below .build/ what the demonstration needs, then show it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(CHECKOUT / "tests/tools"))

from machine import SetUpError, this_machine
from staging import stage


def main() -> None:
    """Copy the collection, make an environment, go on in it."""
    machine = this_machine(CHECKOUT)
    print("Setting up below .build/ …", flush=True)
    # In a run of the tests the copy is there, and others work in it.
    if "MACFLEET_TEST_STAGED" not in os.environ:
        stage(CHECKOUT, machine.collection)
    programs = machine.virtual_environment("demo", machine.newest, [Path(__file__).with_name("requirements.txt")])
    environment = machine.environment(programs)
    # The oldest Python stands in for that of a Mac, the newest runs the server.
    pythons = [str(machine.pythons[version]) for version in (min(machine.pythons), machine.newest)]
    environment["PYTHONPATH"] = str(machine.build)
    python = str(programs / "python")
    script = str(machine.collection / "tests/demo/main.py")
    work = str(machine.build / "demo")
    os.execve(python, [python, script, work, *pythons], environment)


if __name__ == "__main__":
    try:
        main()
    except SetUpError as error:
        sys.exit(str(error))
