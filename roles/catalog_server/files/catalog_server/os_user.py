# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a command on this machine."""

from __future__ import annotations

import os
import pwd


def os_user() -> dict[str, str]:
    """Returns what the audit log keeps: the user of this process, and whoever became it by sudo or as root."""
    try:
        found = {"os_user": pwd.getpwuid(os.getuid()).pw_name}
    except KeyError:
        # In a container, a user may have a number alone.
        found = {"os_user": str(os.getuid())}
    before = os.environ.get("SUDO_USER")
    return {**found, "sudo_user": before} if before else found
