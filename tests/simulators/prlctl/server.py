# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""prlsrvctl: what it tells about the installation and its user."""

from __future__ import annotations

import getpass
import json
import os
import socket
import typing as t
import uuid as uuids

from .arguments import USAGE, USAGE_ERROR, Arguments, JsonObject, Refused

VERSION = "26.1.2"
BUILD = "57293"


def server_info(words: t.Sequence[str]) -> str:
    arguments = Arguments(words, dict.fromkeys(("--json", "--license"), False), (0, 0))
    identity = "{" + str(uuids.uuid5(uuids.NAMESPACE_DNS, socket.gethostname())) + "}"
    licence = {"state": "valid", "key": "000000-000000-000000-000000-000000", "restricted": "false"}
    if arguments.has("--license"):
        document: JsonObject = {"status": "ACTIVE", "edition": "business", **licence}
    else:
        document = {
            "ID": identity.strip("{}"),
            "Hostname": "127.0.0.1",
            "Version": f"Desktop {VERSION}-{BUILD}",
            "OS": "macOS 26.1(25B78)",
            "Started as service": "off",
            "VM home": vm_home(),
            "Memory limit": {"mode": "auto"},
            "Minimal security level": "low",
            "Require password to": [],
            "License": licence,
            "Hardware Id": identity,
            "Signed In": "yes",
        }
    if arguments.has("--json"):
        return as_json(document)
    return "".join(f"{key}: {value}\n" for key, value in document.items())


def server_user(words: t.Sequence[str]) -> str:
    arguments = Arguments(words, {"--json": False}, (1, 1))
    if arguments.operands != ["list"]:
        raise Refused(f"Incorrect usage: user {' '.join(words)}\n{USAGE}", USAGE_ERROR)
    user = {"NAME": f"{getpass.getuser()}@{socket.gethostname()}", "MNG_SETTINGS": "allow", "DEF_VM_HOME": vm_home()}
    return as_json([user]) if arguments.has("--json") else f"{'NAME':<20} MNG_SETTINGS DEF_VM_HOME\n"


PRLSRVCTL_VERBS = {"info": server_info, "user": server_user}


def vm_home() -> str:
    return os.path.join(os.path.expanduser("~"), "Parallels")


def as_json(document: t.Any) -> str:
    return json.dumps(document, indent="\t").replace("/", "\\/") + "\n"
