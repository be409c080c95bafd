# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that systemd has booted: a container of systemd-nspawn with a root file system of its own, reached by SSH.

It shares the network of this machine, where its sshd listens on loopback. It needs root, Linux and Debian's packages.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from .debian import Program, find_program
from .ssh_hosts import free_port, greets, make_key

SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,openssh-server,python3,python3-venv,iproute2,ca-certificates"
_BUILD_SECONDS = 600
_READY_SECONDS = 60
_STOP_SECONDS = 30
_POLL_SECONDS = 0.05
# What systemd-nspawn ends with when the host wants to boot again.
_REBOOT = 133
_SSHD = """
Port {port}
ListenAddress 127.0.0.1
PermitRootLogin prohibit-password
UseDNS no
"""
# It enters groups of its own first, of which systemd makes those of its units.
_ENTER = """
for group in $1; do mkdir -p "$group" && echo $$ > "$group/cgroup.procs" || exit 1; done
shift
exec "$@"
"""


class NoSystemdHost(Exception):
    """Why there is none on this machine."""


@dataclass
class SystemdHost:
    """The host; its files are below ``root``."""

    root: Path
    port: int
    key: Path
    boot: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def _ssh_options(self) -> list[str]:
        known = self.key.with_name("known")
        words = ["-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=accept-new"]
        return [*words, "-o", "IdentitiesOnly=yes", "-i", str(self.key)]

    @property
    def variables(self) -> dict[str, t.Any]:
        """What Ansible needs to reach it."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_args": " ".join([*self._ssh_options, "-o", "ControlMaster=auto", "-o", "ControlPersist=60"]),
            # A path of a socket has room for some hundred characters.
            "ansible_control_path": f"/tmp/systemd-host-{os.getpid()}-{self.port}",
            "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def run(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root; the words go through its shell."""
        argv = ["ssh", *self._ssh_options, "-p", str(self.port), "root@127.0.0.1", *words]
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=check, timeout=_READY_SECONDS
        )

    def start(self) -> None:
        """Boot it and wait until its units are up and its sshd answers.

        :raises NoSystemdHost: it does not boot
        """
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.boot,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not greets(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise NoSystemdHost(self.log.read_text(encoding="utf-8", errors="replace").strip()[-300:])
            time.sleep(_POLL_SECONDS)
        # A unit that has failed does not matter, but one that still starts does.
        self.run("systemctl", "is-system-running", "--wait")

    def reboot(self) -> None:
        """Boot it anew, as its users do."""
        process = self.process
        assert process is not None
        self.run("systemctl", "reboot")
        status = process.wait(_STOP_SECONDS)
        assert status == _REBOOT, f"it ended with {status}"
        self.start()

    def stop(self) -> None:
        """Let it shut down."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def systemd_host(directory: Path, cache: Path, shared: t.Mapping[str, Path]) -> t.Iterator[SystemdHost]:
    """Boot a host in ``directory`` while the block runs.

    ``cache`` keeps what is downloaded for the next time, ``shared`` names directories of this machine by their paths on
    the host, where they can be read.

    :raises NoSystemdHost: there cannot be one
    """
    if os.geteuid() != 0 or sys.platform != "linux":
        raise NoSystemdHost("it needs root on Linux")
    if not shutil.which("ssh"):
        raise NoSystemdHost("ssh is not installed")
    nspawn = find_program("systemd-nspawn", "systemd-container", cache / "packages")
    if nspawn is None:
        raise NoSystemdHost("systemd-nspawn is not installed and could not be downloaded (package systemd-container)")
    archive = _archive(cache)
    root = directory / "root"
    root.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-f", str(archive), "-C", str(root)], check=True)
    port = free_port()
    key = make_key(directory / "user")
    _prepare(root, port, key)
    with _groups(f"systemd-host-{os.getpid()}-{port}") as groups:
        words = ["--register=no", "--keep-unit", "--boot", "--console=pipe", "--link-journal=no", "--resolv-conf=off"]
        words += [f"--bind-ro={path}:{name}" for name, path in shared.items()]
        boot = ["sh", "-c", _ENTER, "sh", " ".join(map(str, groups)), nspawn.path, "-D", str(root), "-M", "server"]
        host = SystemdHost(root, port, key, [*boot, *words], nspawn.environment, directory / "console.log")
        try:
            host.start()
            yield host
        finally:
            host.stop()


def _archive(cache: Path) -> Path:
    """The root file system as a tar archive, made once."""
    archive = cache / f"{SUITE}.tar"
    if archive.exists():
        return archive
    builder = find_program("mmdebstrap", "mmdebstrap", cache / "packages")
    if builder is None:
        raise NoSystemdHost("mmdebstrap is not installed and could not be downloaded")
    partial = archive.with_suffix(".partial.tar")
    try:
        _build(builder, partial)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise NoSystemdHost(f"mmdebstrap failed: {said[-300:]}") from error
    partial.rename(archive)
    return archive


def _build(builder: Program, target: Path) -> None:
    target.unlink(missing_ok=True)
    # It works in a directory below that for temporary files, which apt's own user must reach.
    argv = [builder.path, "--variant=minbase", f"--include={PACKAGES}", SUITE, str(target)]
    environment = {**os.environ, **builder.environment, "TMPDIR": "/var/tmp", "LC_ALL": "C"}
    subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=_BUILD_SECONDS)


def _prepare(root: Path, port: int, key: Path) -> None:
    (root / "etc/ssh/sshd_config.d/tests.conf").write_text(_SSHD.format(port=port), encoding="ascii")
    authorized = root / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(key.with_suffix(".pub"), authorized)
    # As on hosts that are set up strictly: what root makes is for root alone, if nobody says otherwise.
    (root / "root/.bashrc").write_text("umask 077\n", encoding="ascii")
    (root / "etc/hostname").write_text("server\n", encoding="ascii")


@contextlib.contextmanager
def _groups(name: str) -> t.Iterator[list[Path]]:
    """Names of control groups for the host, one in each hierarchy below the group of this process."""
    found = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _number, controllers, path = line.split(":", 2)
        top = Path("/sys/fs/cgroup", controllers.removeprefix("name=") or "unified")
        if not controllers and not top.is_dir():
            top = top.parent
        if controllers in ("", "name=systemd", "memory", "pids", "cpu") and top.is_dir():
            found.append(top / path.lstrip("/") / name)
    try:
        yield found
    finally:
        for group in found:
            for below in sorted(group.rglob("*/"), reverse=True):
                below.rmdir()
            if group.is_dir():
                group.rmdir()
