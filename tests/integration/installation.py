# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that the role catalog_server deploys: on this machine without a service manager, or on a systemd host."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import typing as t
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.support import server_environment
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, Run, TaskResult
from ansible_collections.macfleet.parallels.tests.support.ssh_hosts import free_port
from ansible_collections.macfleet.parallels.tests.support.systemd_host import SystemdHost

COLLECTIONS = Path(__file__).absolute().parents[4].parent
COLLECTION = "ansible_collections/macfleet/parallels"
LOCK = "roles/catalog_server/files/requirements.lock"
SECONDS = 600
# Directories on a host that is nobody else's.
OF_A_HOST = ("/opt/catalog-server", "/etc/catalog-server", "/var/lib/catalog-server")
WHEELS = "/srv/wheels"

# Says that it is another interpreter; what it makes an environment of cannot import anything.
BROKEN = """#!/bin/sh
case "$1$2" in
    -c*print*) echo "3.13.0 CPython {directory}/private/python" ;;
    -mvenv) mkdir -p "$3/bin" && cp "{directory}/empty" "$3/bin/python" ;;
    *) exec {python} "$@" ;;
esac
"""
EMPTY = """#!/bin/sh
[ "$2" = pip ] && exit
echo "ModuleNotFoundError: No module named 'argparse'" >&2
exit 1
"""


@dataclass
class Installation:
    """Where it is, and how it is made. Paths are those of this machine."""

    directory: Path
    program: Path
    config: Path
    data: Path
    variables: dict[str, t.Any]
    host: dict[str, t.Any]
    systemd: SystemdHost | None = None
    port: int = field(default_factory=free_port)
    # What the first runs have shown
    refusal: str = ""
    first_run: Run | None = None
    first_arguments: t.AbstractSet[str] = frozenset()
    ansibles: dict[Path, Ansible] = field(default_factory=dict)

    def start(self, collections: Path = COLLECTIONS, words: t.Sequence[str] = (), **variables: t.Any) -> Run:
        """Begin a run of the role, with more words for ansible-playbook."""
        if collections not in self.ansibles:
            environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)}
            directory = self.directory / f"runs-{len(self.ansibles)}"
            self.ansibles[collections] = Ansible(directory, {"all": {"hosts": {"server": self.host}}}, environment)
        values = {**self.variables, "catalog_server_port": self.port, **variables}
        play = {"hosts": "server", "gather_facts": False, "roles": [{"role": "macfleet.parallels.catalog_server"}]}
        return self.ansibles[collections].start("server", [play], values, words)

    def run(self, collections: Path = COLLECTIONS, **variables: t.Any) -> list[str]:
        """Run the role; return the tasks that changed something."""
        run = self.start(collections, **variables)
        try:
            return changes(run.wait(SECONDS))
        finally:
            run.end()

    @property
    def another_storage(self) -> dict[str, str]:
        """Variables for another catalog, which must not use the storage of the first one."""
        return {"catalog_server_storage_directory": f"{self.inside(self.data)}/another-storage"}

    @property
    def settings(self) -> str:
        return (self.config / "settings.env").read_text(encoding="utf-8")

    @property
    def files(self) -> dict[str, bytes]:
        """All that the server is started with, byte for byte, and the release."""
        found = {str(path): path.read_bytes() for path in self.config.rglob("*") if path.is_file()}
        if self.systemd is not None:
            units = (self.systemd.root / "etc/systemd/system").glob("catalog-server*")
            found.update({str(path): path.read_bytes() for path in units if path.is_file()})
        return {**found, "current": self.current.encode()}

    @property
    def current(self) -> str:
        return os.readlink(self.program / "current")

    @property
    def previous(self) -> str:
        return os.readlink(self.program / "previous")

    @property
    def pid(self) -> int:
        """The process that runs, by what it says of itself."""
        return int(json.loads((self.data / "running.json").read_text(encoding="utf-8"))["pid"])

    @property
    def backups(self) -> list[Path]:
        return sorted(Path(f"{self.data}-backups").glob("2*"))

    def answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/api/health/ready", timeout=30) as reply:
            return bool(reply.status == 200)

    def inside(self, path: Path) -> str:
        """A path of this machine as the host knows it."""
        return f"/{path.relative_to(self.systemd.root)}" if self.systemd is not None else str(path)

    def outside(self, name: str) -> Path:
        """A path of the host as this machine knows it."""
        return self.systemd.root / name.lstrip("/") if self.systemd is not None else Path(name)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program on the host."""
        if self.systemd is not None:
            return self.systemd.run(*words)
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run catalog-server."""
        return self.call(self.inside(self.program / "bin/catalog-server"), *words)

    def command_of_before(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the catalog-server of the release of before."""
        release = self.inside(self.program / "previous")
        user = "catalog-server" if self.systemd is not None else getpass.getuser()
        settings = ("--settings", self.inside(self.config / "settings.env"))
        return self.call(f"{release}/venv/bin/python", "-E", f"{release}/launch.py", user, *settings, *words)

    def stop(self) -> None:
        """Stop the server."""
        argv = (self.inside(self.program / "bin/catalog-server-background"), "stop")
        done = self.call(*(("systemctl", "stop", "catalog-server") if self.systemd is not None else argv))
        assert done.returncode == 0, done.stderr

    def state(self) -> subprocess.CompletedProcess[str]:
        """Ask whether it runs with what is there."""
        return self.command("status", "--state-file", self.inside(self.data / "running.json"))


def changes(results: t.Iterable[TaskResult]) -> list[str]:
    """Return the names of the tasks that changed something."""
    return [result.task.rpartition(" : ")[2] for result in results if result.result.get("changed")]


def without_service_manager(directory: Path) -> Installation:
    """One in a directory of this machine, of the user of the tests."""
    program, config, data = (directory / name for name in ("program", "config", "data"))
    server_environment.make(program, sys.executable)
    variables = {
        "catalog_server_service_manager": "none",
        "catalog_server_user": getpass.getuser(),
        "catalog_server_manage_user": False,
        "catalog_server_install_directory": str(program),
        "catalog_server_config_directory": str(config),
        "catalog_server_data_directory": str(data),
        "catalog_server_python": sys.executable,
    }
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_pipelining": True}
    return Installation(directory, program, config, data, variables, host)


def on_systemd(directory: Path, host: SystemdHost) -> Installation:
    """One at its usual place on a host with systemd, whose packages are in a directory of wheels there."""
    program, config, data = (host.root / name.lstrip("/") for name in OF_A_HOST)
    variables = {"catalog_server_pip_arguments": ["--no-index", "--find-links", WHEELS]}
    return Installation(directory, program, config, data, variables, host.variables, host)


def another_release(directory: Path, files: t.Mapping[str, str]) -> Path:
    """Return the collections path of a copy of the collection with these files of the server replaced or added to.

    A name that begins with ``+`` is a file to add text to.
    """
    target = directory / COLLECTION
    ignore = shutil.ignore_patterns(".git", ".build", "tests", "__pycache__", "output")
    shutil.copytree(COLLECTIONS / COLLECTION, target, ignore=ignore)
    package = target / "roles/catalog_server/files/catalog_server"
    for name, text in files.items():
        with (package / name.lstrip("+")).open("a" if name.startswith("+") else "w", encoding="utf-8") as file:
            file.write(text)
    return directory


def wheels(cache: Path) -> Path:
    """The packages of the server for the Python of a host with systemd, as the lock file names them."""
    directory = cache / "wheels"
    words = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--python-version", "3.11"]
    words += ["--require-hashes", "-d", str(directory), "-r", str(COLLECTIONS / COLLECTION / LOCK)]
    subprocess.run([sys.executable, "-m", "pip", "download", *words], check=True)
    return directory


def broken_python(made: Installation) -> str:
    """Put an interpreter that nobody can use on the host; return its path there."""
    directory = made.outside("/srv/broken") if made.systemd is not None else made.directory
    directory.mkdir(exist_ok=True)
    python = "/usr/bin/python3" if made.systemd is not None else sys.executable
    texts = {"empty": EMPTY, "python": BROKEN.format(directory=made.inside(directory), python=python)}
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
        (directory / name).chmod(0o755)
    return made.inside(directory / "python")
