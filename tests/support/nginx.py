# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""nginx in front of two servers, with the configuration that the documentation shows."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import typing as t
from contextlib import contextmanager
from pathlib import Path

from .certificates import Certificate
from .debian import Program, find_program
from .signals import tied_to_parent

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/deployment.md"
# The addresses of the servers there.
SERVERS = ("10.0.0.11:8470", "10.0.0.12:8470")

_BLOCK = re.compile(r"^```nginx\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


class NoNginx(Exception):
    """There is none, and none could be had."""


class NginxFailed(Exception):
    """It did not start; the text is what it said."""


def documented() -> str:
    """The configuration in the documentation."""
    (block,) = _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
    return str(block)


@contextmanager
def running(directory: Path, addresses: t.Sequence[str], certificate: Certificate) -> t.Iterator[str]:
    """Start nginx before the servers at these addresses; yields its URL.

    :raises NoNginx, NginxFailed: it cannot be had, or does not start
    """
    program = find_program("nginx", "nginx", directory / "packages")
    if program is None:
        raise NoNginx("nginx is not installed, and its package could not be downloaded.")
    port = _free_port()
    file = directory / "nginx.conf"
    file.write_text(_configuration(directory, addresses, certificate, port), encoding="utf-8")
    with (directory / "nginx.log").open("ab") as log:
        process = subprocess.Popen(_argv(program, directory, file), stdout=log, stderr=log, env=_environment(program))
    try:
        _wait_until_ready(process, port, directory / "nginx.log")
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _configuration(directory: Path, addresses: t.Sequence[str], certificate: Certificate, port: int) -> str:
    """The documented configuration, with what differs on this machine, and what the main file of a package says."""
    changes = {
        **dict(zip(SERVERS, addresses)),
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/nginx/catalog.pem": str(certificate.path),
        "/etc/nginx/catalog.key": str(certificate.key),
    }
    shown = documented()
    for there, here in changes.items():
        assert shown.count(there) == 1, f"the configuration in {DOCUMENT.name} does not say {there}"
        shown = shown.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = [f"{kind}_temp_path {directory}/{kind};" for kind in kinds]
    lines = ["daemon off;", f"pid {directory}/nginx.pid;", "worker_processes 2;", "events {}", "http {"]
    if os.geteuid() == 0:
        lines.insert(0, "user root;")
    return "\n".join([*lines, "access_log off;", *places, shown, "}", ""])


def _argv(program: Program, directory: Path, file: Path) -> list[str]:
    return [*tied_to_parent(), program.path, "-p", str(directory), "-c", str(file), "-e", "stderr"]


def _environment(program: Program) -> dict[str, str]:
    return {**os.environ, **program.environment}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NginxFailed(log.read_text(encoding="utf-8", errors="replace")) from error
        time.sleep(_POLL_SECONDS)
