# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts of tests: from JUnit files and from exit codes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

# What only a Mac can show is no gap of a machine that runs Linux.
NEEDS_A_MAC = "needs macOS"


@dataclass
class Tally:
    """How many tests passed; which failed; which were skipped and why."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def summary(self) -> str:
        words = f"{self.passed} passed, {len(self.failed)} failed"
        return f"{words}, {len(self.skipped)} skipped" if self.skipped else words


def strict(tally: Tally) -> Tally:
    """On a machine for continuous integration nothing may be missing: there a skipped test has failed."""
    if os.environ.get("CI") != "true":
        return tally
    allowed = [reason for reason in tally.skipped if NEEDS_A_MAC in reason]
    missing = [f"skipped: {reason}" for reason in tally.skipped if NEEDS_A_MAC not in reason]
    return Tally(tally.passed, tally.failed + missing, allowed)


def one(name: str, succeeded: bool) -> Tally:
    """A step that is one test by itself."""
    return Tally(passed=1) if succeeded else Tally(failed=[name])


def read_junit(path: Path) -> Tally:
    """Count the cases of one JUnit file."""
    tally = Tally()
    for case in ElementTree.parse(path).iter("testcase"):
        name = "::".join(word for word in (case.get("classname"), case.get("name")) if word)
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed.append(name)
        elif skipped is not None:
            tally.skipped.append(f"{name}: {skipped.get('message') or skipped.text or 'no reason given'}")
        else:
            tally.passed += 1
    return tally
