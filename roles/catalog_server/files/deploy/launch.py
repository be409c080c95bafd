# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the server's host: run the catalog-server command with the settings of the installation, as its user.

launch.py --user NAME --settings FILE [--settings FILE …] -- serve
"""

from __future__ import annotations

import argparse
import os
import pwd
import runpy
import sys
from pathlib import Path


def become(name: str) -> None:
    """Go on as this user; only root can become another."""
    account = pwd.getpwnam(name)
    if os.geteuid() == account.pw_uid:
        return
    if os.geteuid() != 0:
        sys.exit(f"The catalog server belongs to the user {name}: run this command as {name} or as root.")
    os.initgroups(name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=account.pw_dir, LOGNAME=name, USER=name)


def read_settings(path: Path) -> dict[str, str]:
    """The NAME=value lines of a file; a value is taken as it stands."""
    settings = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _equals, value = line.partition("=")
            settings[name.strip()] = value
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", required=True)
    parser.add_argument("--settings", type=Path, action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    become(options.user)
    os.umask(0o077)
    for path in options.settings:
        os.environ.update(read_settings(path))
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    sys.argv = ["catalog-server", *words]
    # Not the link to the current release: what this process imports later must be of the same release.
    sys.path[0] = str(Path(__file__).resolve().parent)
    runpy.run_module("catalog_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
