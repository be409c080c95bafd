# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands that the documents show do what they say; where that takes long, up to the point where work begins."""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys

import pytest
import run
from ansible_collections.macfleet.parallels.tests.bench import chunk_sizes
from ansible_collections.macfleet.parallels.tests.formats import make_vectors
from ansible_collections.macfleet.parallels.tests.support import documents
from ansible_collections.macfleet.parallels.tests.support.documents import ROOT
from machine import Machine

README = "README.md"
TOOLS_README = "tests/tools/README.md"
# What each target of the Makefile that a document names starts.
TARGETS = {
    "make bench": ["tests/bench/run"],
    "make demo": ["tests/demo/run"],
    "make lint": ["python3", "tests/tools/run.py", "lint"],
    "make reference": ["python3", "tests/tools/run.py", "reference"],
    "make test": ["python3", "tests/tools/run.py", "test"],
    "make test-full": ["python3", "tests/tools/run.py", "full"],
}


@pytest.fixture(name="machine")
def make_machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(ROOT, tmp_path, {(3, 9): pathlib.Path("python3.9"), (3, 13): pathlib.Path("python3.13")})


def commands(document: str) -> list[str]:
    """What a document shows to type into a shell."""
    lines = [line for block in documents.blocks(document, "sh") for line in block.splitlines()]
    return [*lines, *documents.inline(document, "make "), *documents.inline(document, "python3 ")]


def test_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    shown = {command for document in (README, TOOLS_README) for command in commands(document)}
    assert {command for command in shown if command.startswith("make ")} == TARGETS.keys()
    for command, words in TARGETS.items():
        argv = ["make", "--no-print-directory", "--dry-run", *command.split()[1:]]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
        assert shlex.split(done.stdout) == words
        assert os.access(ROOT / words[0], os.X_OK) or words[0] == "python3"


@pytest.mark.parametrize("command", [" ".join(words) for words in TARGETS.values() if words[0] == "python3"])
def test_targets_of_the_test_runner(command: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", command.split()[1:])
    assert all(run.chosen_steps(run.arguments().suite, machine))


def test_one_step_of_the_test_runner(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = documents.inline(TOOLS_README, "python3 ")
    _python, program, *words = shlex.split(command)
    assert (ROOT / program).samefile(pathlib.Path(run.__file__))
    monkeypatch.setattr(sys, "argv", [program, *words])
    options = run.arguments()
    names = [step.name for group in run.chosen_steps(options.suite, machine) for step in group]
    assert [name for name in names if options.only in name] == ["ansible-test sanity"]


class WorkBegins(Exception):
    """Stops a program there."""


def test_measurement_of_chunk_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    ((command,),) = [block.splitlines() for block in documents.blocks("docs/chunk-size.md", "")]
    _python, program, *words = shlex.split(command)
    assert (ROOT / program).samefile(pathlib.Path(chunk_sizes.__file__))
    (smaller,) = documents.inline("docs/chunk-size.md", "--")

    def create(image: str, _state: str, logical_bytes: int, data_bytes: int) -> None:
        raise WorkBegins(image, logical_bytes, data_bytes)

    monkeypatch.setattr(chunk_sizes.GuestDisk, "create", create)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, *words, smaller, "0.5"])
    with pytest.raises(WorkBegins) as begun:
        chunk_sizes.main()
    assert begun.value.args == (f"{words[1]}/before.img", 16 << 30, 1 << 29)


def test_vectors_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    lines = documents.read("tests/formats/README.md").splitlines()
    shown = [shlex.split(line, comments=True) for line in lines if line.startswith("    python -m ")]
    assert [words[3:] for words in shown] == [[], ["--freeze"]]
    vectors = make_vectors.VECTORS
    for (_python, _m, module, *words), made_by in zip(shown, (False, True)):
        assert module == make_vectors.__name__
        monkeypatch.setattr(make_vectors, "VECTORS", tmp_path)
        monkeypatch.setattr(sys, "argv", [module, *words])
        make_vectors.main()
        cases = {path.parent.name for path in vectors.glob("*/case.json") if made_by or not _is_sample(path)}
        assert {path.name for path in tmp_path.iterdir()} == cases


def _is_sample(case: pathlib.Path) -> bool:
    return '"made_by"' in case.read_text(encoding="utf-8")
