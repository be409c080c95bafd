# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the tests of the collection: lint, test (all that a change must pass) or full (on every Python there is).

``reference`` runs no tests: it writes the description of the server's API anew.

It needs Python 3.11 and git, and installs what else it needs below .build/ of the checkout, nothing elsewhere.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from machine import OLDEST_TARGET, SetUpError, this_machine, written
from staging import stage
from steps import House, Step, running_steps, static_steps
from tally import Tally, strict

LAST_LINES = 40
CHECKOUT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=("lint", "test", "full", "reference"))
    parser.add_argument("--only", metavar="WORD", help="only the steps with this word in their name")
    return parser.parse_args()


def chosen_steps(suite: str, house: House) -> list[Step]:
    if suite == "reference":
        return [Step("reference", house.reference)]
    steps = static_steps(house)
    if suite == "lint":
        return steps
    found = house.machine.pythons
    versions = {OLDEST_TARGET, house.machine.newest} if suite == "test" else {OLDEST_TARGET, *found}
    return steps + running_steps(house, versions, in_full=suite == "full")


def run_step(step: Step, house: House) -> Tally:
    """Run one step and say how it went, how long it took and, where it failed, what it printed last."""
    print(f"      …  {step.name}", flush=True)
    begun = time.monotonic()
    try:
        tally = strict(step.run())
    except (SetUpError, OSError) as error:
        tally = Tally(failed=[f"{step.name}: {error}"])
    print(f"{time.monotonic() - begun:6.1f} s  {step.name}: {tally.summary()}", flush=True)
    for reason in tally.skipped:
        print(f"          skipped: {reason}")
    for name in tally.failed:
        print(f"          FAILED: {name}")
    while house.failures:
        finished = house.failures.pop(0)
        print(f"---------- from {finished.log}")
        print(finished.excerpt(LAST_LINES))
        print("----------", flush=True)
    return tally


def main() -> int:
    options = arguments()
    try:
        machine = this_machine(CHECKOUT)
    except SetUpError as error:
        print(error)
        return 1
    print("Pythons found: " + ", ".join(f"{written(version)} ({path})" for version, path in machine.pythons.items()))
    print(f"Logs of the steps: {machine.build / 'logs'}", flush=True)
    machine.keep_pip_settings()
    stage(CHECKOUT, machine.collection)
    total = Tally()
    begun = time.monotonic()
    house = House(machine)
    for step in chosen_steps(options.suite, house):
        if not options.only or options.only in step.name:
            total.add(run_step(step, house))
    print(f"{time.monotonic() - begun:6.1f} s  in all")
    print(total.summary())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
