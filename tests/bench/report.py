# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of a benchmark: what was measured, the bar, and whether it is met."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

AT_LEAST = "≥"
AT_MOST = "≤"


@dataclass(frozen=True)
class Bar:
    """One line: ``asked`` is None for a figure that is only reported, ``value`` is None when it was not measured."""

    what: str
    value: float | None
    unit: str
    relation: str = AT_LEAST
    asked: float | None = None
    note: str = ""
    runs: list[float] = field(default_factory=list)

    @property
    def met(self) -> bool | None:
        """True if the bar is met; None where there is no bar or no value."""
        if self.value is None or self.asked is None:
            return None
        return self.value >= self.asked if self.relation == AT_LEAST else self.value <= self.asked

    @property
    def verdict(self) -> str:
        """Met, not met, not measured, or nothing to say."""
        if self.value is None:
            return "not measured"
        if self.met is None:
            return "reported"
        return "met" if self.met else "NOT MET"


def as_table(bars: t.Sequence[Bar]) -> str:
    """Markdown."""
    lines = ["| what | measured | bar | verdict | how |", "|---|---:|---:|---|---|"]
    for row in bars:
        value = "–" if row.value is None else f"{row.value:.2f} {row.unit}".rstrip()
        limit = "–" if row.asked is None else f"{row.relation} {row.asked:.2f} {row.unit}".rstrip()
        lines.append(f"| {row.what} | {value} | {limit} | {row.verdict} | {row.note} |")
    return "\n".join(lines)


def as_json(bars: t.Sequence[Bar]) -> list[dict[str, t.Any]]:
    """The same for programs."""
    return [{**asdict(row), "met": row.met, "verdict": row.verdict} for row in bars]
