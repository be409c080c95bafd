# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stage must be for the other tests to mean something."""

from __future__ import annotations

import os

import pytest
from ansible_collections.macfleet.parallels.tests.integration.stage import BUILDER, MACS, Stage, task


def test_hosts_are_reached_by_ssh(stage: Stage) -> None:
    if stage.missing_ssh:
        pytest.skip(f"all hosts are this machine, reached without SSH: {stage.missing_ssh}")


def test_the_tests_of_a_module_begin_with_empty_hosts(stage: Stage) -> None:
    for name in (BUILDER, *MACS):
        assert stage.mac(name).found() == []


def test_modules_run_on_the_python_of_a_stock_mac(stage: Stage) -> None:
    if not os.environ.get("MACFLEET_TEST_TARGET_PYTHON"):
        pytest.skip("no Python 3.9 was found on this machine: the modules run on the controller's")
    probe = task("Learn the Python", "ansible.builtin.setup", {"gather_subset": ["!all", "python"]})
    facts = stage.play("macs", [probe]).of("Learn the Python")
    versions = {row.result["ansible_facts"]["ansible_python_version"][:4] for row in facts.values()}
    assert versions == {"3.9."}
