# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a test run. Each is one function: it runs a tool or a part of the tests and counts the result."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from machine import OLDEST_TARGET, Machine, Version, written
from process import Finished, Running, run_logged
from seed_pip import seed_pip
from tally import Tally, one, read_junit

LINT_SECONDS = 600
TEST_SECONDS = 1800
# With some twenty runs of a role
INTEGRATION_SECONDS = 3000
LONG_SECONDS = 7200
SERVER_REQUIREMENTS = "roles/catalog_server/files/requirements.txt"
SERVER_PACKAGES = "roles/catalog_server/files"
# Unit tests of what runs on the controller or on the server's host, whose Pythons are newer than the oldest of a Mac
NOT_ON_MANAGED_HOSTS = ("plugins/action", "plugins/plugin_utils", "roles/catalog_server", "tools")
SHELL_SCRIPT = re.compile(rb"#!.*\b(sh|bash)\b")
INTEGRATION = "tests/integration"
# Each process of pytest-xdist has its own servers and volumes. None is idle while another has tests left, so a file
# may be shared out, and what its tests share is made again then. A good part of them waits.
IN_PARALLEL = ("--numprocesses=3", "--dist=worksteal")
# Where the tests of a file share what takes long to make.
FILE_BY_FILE = ("--numprocesses=2", "--dist=loadfile")
# Plays wait a good part of their time.
PLAYS = ("--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder")
LIFE_OF_AN_IMAGE = f"{INTEGRATION}/test_life_of_an_image.py"
FUZZING = "tests/server/test_api_fuzzing.py"
FUZZING_SECONDS = 60
FULL_FUZZING_SECONDS = 600
LONG_ROLE_TESTS = (
    f"{INTEGRATION}/test_server_role_faults.py",
    f"{INTEGRATION}/test_server_role.py::test_a_wrong_database_is_refused_before_its_url_is_written",
    f"{INTEGRATION}/test_server_role.py::test_what_runs_is_compared_with_what_should",
    f"{INTEGRATION}/test_server_role.py::test_an_update_can_be_rolled_back",
    f"{INTEGRATION}/test_server_role.py::test_a_release_that_does_not_start_makes_way_for_that_of_before",
    f"{INTEGRATION}/test_server_role.py::test_a_rollback_to_a_release_that_does_not_start_is_taken_back",
    f"{INTEGRATION}/test_server_role.py::test_a_release_that_cannot_be_left_any_more_stays",
    f"{INTEGRATION}/test_server_role.py::test_another_server_at_the_address_is_not_taken_for_this_one",
)
SCENARIOS = ("catalog_server", "catalog_host")
# What rests most on transactions, and so runs on PostgreSQL each time; a full run has all tests there.
ON_POSTGRESQL = ("catalog_ids", "identity_api", "leases", "manifests", "transfers_commit")
# Requests, jobs and servers that meet. A few of each in every run of the tests, and so many in a full one.
RACES = ("races", "commits_and_collections", "starts_at_once", "replicas")
MANY_RACES = "60"
# One in so many, where not every order of two tasks is tried.
FEW_ORDERS = "6"
NOTHING_TO_CHECK = "No tests applicable"


@dataclass
class House:
    """The machine and the environments that a step works with; ``running`` is what all steps run now."""

    machine: Machine
    running: Running = field(default_factory=Running)
    seen_logs: set[Path] = field(default_factory=set)
    failures: list[Finished] = field(default_factory=list)

    def requirements(self, *names: str) -> list[Path]:
        directory = self.machine.collection / "tests/tools/requirements"
        return [directory / f"{name}.txt" for name in names]

    def tools(self) -> Path:
        return self.machine.virtual_environment("tools", self.machine.newest, self.requirements("tools", "controller"))

    def server(self) -> Path:
        server = self.machine.collection / SERVER_REQUIREMENTS
        return self.machine.virtual_environment(
            "server", self.machine.newest, [server, *self.requirements("server", "controller")]
        )

    def call(
        self,
        log: str,
        programs: Path,
        command: Sequence[str | Path],
        *,
        directory: Path | None = None,
        seconds: float = LINT_SECONDS,
        variables: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a command in the copy of the collection; a step's log begins anew with its first command."""
        path = self.machine.log(log)
        if path not in self.seen_logs:
            path.unlink(missing_ok=True)
            self.seen_logs.add(path)
        finished = run_logged(
            command,
            environment={**self.machine.environment(programs), **(variables or {})},
            directory=directory or self.machine.collection,
            log=path,
            deadline_seconds=seconds,
            running=self.running,
        )
        if not finished.succeeded:
            self.failures.append(finished)
        return finished

    def tool(self, name: str, *words: str) -> Tally:
        """A linter: its exit code is the result."""
        programs = self.tools()
        log = "-".join((name, *(word for word in words[:1] if word.isalpha())))
        return one(log, self.call(log, programs, [programs / name, *words]).succeeded)

    def pytest(
        self,
        name: str,
        programs: Path,
        words: Iterable[str],
        variables: Mapping[str, str],
        seconds: float = TEST_SECONDS,
    ) -> Tally:
        """Tests: counted from what pytest wrote, or one failure when it could not write."""
        report = self.machine.build / "reports" / f"{name}.xml"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        finished = self.call(
            name,
            programs,
            [programs / "python", "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *words],
            seconds=seconds,
            variables=variables,
        )
        tally = read_junit(report) if report.is_file() else Tally()
        if not finished.succeeded and not tally.failed:
            tally.failed.append(f"{name}: pytest ended with status {finished.status}")
        return tally

    # Static checks

    def types_of_plugins(self) -> Tally:
        programs = self.server()
        tools = self.tools()
        tally = Tally()
        parts = {
            "plugins": ["-p", "ansible_collections.macfleet.parallels.plugins"],
            "server": ["-p", "catalog_server"],
            "roles": [
                str(path)
                for path in sorted((self.machine.collection / "roles").glob("*/files/**/*.py"))
                if SERVER_PACKAGES + "/catalog_server/" not in str(path)
            ],
            "tools": [str(self.machine.collection / "tests/tools/run.py")],
        }
        configuration = self.machine.collection / "mypy.ini"
        search = [
            self.machine.build,
            self.machine.collection / SERVER_PACKAGES / "deploy",
            self.machine.collection / SERVER_PACKAGES,
            self.machine.collection / "roles/catalog_host/files",
            self.machine.collection / "tests/tools",
        ]
        for name, words in parts.items():
            command: list[str | Path] = [
                tools / "mypy",
                "--config-file",
                configuration,
                "--cache-dir",
                self.machine.build / "cache/mypy",
                "--python-executable",
                programs / "python",
                *words,
            ]
            finished = self.call(
                f"mypy-{name}",
                tools,
                command,
                directory=self.machine.build,
                variables={"MYPYPATH": ":".join(map(str, search))},
            )
            tally.add(one(f"mypy {name}", finished.succeeded))
        return tally

    def shell_scripts(self) -> Tally:
        """Scripts without a suffix, which ansible-test does not look at."""
        programs = self.tools()
        scripts: list[str | Path] = []
        for path in sorted(self.machine.collection.rglob("*")):
            if path.suffix == "" and path.is_file() and not {".git", "output"} & set(path.parts):
                with path.open("rb") as file:
                    if SHELL_SCRIPT.match(file.readline()):
                        scripts.append(path)
        return one("shellcheck", self.call("shellcheck", programs, [programs / "shellcheck", *scripts]).succeeded)

    def documentation(self) -> Tally:
        return self.tool(
            "antsibull-docs",
            "lint-collection-docs",
            "--plugin-docs",
            "--skip-rstcheck",
            "--validate-collection-refs",
            "all",
            "--disallow-unknown-collection-refs",
            "--check-extra-docs-refs",
            ".",
        )

    def sanity(self) -> Tally:
        """All of ansible-test's checks; those of imports and syntax on every Python that was found."""
        programs = self.tools()
        seed_pip(self.machine, programs, written(self.machine.newest))
        reports = self.machine.collection / "tests/output/junit"
        shutil.rmtree(reports, ignore_errors=True)
        finished = self.call(
            "sanity",
            programs,
            [programs / "ansible-test", "sanity", "--venv", "--junit", "--color", "no"],
            seconds=TEST_SECONDS,
        )
        tally = Tally()
        for report in sorted(reports.glob("*.xml")):
            tally.add(read_junit(report))
        # It names each Python it knows of, and each check that has nothing to look at.
        oldest = f"python-{written(OLDEST_TARGET)}"
        tally.skipped = [reason for reason in tally.skipped if oldest in reason and NOTHING_TO_CHECK not in reason]
        if not finished.succeeded and not tally.failed:
            tally.failed.append("ansible-test sanity")
        return tally

    # Tests that run something

    def module_utils_of_ansible(self) -> Path:
        """What of ansible-core reaches a managed host, for Pythons that ansible-core itself no longer knows."""
        newest = self.machine.newest
        source = self.tools().parent / f"lib/python{written(newest)}/site-packages/ansible/module_utils"
        target = self.machine.build / "target/ansible/module_utils"
        shutil.rmtree(target.parent, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        (target.parent / "__init__.py").touch()
        return target.parent.parent

    def units(self, version: Version, in_full: bool) -> Tally:
        """The unit tests as a managed host of this Python, or as the controller where it is the newest.

        Every order of two tasks is tried on the oldest Python, and in a full run on each.
        """
        name = f"units-{written(version)}"
        if version not in self.machine.pythons:
            return Tally(skipped=[f"unit tests on Python {written(version)}: no such Python was found on this machine"])
        words = ["tests/unit", *IN_PARALLEL]
        search = [self.machine.build]
        every = "1" if in_full or version == OLDEST_TARGET else FEW_ORDERS
        if version == self.machine.newest:
            requirements = self.requirements("units", "controller")
        else:
            requirements = self.requirements("units")
            search.append(self.module_utils_of_ansible())
            words += [f"--ignore=tests/unit/{part}" for part in NOT_ON_MANAGED_HOSTS]
        programs = self.machine.virtual_environment("units", version, requirements)
        variables = {"PYTHONPATH": ":".join(map(str, search)), "MACFLEET_TEST_ORDERS_EVERY": every}
        return self.pytest(name, programs, words, variables)

    def server_tests(self) -> Tally:
        words = ["tests/server", f"--ignore={FUZZING}", *IN_PARALLEL]
        return self.pytest("server", self.server(), words, self._server_packages())

    def fuzzing(self, seconds: int) -> Tally:
        """schemathesis on the API of the server, for so long in all."""
        variables = {**self._server_packages(), "MACFLEET_TEST_FUZZING_SECONDS": str(seconds)}
        return self.pytest("fuzzing", self.server(), [FUZZING], variables)

    def server_tests_on_postgresql(self, in_full: bool) -> Tally:
        """Tests of the server that have run on SQLite; those that need no database, or name theirs, are left out."""
        tests = (
            ["tests/server", f"--ignore={FUZZING}"]
            if in_full
            else [f"tests/server/test_{name}.py" for name in ON_POSTGRESQL]
        )
        variables = {**self._server_packages(), "MACFLEET_TEST_DATABASE": "postgresql"}
        seconds = LONG_SECONDS if in_full else TEST_SECONDS
        return self.pytest("server-postgresql", self.server(), [*tests, *IN_PARALLEL], variables, seconds)

    def many_races(self) -> Tally:
        files = [f"tests/server/test_{name}.py" for name in RACES]
        variables = {**self._server_packages(), "MACFLEET_TEST_RACES": MANY_RACES}
        return self.pytest("races", self.server(), [*files, *IN_PARALLEL], variables, LONG_SECONDS)

    def _server_packages(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{self.machine.build}:{self.machine.collection / SERVER_PACKAGES}"}

    def crashes(self) -> Tally:
        """Kills and power cuts of the server, in greater numbers than those of the other tests."""
        tests = [f"tests/server/{name}.py" for name in ("test_kills", "test_power_cuts", "test_cut_commands")]
        numbers = {
            "MACFLEET_TEST_SERVER_KILLS": "200",
            "MACFLEET_TEST_POWER_CUTS": "50",
            "MACFLEET_TEST_CUT_STEPS": "0",
        }
        words = [*tests, "--numprocesses=2", "--dist=load"]
        return self.pytest("crashes", self.server(), words, {**self._server_packages(), **numbers}, LONG_SECONDS)

    def integration(self, version: Version, tests: str, in_full: bool) -> Tally:
        """Plays between a real server and real hosts; the modules run on this Python.

        What takes many runs of a role is left to the full run.
        """
        name = f"integration-{written(version)}"
        variables = self._server_packages()
        if version in self.machine.pythons:
            variables["MACFLEET_TEST_TARGET_PYTHON"] = str(self.machine.pythons[version])
        left_out = () if in_full else LONG_ROLE_TESTS
        words = [tests, *(f"--deselect={test}" for test in left_out), *PLAYS]
        return self.pytest(name, self.server(), words, variables, LONG_SECONDS if in_full else INTEGRATION_SECONDS)

    def role_on_systemd(self) -> Tally:
        """The tests of the server's role, on a host that systemd has booted."""
        variables = {
            "PYTHONPATH": f"{self.machine.build}:{self.machine.collection / SERVER_PACKAGES}",
            "MACFLEET_TEST_SYSTEMD": str(self.machine.build / "cache/systemd-host"),
        }
        words = ["-k", "systemd"]
        words += [f"{INTEGRATION}/test_server_role.py", f"{INTEGRATION}/test_server_role_faults.py"]
        # Some sixty runs of the role
        return self.pytest("role-on-systemd", self.server(), words, variables, 2 * TEST_SECONDS)

    def molecule(self, scenario: str, *actions: str) -> Tally:
        """Actions of a scenario of a role, on hosts that it makes on this machine."""
        requirements = self.requirements("molecule", "controller")
        programs = self.machine.virtual_environment("molecule", self.machine.newest, requirements)
        tally = Tally()
        for action in actions:
            finished = self.call(
                f"molecule-{scenario}",
                programs,
                [programs / "molecule", action, "--scenario-name", scenario],
                directory=self.machine.collection / "extensions",
                seconds=TEST_SECONDS,
                variables={"MOLECULE_EPHEMERAL_DIRECTORY": str(self.machine.build / "molecule" / scenario)},
            )
            tally.add(one(f"molecule {action} {scenario}", finished.succeeded))
        return tally

    def reference(self) -> Tally:
        """Write the description of the server's API into the checkout."""
        programs = self.server()
        checkout = self.machine.checkout
        finished = self.call(
            "reference",
            programs,
            [programs / "python", checkout / "tests/tools/api_reference.py"],
            variables={"PYTHONPATH": f"{self.machine.build}:{self.machine.collection / SERVER_PACKAGES}"},
        )
        return one("reference", finished.succeeded)

    def demo(self) -> Tally:
        programs = self.tools()
        finished = self.call(
            "demo",
            programs,
            [self.machine.checkout / "tests/demo/run"],
            directory=self.machine.checkout,
            seconds=900,
            variables={"MACFLEET_TEST_STAGED": "1"},
        )
        return one("demo", finished.succeeded)


@dataclass(frozen=True)
class Step:
    """A named part of the run; it returns its counts. One that is ``light`` keeps one core busy, others keep two."""

    name: str
    run: Callable[[House], Tally]
    light: bool = False


def static_steps() -> list[Step]:
    return [
        Step("ruff format", lambda house: house.tool("ruff", "format", "--check", "."), light=True),
        Step("ruff check", lambda house: house.tool("ruff", "check", "."), light=True),
        Step("mypy", House.types_of_plugins, light=True),
        Step("yamllint", lambda house: house.tool("yamllint", "--strict", "."), light=True),
        Step("shellcheck", House.shell_scripts, light=True),
        Step(
            "ansible-lint",
            lambda house: house.tool("ansible-lint", "--profile", "production", "--offline"),
            light=True,
        ),
        Step("documentation", House.documentation, light=True),
        Step("changelog", lambda house: house.tool("antsibull-changelog", "lint"), light=True),
        Step("licences", lambda house: house.tool("reuse", "lint"), light=True),
    ]


def running_steps(newest: Version, versions: Iterable[Version], in_full: bool = False) -> list[Step]:
    """Return the steps that run something: units on these versions, the longest of the light ones first."""
    seconds = FULL_FUZZING_SECONDS if in_full else FUZZING_SECONDS
    actions = ("test",) if in_full else ("syntax", "create", "destroy")
    steps = [
        Step("ansible-test sanity", House.sanity, light=True),
        Step("demo", House.demo, light=True),
        Step("fuzzing of the server's API", lambda house: house.fuzzing(seconds), light=True),
        _integration(newest, LIFE_OF_AN_IMAGE, in_full, light=True),
    ]
    steps += [_molecule(scenario, actions) for scenario in SCENARIOS]
    steps += [_units(version, in_full) for version in sorted(set(versions))]
    steps.append(Step("tests of the server", House.server_tests))
    steps.append(
        Step("tests of the server on PostgreSQL", lambda house: house.server_tests_on_postgresql(in_full=in_full))
    )
    if in_full:
        steps.append(Step("races of the server", House.many_races))
        steps.append(Step("kills and power cuts of the server", House.crashes))
    steps.append(_integration(OLDEST_TARGET, INTEGRATION, in_full))
    if in_full:
        steps.append(Step("role of the server, on a host with systemd", House.role_on_systemd))
    return steps


def _units(version: Version, in_full: bool) -> Step:
    return Step(f"unit tests, Python {written(version)}", lambda house: house.units(version, in_full))


def _integration(version: Version, tests: str, in_full: bool, light: bool = False) -> Step:
    name = f"integration tests, modules on Python {written(version)}"
    return Step(name, lambda house: house.integration(version, tests, in_full), light)


def _molecule(scenario: str, actions: Sequence[str]) -> Step:
    return Step(f"molecule, {scenario}", lambda house: house.molecule(scenario, *actions), light=True)
