# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the last line of a test run is made of."""

from __future__ import annotations

import pathlib

import pytest
from tally import NEEDS_A_MAC, Tally, one, read_junit, strict

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="passes"/>
<testcase classname="a" name="fails"><failure message="no"/></testcase>
<testcase classname="a" name="breaks"><error message="no"/></testcase>
<testcase classname="a" name="left"><skipped message="needs root"/></testcase>
<testcase name="left, too"><skipped>No tests applicable.</skipped></testcase>
</testsuite></testsuites>"""


def test_cases_of_a_report_are_counted(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT, encoding="utf-8")
    tally = read_junit(path)
    assert tally.passed == 1
    assert tally.failed == ["a::fails", "a::breaks"]
    assert tally.skipped == ["a::left: needs root", "left, too: No tests applicable."]
    assert tally.summary() == "1 passed, 2 failed, 2 skipped"


def test_nothing_is_said_of_skipped_tests_where_there_are_none() -> None:
    assert one("step", True).summary() == "1 passed, 0 failed"
    assert one("step", False).summary() == "0 passed, 1 failed"


def test_a_skipped_test_has_failed_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["a: needs root", f"b: {NEEDS_A_MAC}"]
    monkeypatch.delenv("CI", raising=False)
    assert strict(Tally(1, [], reasons)).summary() == "1 passed, 0 failed, 2 skipped"
    monkeypatch.setenv("CI", "true")
    assert strict(Tally(1, [], reasons)).summary() == "1 passed, 1 failed, 1 skipped"
