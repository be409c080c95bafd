# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Managed hosts on this machine: real sshds on loopback ports, each with a home of its own.

Where no sshd can be run, the hosts are reached without SSH, but keep their separate homes.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .debian import Program, find_program

_READY_SECONDS = 20
_POLL_SECONDS = 0.05
_SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PrintMotd no
LogLevel VERBOSE
Subsystem sftp internal-sftp
SetEnv {environment}
"""
# As root, sshd insists on an account to separate its privileges and on a directory in /run. It gets both in a mount
# namespace of its own, where the user's home is that of the host, too; the process namespace ends whatever a session
# may have left.
_AS_ROOT = """
set -e
mount --bind "$1" /etc/passwd
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/sshd
shift
exec "$@"
"""


class CannotRunSshd(Exception):
    """Why there is no SSH here."""


@dataclass(frozen=True)
class Host:
    """A managed host: how Ansible reaches it, and its home."""

    name: str
    home: Path
    variables: dict[str, t.Any]


def local_hosts(names: t.Sequence[str], directory: Path, programs: Path, python: str) -> list[Host]:
    """Hosts without SSH, which differ by the environment of their Python alone."""
    hosts = []
    for name in names:
        home = _make_home(directory, name)
        path = os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath)))
        interpreter = directory / f"{name}-python"
        settings = shlex.join((*_hidden(), f"HOME={home}", f"PATH={path}", python))
        interpreter.write_text(f'#!/bin/sh\nexec env {settings} "$@"\n', encoding="utf-8")
        interpreter.chmod(0o755)
        variables = {"ansible_connection": "local", "ansible_python_interpreter": str(interpreter)}
        hosts.append(Host(name, home, {**variables, **_directories(home)}))
    return hosts


def _hidden() -> t.Iterator[str]:
    """Words for env: another host knows nothing of the controller's way to the server."""
    for name in ("URL", "TOKEN", "API_KEY", "USERNAME", "PASSWORD", "CA_PATH"):
        yield from ("-u", f"MACFLEET_CATALOG_{name}")


def _directories(home: Path) -> dict[str, str]:
    # Ansible would take the home of the account, which is not always that of the host.
    return {"ansible_remote_tmp": str(home / ".ansible/tmp"), "ansible_async_dir": str(home / ".ansible_async")}


@contextlib.contextmanager
def ssh_hosts(
    names: t.Sequence[str], directory: Path, programs: Path, python: str, packages: Path | None = None
) -> t.Iterator[list[Host]]:
    """Run one sshd for each host while the block runs. ``programs`` comes first in the PATH of the hosts.

    An sshd that is not installed is downloaded, and kept in ``packages``.

    :raises CannotRunSshd: there is no ssh, no sshd, or it does not start
    """
    packages = packages or directory / "packages"
    sshd = find_program("sshd", "openssh-server", packages)
    if sshd is None or not shutil.which("ssh"):
        raise CannotRunSshd("ssh or sshd is not installed and could not be downloaded")
    keys = directory / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    user_key = make_key(keys / "user")
    with contextlib.ExitStack() as stack:
        # A path of a socket has room for some hundred characters: the checkout may lie too deep.
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="hosts-"))
        hosts = []
        for name in names:
            home = _make_home(directory, name)
            daemon = _Sshd(name, home, keys, user_key, sshd, programs)
            stack.callback(daemon.end)
            port = daemon.start()
            known = keys / f"{name}.known"
            public = (keys / f"{name}.pub").read_text(encoding="ascii").strip()
            known.write_text(f"[127.0.0.1]:{port} {public}\n", encoding="ascii")
            control = f"-o ControlPath={sockets}/{name}"
            options = f"-F none -o UserKnownHostsFile={known} -o IdentitiesOnly=yes {control}"
            stack.callback(_end_master, f"-F none {control} -O exit -p {port} 127.0.0.1")
            variables = {
                "ansible_connection": "ssh",
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_user": getpass.getuser(),
                "ansible_ssh_private_key_file": str(user_key),
                "ansible_ssh_args": f"{options} -o ControlMaster=auto -o ControlPersist=60",
                "ansible_control_path": f"{sockets}/{name}",
                "ansible_pipelining": True,
                # An sshd that does not run as root cannot give its terminal to the group tty.
                "ansible_ssh_use_tty": False,
                **_directories(home),
                "ansible_python_interpreter": python,
            }
            hosts.append(Host(name, home, variables))
        yield hosts


class _Sshd:
    """One daemon."""

    def __init__(self, name: str, home: Path, keys: Path, user_key: Path, sshd: Program, programs: Path) -> None:
        self._name = name
        self._home = home
        self._keys = keys
        self._user_key = user_key
        self._sshd = sshd
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it and wait until it answers; its port."""
        port = free_port()
        path = os.pathsep.join((str(self._programs), "/usr/local/bin", "/usr/bin", "/bin"))
        config = self._keys / f"{self._name}.config"
        config.write_text(
            _SSHD_CONFIG.format(
                port=port,
                host_key=make_key(self._keys / self._name),
                authorized=self._user_key.with_suffix(".pub"),
                environment=f'"HOME={self._home}" "PATH={path}"',
            ),
            encoding="utf-8",
        )
        log = self._keys / f"{self._name}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._namespace(), self._sshd.path, "-D", "-e", "-f", str(config)],
                env={**os.environ, **self._sshd.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not greets(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise CannotRunSshd(log.read_text(encoding="utf-8", errors="replace").strip()[-300:])
            time.sleep(_POLL_SECONDS)
        return port

    def _namespace(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        passwd = self._keys / f"{self._name}.passwd"
        user = getpass.getuser()
        accounts = [
            line for line in Path("/etc/passwd").read_text("utf-8").splitlines() if not line.startswith("sshd:")
        ]
        accounts.append("sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin")
        for number, account in enumerate(accounts):
            fields = account.split(":")
            if fields[0] == user:
                accounts[number] = ":".join([*fields[:5], str(self._home), "/bin/sh"])
        passwd.write_text("\n".join(accounts) + "\n", encoding="utf-8")
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        return [*unshare, "sh", "-c", _AS_ROOT, "sshd", str(passwd)]

    def end(self) -> None:
        """End it and its sessions."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _make_home(directory: Path, name: str) -> Path:
    home = directory / "homes" / name
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    return home


def make_key(path: Path) -> Path:
    """Make a key pair if there is none; return the path of the private one."""
    if not path.exists():
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


def _end_master(arguments: str) -> None:
    # Without a master there is nothing to end, and ssh says so.
    subprocess.run(["ssh", *arguments.split()], stdin=subprocess.DEVNULL, capture_output=True, check=False)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def greets(port: int) -> bool:
    """Return True if an sshd answers on this port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
