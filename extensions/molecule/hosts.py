# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of a scenario: those of the integration tests, kept by a process of their own.

    hosts.py start DIRECTORY NAME…
    hosts.py stop DIRECTORY

``DIRECTORY/hosts.json`` has the variables of each host as Ansible wants them; ``molecule_home`` is its home.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[5]
if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.macfleet.parallels.tests.support import signals, ssh_hosts

READY_SECONDS = 120
STOP_SECONDS = 30
POLL_SECONDS = 0.05


def keep(directory: Path, names: list[str]) -> None:
    """Keep the hosts until SIGTERM. The lock on the pid file lasts as long as this process."""
    signals.end_in_order()
    with (directory / "pid").open("w", encoding="ascii") as pid_file, contextlib.ExitStack() as stack:
        fcntl.flock(pid_file, fcntl.LOCK_EX)
        pid_file.write(f"{os.getpid()}\n")
        pid_file.flush()
        programs = directory / "bin"
        programs.mkdir()
        try:
            hosts = stack.enter_context(ssh_hosts.ssh_hosts(names, directory, programs, sys.executable))
        except ssh_hosts.CannotRunSshd as error:
            print(f"The hosts are reached without SSH: {error}", file=sys.stderr, flush=True)
            hosts = ssh_hosts.local_hosts(names, directory, programs, sys.executable)
        # A host without SSH has no ansible_user.
        known = {
            host.name: {
                "ansible_user": os.environ.get("USER", "root"),
                **host.variables,
                "molecule_home": str(host.home),
            }
            for host in hosts
        }
        temporary = directory / "hosts.json.new"
        temporary.write_text(json.dumps(known, indent=2), encoding="utf-8")
        temporary.rename(directory / "hosts.json")
        while True:
            signal.pause()


def start(directory: Path, names: list[str]) -> int:
    """Leave a process behind that keeps the hosts, and wait until they can be reached."""
    if directory.exists():
        return 0
    directory.mkdir(parents=True)
    with (directory / "log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, "keep", str(directory), *names],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while not (directory / "hosts.json").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            sys.exit(f"The hosts did not start:\n{(directory / 'log').read_text(encoding='utf-8', errors='replace')}")
        time.sleep(POLL_SECONDS)
    return 0


def stop(directory: Path) -> int:
    """End the process that keeps the hosts, if there is one, and remove their files."""
    pid_file = directory / "pid"
    if pid_file.exists():
        with pid_file.open("r", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int(file.read()), signal.SIGTERM)
                signal.alarm(STOP_SECONDS)
                fcntl.flock(file, fcntl.LOCK_SH)
                signal.alarm(0)
    if directory.exists():
        shutil.rmtree(directory)
    return 0


def main() -> int:
    """Do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("start", "stop", "keep"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.action == "stop":
        return stop(options.directory)
    if options.action == "start":
        return start(options.directory, options.names)
    keep(options.directory, options.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
