# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this machine offers to the tests, and what they build of it below .build/: Pythons, environments, settings."""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from process import run_logged

Version = tuple[int, int]

OLDEST_TARGET: Version = (3, 9)
OLDEST_CONTROLLER: Version = (3, 11)
INSTALL_SECONDS = 900
NAME_OF_PYTHON = re.compile(r"python3\.[0-9]+")
PROBE = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
KEPT_PREFIXES = ("LANG", "PIP_", "SSL_", "REQUESTS_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_", "npm_config_")
KEPT_NAMES = ("CI", "LOGNAME", "MACFLEET_TEST_SEED", "NODE_EXTRA_CA_CERTS", "TERM", "TMPDIR", "USER")


class SetUpError(Exception):
    """The tests could not be prepared."""


def written(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def python_directories() -> list[Path]:
    """Directories that may hold Pythons: pyenv's real ones first, never its shims, which fail when they are called."""
    found = sorted((Path.home() / ".pyenv/versions").glob("*/bin"), reverse=True)
    found += [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    found += [Path("/usr/local/bin"), Path("/usr/bin")]
    return [path for path in dict.fromkeys(found) if path.is_dir() and path.name != "shims"]


def version_of(python: Path) -> Version | None:
    """The version of an interpreter that works and can make environments."""
    try:
        answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    major, minor = answer.stdout.split()
    return int(major), int(minor)


def find_pythons() -> dict[Version, Path]:
    """One interpreter for each version from the oldest target on."""
    candidates: list[Path] = []
    for directory in python_directories():
        candidates += [path for path in sorted(directory.iterdir()) if NAME_OF_PYTHON.fullmatch(path.name)]
    pythons: dict[Version, Path] = {}
    for path in [*candidates, Path(sys.executable)]:
        version = version_of(path)
        if version is not None and version >= OLDEST_TARGET:
            pythons.setdefault(version, path)
    return dict(sorted(pythons.items()))


@dataclass(frozen=True)
class Machine:
    """The interpreters found and the directory that everything is built in."""

    checkout: Path
    build: Path
    pythons: dict[Version, Path]

    @property
    def collection(self) -> Path:
        """The copy of the collection at a path that Ansible's tools accept."""
        return self.build / "ansible_collections/macfleet/parallels"

    @property
    def newest(self) -> Version:
        return max(self.pythons)

    @property
    def bytecode(self) -> Path:
        """Where Python keeps compiled modules, below that directory under the whole paths of their sources."""
        return self.build / "cache/bytecode"

    def forget_temporary_bytecode(self) -> None:
        """Remove compiled modules whose sources were in temporary directories, of which each run has its own."""
        shutil.rmtree(self.bytecode / tempfile.gettempdir().lstrip("/"), ignore_errors=True)

    def log(self, name: str) -> Path:
        return self.build / "logs" / f"{name}.log"

    def environment(self, *first_in_path: Path) -> dict[str, str]:
        """Variables for a command: a home below .build/, real Pythons before all else, nothing else of the caller."""
        kept = {
            name: value for name, value in os.environ.items() if name in KEPT_NAMES or name.startswith(KEPT_PREFIXES)
        }
        path = [*first_in_path, *(python.parent for python in reversed(self.pythons.values()))]
        path += [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
        path += [Path("/usr/local/sbin"), Path("/usr/sbin"), Path("/sbin")]
        home = self.build / "home"
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(self.build),
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "PATH": os.pathsep.join(str(entry) for entry in dict.fromkeys(path) if entry.name != "shims"),
            "PIP_CACHE_DIR": str(self.build / "cache/pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            # Compiled once, not by each process that a test starts; and not into the checkout or a copy of it.
            "PYTHONPYCACHEPREFIX": str(self.bytecode),
            "npm_config_cache": str(self.build / "cache/npm"),
        }

    def virtual_environment(self, name: str, version: Version, requirements: list[Path]) -> Path:
        """An environment with these requirements, made anew when they change; its directory of programs."""
        directory = self.build / "venvs"
        directory.mkdir(parents=True, exist_ok=True)
        # Of two steps that need it at once, one makes it.
        with (directory / f"{name}-{written(version)}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._environment_as_wanted(name, version, requirements)

    def _environment_as_wanted(self, name: str, version: Version, requirements: list[Path]) -> Path:
        wanted = hashlib.sha256(str(self.pythons[version]).encode())
        for path in requirements:
            wanted.update(path.read_bytes())
        directory = self.build / "venvs" / f"{name}-{written(version)}"
        stamp = directory / "requirements.sha256"
        if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted.hexdigest():
            return directory / "bin"
        shutil.rmtree(directory, ignore_errors=True)
        log = self.log(f"venv-{directory.name}")
        log.unlink(missing_ok=True)
        files = [word for path in requirements for word in ("--requirement", str(path))]
        commands: list[list[str | Path]] = [
            [self.pythons[version], "-m", "venv", directory],
            [directory / "bin/python", "-m", "pip", "install", "--quiet", *files],
        ]
        for command in commands:
            finished = run_logged(
                command,
                environment=self.environment(),
                directory=self.build,
                log=log,
                deadline_seconds=INSTALL_SECONDS,
            )
            if not finished.succeeded:
                raise SetUpError(f"The environment {directory.name} could not be made.\n{finished.last_lines(30)}")
        stamp.write_text(wanted.hexdigest(), encoding="ascii")
        return directory / "bin"

    def keep_pip_settings(self) -> None:
        """ansible-test drops the variables of pip and sees another home: give it the caller's settings as a file."""
        listing = subprocess.run(
            [self.pythons[self.newest], "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        settings = configparser.RawConfigParser()
        settings.add_section("global")
        for line in listing.stdout.splitlines():
            name, _equals, value = line.partition("=")
            key = name.rpartition(".")[2]
            if key not in ("disable-pip-version-check", "cache-dir"):
                settings.set("global", key, value.strip().strip("'").replace("\\n", "\n"))
        settings.set("global", "cache-dir", str(self.build / "cache/pip"))
        target = self.build / "home/.config/pip/pip.conf"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as file:
            settings.write(file)


def this_machine(checkout: Path) -> Machine:
    """What there is to work with.

    :raises SetUpError: no Python is new enough for the server
    """
    pythons = find_pythons()
    if not pythons or max(pythons) < OLDEST_CONTROLLER:
        raise SetUpError(
            f"No Python from {written(OLDEST_CONTROLLER)} on that can make virtual environments was found. Install "
            "one, and on Debian the package python3-venv."
        )
    return Machine(checkout, checkout / ".build", pythons)
