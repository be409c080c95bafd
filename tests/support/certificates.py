# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of this machine, for servers of tests."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path


class Certificate(t.NamedTuple):
    """The files of a certificate, which is its own authority, and of its key."""

    path: Path
    key: Path


def make(directory: Path) -> Certificate:
    """Make a certificate of 127.0.0.1."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-out", str(made.path), "-keyout", str(made.key)],
        check=True,
        capture_output=True,
    )
    return made
