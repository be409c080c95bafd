# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the tests of the collection: lint, test (all that a change must pass) or full (on every Python there is).

``reference`` runs no tests: it writes the description of the server's API anew.

It needs Python 3.11 and git, and installs what else it needs below .build/ of the checkout, nothing elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from machine import OLDEST_TARGET, Machine, SetUpError, this_machine, written
from process import Running
from staging import stage
from steps import House, Step, running_steps, static_steps
from tally import Tally, strict

LAST_LINES = 40
LIGHT_AT_ONCE = 2
CHECKOUT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=("lint", "test", "full", "reference"))
    parser.add_argument("--only", metavar="WORD", help="only the steps with this word in their name")
    return parser.parse_args()


def chosen_steps(suite: str, machine: Machine) -> list[list[Step]]:
    """Return groups of steps. What is checked as it lies there is checked before anything is run in the same place."""
    if suite == "reference":
        return [[Step("reference", House.reference)]]
    if suite == "lint":
        return [static_steps()]
    found = machine.pythons
    versions = {OLDEST_TARGET, machine.newest} if suite == "test" else {OLDEST_TARGET, *found}
    return [static_steps(), running_steps(machine.newest, versions, in_full=suite == "full")]


def run_step(step: Step, house: House, output: threading.Lock) -> Tally:
    """Run one step and say how it went, how long it took and, where it failed, what it printed last."""
    with output:
        print(f"      …  {step.name}", flush=True)
    begun = time.monotonic()
    try:
        tally = strict(step.run(house))
    except (SetUpError, OSError) as error:
        tally = Tally(failed=[f"{step.name}: {error}"])
    with output:
        print(f"{time.monotonic() - begun:6.1f} s  {step.name}: {tally.summary()}", flush=True)
        for reason in tally.skipped:
            print(f"          skipped: {reason}")
        for name in tally.failed:
            print(f"          FAILED: {name}")
        for finished in house.failures:
            print(f"---------- from {finished.log}")
            print(finished.excerpt(LAST_LINES))
            print("----------", flush=True)
    return tally


def run_steps(steps: Sequence[Step], machine: Machine) -> Tally:
    """Run steps that keep one core busy two at a time, then the others one after the other."""
    running, output = Running(), threading.Lock()
    light: queue.SimpleQueue[Step] = queue.SimpleQueue()
    for step in steps:
        if step.light:
            light.put(step)

    def run_light_ones() -> Tally:
        tally = Tally()
        with contextlib.suppress(queue.Empty):
            while not running.stopped:
                tally.add(run_step(light.get_nowait(), House(machine, running), output))
        return tally

    total = Tally()
    with ThreadPoolExecutor(LIGHT_AT_ONCE) as threads:
        try:
            for future in [threads.submit(run_light_ones) for _thread in range(LIGHT_AT_ONCE)]:
                total.add(future.result())
        except BaseException:
            # Somebody has interrupted it.
            running.stop()
            raise
    for step in steps:
        if not step.light:
            total.add(run_step(step, House(machine, running), output))
    return total


def main() -> int:
    options = arguments()
    # Whoever ends it ends the commands that it runs, too.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(128 + signal.SIGTERM))
    try:
        machine = this_machine(CHECKOUT)
    except SetUpError as error:
        print(error)
        return 1
    print("Pythons found: " + ", ".join(f"{written(version)} ({path})" for version, path in machine.pythons.items()))
    print(f"Logs of the steps: {machine.build / 'logs'}", flush=True)
    machine.keep_pip_settings()
    machine.forget_temporary_bytecode()
    stage(CHECKOUT, machine.collection)
    begun = time.monotonic()
    total = Tally()
    for group in chosen_steps(options.suite, machine):
        total.add(run_steps([step for step in group if not options.only or options.only in step.name], machine))
    print(f"{time.monotonic() - begun:6.1f} s  in all")
    print(total.summary())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
