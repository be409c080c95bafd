# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests stand on: a real server with users, real hosts, and plays between them."""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import re
import time
import typing as t
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.macfleet.parallels.plugins.module_utils._api.addresses import normalise_architecture
from ansible_collections.macfleet.parallels.plugins.module_utils._host.requirements import hardware_architecture
from ansible_collections.macfleet.parallels.tests.simulators.prlctl import control
from ansible_collections.macfleet.parallels.tests.support import ssh_hosts
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, Run, TaskResult
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess

COLLECTIONS = Path(ssh_hosts.__file__).absolute().parents[5]
CACHE = "Library/Application Support/macfleet.parallels"
BUILDER = "builder"
MACS = ("mac01", "mac02", "mac03")
# One more host that pulls. A registration hangs there while the tests of other modules run.
HANGING = "hanging"
DEADLINE_SECONDS = 300

# The hardware of the hosts is that of this machine; the other one is what they are not.
ARCHITECTURE = normalise_architecture(hardware_architecture())
OTHER_ARCHITECTURE = "x86_64" if ARCHITECTURE == "arm64" else "arm64"

Task = t.Dict[str, t.Any]


@dataclass(frozen=True)
class User:
    """Somebody whom the server knows."""

    name: str
    password: str
    token: str
    api_key: str


class Results:
    """What came of the tasks of a play, by their names."""

    def __init__(self, rows: t.Sequence[TaskResult], log: Path) -> None:
        self.rows = rows
        self.log = log

    def __getitem__(self, task: str) -> TaskResult:
        found = self.of(task)
        assert len(found) == 1, f"{task!r} has the results of {sorted(found) or 'no host'}"
        return next(iter(found.values()))

    def of(self, task: str) -> dict[str, TaskResult]:
        """The results of each host."""
        return {row.host: row for row in self.rows if row.task == task}

    def changed(self) -> list[str]:
        """Tasks that changed something."""
        return [f"{row.host}: {row.task}" for row in self.rows if row.result.get("changed")]


def task(
    name: str,
    module: str,
    args: t.Mapping[str, t.Any] | None = None,
    *,
    check: bool = False,
    may_fail: bool = False,
    **keywords: str | bool,
) -> Task:
    """A task with a module of the collection, or with any other by its full name."""
    full_name = module if "." in module or module == "hand_over" else f"macfleet.parallels.{module}"
    made: Task = {"name": name, full_name: dict(args or {}), **keywords}
    if check:
        made["check_mode"] = True
    if may_fail:
        made["ignore_errors"] = True
    return made


def thrice(name: str, module: str, args: t.Mapping[str, t.Any]) -> list[Task]:
    """The same in check mode, for real, and once more: ``<name>, check`` and so on, with diffs."""
    return [
        task(f"{name}, check", module, args, check=True, diff=True),
        task(name, module, args, diff=True),
        task(f"{name}, again", module, args, diff=True),
    ]


class Server:
    """The server process with its users, as its own clients see it."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.url = process.url
        self.admin_token = process.token()
        self.users: list[User] = []

    def add_user(self, name: str, *rights: str) -> User:
        """A user with a password, a login token and an API key."""
        password = f"the password of {name}, quite long"
        self.process.command("user", "add", name, "--password-stdin", *rights, text=password)
        key = self.process.command("user", "key", name, "--never-expires").strip()
        _status, reply = self.ask("POST", "/auth/token", None, {"username": name, "password": password})
        user = User(name, password, reply["token"], key)
        self.users.append(user)
        return user

    def ask(
        self, method: str, path: str, token: str | None, body: t.Any = None, url: str | None = None
    ) -> tuple[int, t.Any]:
        """Status and JSON of one request to a native route."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url or self.url}/api{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def manifests(self, catalog_id: str) -> list[dict[str, t.Any]]:
        """What an administrator sees of a catalog id."""
        status, reply = self.ask("GET", f"/manifests?catalog_id={catalog_id}", self.admin_token)
        assert status == 200, reply
        return t.cast("list[dict[str, t.Any]]", reply["manifests"])

    def segments(self, smallest_bytes: int = 0) -> list[Path]:
        """The segments in the embedded storage, the one stored last at the end."""
        found = [
            path
            for path in self.process.storage.rglob("packs/*/*")
            if path.is_file() and len(path.name) == 64 and path.stat().st_size >= smallest_bytes
        ]
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


class Mac:
    """A managed host, looked at from outside."""

    def __init__(self, host: ssh_hosts.Host) -> None:
        self.name = host.name
        self.home = host.home
        self.variables = host.variables
        self.parallels = control.Simulated(host.home)
        self.cache = host.home / CACHE

    def cached(self, digest: str) -> Path:
        """Where an image of the cache lies."""
        return self.cache / "bundles" / digest / "bundle"

    def vm_home(self, name: str, kind: str = "pvm") -> Path:
        """Where Parallels Desktop keeps a VM."""
        return self.home / "Parallels" / f"{name}.{kind}"

    def holdings(self, *more: Path) -> dict[str, list[str]]:
        """What is visible under final names: images, VMs and receipts, and what lies in these directories."""
        places = [*(self.cache / name for name in ("bundles", "receipts", "trash")), self.home / "Parallels", *more]
        found = {str(place): sorted(os.listdir(place)) if place.is_dir() else [] for place in places}
        found["registered"] = sorted(machine["home"] for machine in self.parallels.machines().values())
        return found

    def found(self) -> list[str]:
        """What is in its home, but for Ansible's own directories."""
        return sorted(name for name in os.listdir(self.home) if not name.startswith(".ansible"))

    def transfers(self) -> list[int]:
        """Processes of modules that work in the background: they hold the locks of their jobs."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                opened = [os.readlink(link) for link in (entry / "fd").iterdir()]
                holds = any(
                    re.fullmatch(rf"{re.escape(str(self.home))}/\.ansible_async/.*\.lock", name) for name in opened
                )
                # Those that wait for their end have them open, too.
                if holds and b"flock(descriptor" not in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def processes(self, words: str) -> list[int]:
        """Processes of this host whose command line holds these words."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if os.fsencode(f"HOME={self.home}") in environment and words.encode() in command:
                found.append(int(entry.name))
        return found

    def jobs(self) -> list[str]:
        """What is there of jobs in the background: their results, their progress, and what cancels them."""
        return sorted(path.name for path in (self.home / ".ansible_async").glob("*"))

    def wait_for_end_of_transfers(self, deadline_seconds: float = 60) -> None:
        """Until no module works in the background of this host."""
        deadline = time.monotonic() + deadline_seconds
        while found := self.transfers():
            assert time.monotonic() < deadline, f"the transfers {found} still run on {self.name}"
            time.sleep(0.05)


class Stage:
    """Everything together."""

    def __init__(self, work: Path, server: Server, macs: t.Sequence[Mac], missing_ssh: str) -> None:
        self.work = work
        self.server = server
        self.missing_ssh = missing_ssh
        self._macs = {mac.name: mac for mac in macs}
        self._cleared = 0
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MACFLEET_"))},
            "ANSIBLE_ACTION_PLUGINS": str(Path(__file__).parent / "action_plugins"),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_DEPRECATION_WARNINGS": "true",
            "ANSIBLE_HOME": str(work / "controller"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_INJECT_INVOCATION": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_VERBOSITY": "3",
            "HOME": str(work / "controller"),
            "MACFLEET_CATALOG_URL": server.url,
            "MACFLEET_CATALOG_TOKEN": server.admin_token,
        }
        (work / "controller").mkdir(exist_ok=True)
        hosts = {mac.name: mac.variables for mac in macs}
        # The same host once more: two plays that meet there.
        hosts["mac02-again"] = hosts["mac02"]
        groups: dict[str, t.Any] = {
            "catalog_builders": {"hosts": {BUILDER: {}}},
            "macs": {"hosts": {name: {} for name in MACS}},
            "twice": {"hosts": {"mac02": {}, "mac02-again": {}}},
        }
        self.ansible = Ansible(work / "runs", {"all": {"hosts": hosts, "children": groups}}, environment)

    @property
    def user(self) -> str:
        """Who works on the hosts."""
        return getpass.getuser()

    @property
    def builder(self) -> Mac:
        """Where images are made."""
        return self._macs[BUILDER]

    def mac(self, name: str) -> Mac:
        """One of the hosts that pull."""
        return self._macs[name]

    @property
    def left(self) -> Path:
        """What the tests of earlier modules have left on the hosts."""
        return self.work / "hosts/left"

    def clear_hosts(self) -> None:
        """Move everything out of the homes of the hosts into ``left``: images, VMs and what Parallels knows of them.

        Ansible's own directories stay: after an asynchronous task, it removes its files there some seconds later.
        """
        self._cleared += 1
        for mac in self._macs.values():
            if mac.name == HANGING:
                continue
            mac.wait_for_end_of_transfers()
            place = self.left / f"{self._cleared:02}" / mac.name
            place.mkdir(parents=True)
            for name in mac.found():
                (mac.home / name).rename(place / name)

    @functools.cached_property
    def logs(self) -> Path:
        """What the runs have printed and returned."""
        return self.work / "runs"

    def play(
        self, hosts: str, tasks: t.Sequence[Task], variables: t.Mapping[str, t.Any] | None = None, **keywords: t.Any
    ) -> Results:
        """Run one play to its end."""
        run = self.start(hosts, tasks, variables, **keywords)
        return Results(run.wait(DEADLINE_SECONDS), run.log)

    def start(
        self, hosts: str, tasks: t.Sequence[Task], variables: t.Mapping[str, t.Any] | None = None, **keywords: t.Any
    ) -> Run:
        """Begin a play. What is secret belongs into ``variables``: Ansible prints lines of playbooks."""
        play = {"hosts": hosts, "gather_facts": False, "tasks": list(tasks), **keywords}
        return self.ansible.start(hosts, [play], variables)

    def playbook(self, name: str, variables: t.Mapping[str, t.Any]) -> Results:
        """Run a playbook of the collection."""
        run = self.ansible.start(name, f"macfleet.parallels.{name}", variables)
        return Results(run.wait(DEADLINE_SECONDS), run.log)
