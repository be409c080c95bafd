# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One image from a build host over a catalog to three hosts, then its second version; shows what moved.

main.py WORK HOST_PYTHON SERVER_PYTHON, started by ``prepare.py``. The server is deployed by the playbook, the hosts are
reached by SSH where an sshd can be had, Parallels Desktop is simulated. Nothing is left running.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import getpass
import json
import os
import shutil
import socket
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.macfleet.parallels.tests.simulators.prlctl import control
from ansible_collections.macfleet.parallels.tests.support import bundles, ssh_hosts
from ansible_collections.macfleet.parallels.tests.support.ansible_runs import Ansible, RunFailed, TaskResult
from ansible_collections.macfleet.parallels.tests.support.signals import end_in_order
from ansible_collections.macfleet.parallels.tests.support.volume import NoVolume, keep_mounts_private, reflink_volume

MACS = ("mac01", "mac02", "mac03")
BUILDER = "builder"
IMAGE = "debian-runner"
MIB = 1 << 20
VOLUME_BYTES = 16 << 30
PLAYBOOK = "macfleet.parallels.{}"


class Row(t.NamedTuple):
    """One line of the final table."""

    what: str
    where: str
    seconds: float
    moved_bytes: int
    reused_bytes: int
    changed: bool


class Demo:
    """The stage: directories, hosts, and what has happened."""

    def __init__(self, work: Path, host_python: str, server_python: str) -> None:
        self.work = work
        self.host_python = host_python
        self.server_python = server_python
        self.rows: list[Row] = []
        self.begun = time.monotonic()
        self._ansible: Ansible | None = None

    def say(self, text: str) -> None:
        """A line with the seconds since the beginning."""
        print(f"[{time.monotonic() - self.begun:5.1f} s] {text}", flush=True)

    @property
    def ansible(self) -> Ansible:
        """Playbooks of this stage."""
        if self._ansible is None:
            raise RuntimeError("the hosts are not known yet")
        return self._ansible

    def know_hosts(self, hosts: t.Sequence[ssh_hosts.Host], environment: t.Mapping[str, str], runs: str) -> None:
        """Write the inventory; logs go to ``runs``."""
        by_name = {host.name: host.variables for host in hosts}
        server = {"ansible_connection": "local", "ansible_python_interpreter": self.server_python}
        groups = {
            "catalog_servers": {"hosts": {"catalog": server}},
            "catalog_builders": {"hosts": {BUILDER: by_name[BUILDER]}},
            "macs": {"hosts": {name: by_name[name] for name in MACS}},
        }
        self._ansible = Ansible(self.work / "runs" / runs, {"all": {"children": groups}}, environment)

    def add_row(self, what: str, done: TaskResult, moved: str, reused: str) -> None:
        """Note what one host did."""
        sizes = done.result.get("bytes", {})
        self.rows.append(
            Row(
                what,
                done.host,
                float(done.result.get("elapsed", done.seconds)),
                int(sizes.get(moved, 0)),
                int(sizes.get(reused, 0)),
                bool(done.result.get("changed")),
            )
        )


def main() -> int:
    """The whole demonstration; 0 if everything went well."""
    keep_mounts_private()
    end_in_order()
    work, host_python, server_python = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    demo = Demo(work, host_python, server_python)
    try:
        with contextlib.ExitStack() as stack:
            perform(demo, stack)
    except RunFailed as error:
        print(f"The demonstration failed.\n{error}", file=sys.stderr)
        return 1
    # What is left below the directory are logs; the disks would be several GiB.
    for name in ("hosts", "server"):
        shutil.rmtree(work / name, ignore_errors=True)
    demo.say(f"Nothing is left running; the logs are in {work / 'runs'}.")
    return 0


def perform(demo: Demo, stack: contextlib.ExitStack) -> None:
    """Everything that is shown."""
    hosts = start_hosts(demo, stack)
    server = server_settings(demo)
    environment = {
        **os.environ,
        "ANSIBLE_PIPELINING": "true",
        "MACFLEET_CATALOG_URL": server["catalog_server_public_url"],
    }
    demo.know_hosts(hosts, environment, "server")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        home = next(host.home for host in hosts if host.name == BUILDER)
        sample = pool.submit(bundles.SampleVm.create, str(home / "Parallels"), "Debian runner", size=bundles.DEMO)
        demo.say("The metadata server: playbook macfleet.parallels.server …")
        stack.callback(stop_server, demo, server)
        demo.ansible.run("server", PLAYBOOK.format("server"), server)
        machine = sample.result()
    image = Path(bundles.image_path(machine.bundle))
    demo.say(
        f"A bundle with a real ext4 file system: {len(machine.guest.files)} files, "
        f"{machine.guest.data_bytes / MIB:.0f} MiB in a disk of {bundles.DEMO.logical_bytes / MIB:.0f} MiB, "
        f"{image.stat().st_size / MIB:.0f} MiB as {image.suffix}"
    )
    log_in(demo, server, environment, hosts)
    prepare_hosts(demo, hosts)
    publish(demo, machine, "1.0.0", "push, first version")
    pull(demo, "pull, cold", "runner-1")
    pull(demo, "pull again", "runner-1")
    pull(demo, "second VM of it", "runner-2")
    change = machine.update(0.01)
    demo.say(f"In the guest: {change.files} files replaced, {change.bytes_written / MIB:.1f} MiB")
    publish(demo, machine, "1.1.0", "push, second version")
    pull(demo, "pull, second version", "runner-3")
    show_facts(demo, hosts)
    show_table(demo)


def start_hosts(demo: Demo, stack: contextlib.ExitStack) -> list[ssh_hosts.Host]:
    """A build host and three to pull, by SSH and with cloning disks if possible."""
    names, directory, packages = (BUILDER, *MACS), demo.work / "hosts", demo.work.parent / "packages"
    programs = directory / "bin"
    control.install(programs, demo.host_python)
    try:
        homes = stack.enter_context(reflink_volume(directory, VOLUME_BYTES, packages))
        demo.say("Their disks: a file system with reflinks, as APFS has clones")
    except NoVolume as error:
        homes = directory
        demo.say(f"Their disks: those of this machine, virtual machines are copies; for reflinks, {error}")
    try:
        hosts = stack.enter_context(ssh_hosts.ssh_hosts(names, homes, programs, demo.host_python, packages))
        demo.say(f"{len(hosts)} hosts, each an sshd with a home of its own: {', '.join(names)}")
    except ssh_hosts.CannotRunSshd as error:
        hosts = ssh_hosts.local_hosts(names, homes, programs, demo.host_python)
        demo.say(f"{len(hosts)} hosts with homes of their own, not by SSH: {error}")
    return hosts


def server_settings(demo: Demo) -> dict[str, t.Any]:
    """Parameters of the role catalog_server: everything below the work directory, as this user."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = demo.work / "server"
    return {
        "server_become": False,
        "catalog_server_service_manager": "none",
        "catalog_server_user": getpass.getuser(),
        "catalog_server_manage_user": False,
        "catalog_server_install_directory": str(place / "program"),
        "catalog_server_config_directory": str(place / "config"),
        "catalog_server_data_directory": str(place / "data"),
        "catalog_server_python": demo.server_python,
        "catalog_server_port": port,
        "catalog_server_public_url": f"http://127.0.0.1:{port}",
    }


def stop_server(demo: Demo, server: dict[str, t.Any]) -> None:
    """End it as the role does."""
    demo.ansible.run("server-absent", PLAYBOOK.format("server"), {**server, "catalog_server_state": "absent"})


def log_in(
    demo: Demo, server: dict[str, t.Any], environment: dict[str, str], hosts: t.Sequence[ssh_hosts.Host]
) -> None:
    """Credentials for the controller; the hosts never see them."""
    password = (
        Path(server["catalog_server_config_directory"], "secrets/admin-password").read_text(encoding="utf-8").strip()
    )
    credentials = {"MACFLEET_CATALOG_USERNAME": "admin", "MACFLEET_CATALOG_PASSWORD": password}
    demo.know_hosts(hosts, {**environment, **credentials}, "images")


def prepare_hosts(demo: Demo, hosts: t.Sequence[ssh_hosts.Host]) -> None:
    """The role catalog_host on each, in its home."""
    tasks = [
        {
            "name": "Prepare the host",
            "ansible.builtin.include_role": {"name": "macfleet.parallels.catalog_host"},
            "vars": host_settings(host),
            "when": f"inventory_hostname == {host.name!r}",
        }
        for host in hosts
    ]
    demo.say("The hosts: role macfleet.parallels.catalog_host …")
    demo.ansible.run("hosts", [{"hosts": "macs", "gather_facts": False, "tasks": tasks}])


def host_settings(host: ssh_hosts.Host) -> dict[str, t.Any]:
    """Parameters of the role catalog_host for one host."""
    return {
        "catalog_host_caches": [{"owner": getpass.getuser()}],
        "catalog_host_facts_directory": str(host.home / "facts"),
        "catalog_host_local_facts_directory": str(host.home / "facts.d"),
    }


def publish(demo: Demo, machine: bundles.SampleVm, version: str, what: str) -> None:
    """Push the bundle as a version."""
    demo.say(f"Version {version}: playbook macfleet.parallels.push …")
    wanted = {"push_path": machine.bundle, "push_catalog_id": IMAGE, "push_version": version}
    for done in transfers(demo.ansible.run("push", PLAYBOOK.format("push"), wanted), "catalog_push"):
        demo.add_row(what, done, "encoded", "reused")


def pull(demo: Demo, what: str, name: str) -> None:
    """A started VM on every host, all at once."""
    demo.say(f"{what}, {name} on {len(MACS)} hosts: playbook macfleet.parallels.pull …")
    wanted = {"pull_catalog_id": IMAGE, "pull_version": ">=1,<2", "pull_name": name, "pull_state": "present"}
    for done in transfers(demo.ansible.run("pull", PLAYBOOK.format("pull"), wanted), "catalog_pull"):
        demo.add_row(what, done, "downloaded", "reused")


def transfers(results: t.Sequence[TaskResult], module: str) -> list[TaskResult]:
    """The results of one module of the collection, sorted by host."""
    found = [done for done in results if done.action.endswith(module)]
    return sorted(found, key=lambda done: done.host)


def show_facts(demo: Demo, hosts: t.Sequence[ssh_hosts.Host]) -> None:
    """What every later play knows of a host."""
    tasks: list[dict[str, t.Any]] = [{"macfleet.parallels.catalog_cache_facts": {}}]
    results = demo.ansible.run("facts", [{"hosts": "macs", "gather_facts": False, "tasks": tasks}])
    facts = {done.host: done.result["ansible_facts"]["parallels_catalog"] for done in results}
    demo.say(f"ansible_facts.parallels_catalog of {MACS[0]}:")
    print(json.dumps(facts[MACS[0]], indent=2, sort_keys=True))


def show_table(demo: Demo) -> None:
    """What moved, what was reused, how long."""
    print()
    print(f"{'step':24} {'host':8} {'changed':8} {'moved MiB':>10} {'reused MiB':>11} {'seconds':>8}")
    for row in demo.rows:
        print(
            f"{row.what:24} {row.where:8} {'yes' if row.changed else 'no':8} {row.moved_bytes / MIB:10.1f} "
            f"{row.reused_bytes / MIB:11.1f} {row.seconds:8.1f}"
        )
    print("moved: encoded bytes sent or received; reused: raw bytes that were there already\n")


if __name__ == "__main__":
    sys.exit(main())
