# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Set up below .build/ what the benchmark needs, then run it; arguments are those of main.py."""

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
    """Copy the collection, make the environments, go on in one of them."""
    machine = this_machine(CHECKOUT)
    print("Setting up below .build/ …", file=sys.stderr, flush=True)
    stage(CHECKOUT, machine.collection)
    bench = machine.virtual_environment("bench", machine.newest, [Path(__file__).with_name("requirements.txt")])
    server = machine.virtual_environment(
        "bench-server", machine.newest, [machine.collection / "roles/catalog_server/files/requirements.txt"]
    )
    environment = {**machine.environment(bench), "PYTHONPATH": str(machine.build)}
    python = str(bench / "python")
    argv = [python, str(machine.collection / "tests/bench/main.py"), "--work", str(machine.build / "bench")]
    argv += ["--server-python", str(server / "python"), "--plain-python", str(machine.pythons[machine.newest])]
    os.execve(python, [*argv, *sys.argv[1:]], environment)


if __name__ == "__main__":
    try:
        main()
    except SetUpError as error:
        sys.exit(str(error))
