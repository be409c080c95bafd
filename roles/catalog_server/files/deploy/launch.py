# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the server's host: run the catalog-server command of this release as the user whom it belongs to.

launch.py USER serve
"""

from __future__ import annotations

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
    before = pwd.getpwuid(os.getuid()).pw_name
    os.setuid(account.pw_uid)
    # As sudo does: the audit log says by whom a restore was run.
    os.environ.setdefault("SUDO_USER", before)
    os.environ.update(HOME=account.pw_dir, LOGNAME=name, USER=name)


def main() -> None:
    user, *words = sys.argv[1:]
    become(user)
    os.umask(0o077)
    sys.argv = ["catalog-server", *words]
    # Not the link to the current release: what this process imports later must be of the same release.
    sys.path[0] = str(Path(__file__).resolve().parent)
    runpy.run_module("catalog_server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
