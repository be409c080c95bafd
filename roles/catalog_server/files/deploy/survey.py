# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the server's host: tell what is there, and change nothing.

    python3 - INSTALL REQUEST < survey.py

This is one question in place of many, so what is as it should be needs no task of its own. REQUEST and the answer are
JSON. Files among ``contents`` are told with a digest, so no secret must be there::

    {"python": NAME, "user": NAME, "state_file": PATH, "paths": [PATH, …], "contents": [PATH, …]}
"""

from __future__ import annotations

import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

# Says which interpreter it is, and needs what an environment is made of.
WHICH = """
import ensurepip, os, platform, sys, venv
print(platform.python_version(), platform.python_implementation(), os.path.realpath(sys.executable))
"""
INTERPRETER_SECONDS = 60
LINKS = ("current", "previous", "undone")
# A line of a settings file or of the command of the server
ASSIGNMENT = re.compile(r"^(CATALOG_[A-Z_]+)=(.*)$", re.MULTILINE)


def survey(install: Path, asked: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return all that is asked for."""
    looks = {path: looks_of(Path(path), path in asked["contents"]) for path in asked["paths"]}
    found = {path: told for path, told in looks.items() if told is not None}
    return {
        "interpreter": interpreter(asked["python"]),
        "account": account(asked["user"]),
        "links": {name: link(install / name) for name in LINKS},
        "complete": sorted(path.parent.name for path in install.glob("*/*/complete")),
        "unfinished": unfinished(install),
        "running": running(Path(asked["state_file"])),
        "installed": installed(install),
        "owners": {path: owner for path, (owner, _looks) in found.items()},
        "looks": [look for _owner, looks in found.values() for look in looks],
    }


def interpreter(python: str) -> dict[str, str]:
    """Return what the interpreter says of itself, or why it cannot be used."""
    if not python:
        return {"said": "", "error": ""}
    argv = [python, "-c", WHICH]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INTERPRETER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"said": "", "error": str(error)}
    lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
    return {"said": done.stdout.strip(), "error": "" if done.returncode == 0 else lines[-1]}


def account(user: str) -> dict[str, str] | None:
    """Return the user's group, home and shell, or None without such a user."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return None
    return {"group": group_name(found.pw_gid), "home": found.pw_dir, "shell": found.pw_shell}


def looks_of(path: Path, with_digest: bool) -> tuple[str, list[str]] | None:
    """Return the owner of what is at the path and how it looks, without and with its group, or None without it."""
    try:
        found = path.lstat()
    except OSError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
    owner, mode = user_name(found.st_uid), f"{stat.S_IMODE(found.st_mode):04o}"
    looks = [f"{path} {kind} {name} {mode}" for name in (owner, f"{owner}:{group_name(found.st_gid)}")]
    if with_digest and kind == "file":
        looks = [f"{look} {hashlib.sha256(path.read_bytes()).hexdigest()}" for look in looks]
    return owner, looks


def user_name(number: int) -> str:
    """Return the name of a user, or its number if it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Return the name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def link(path: Path) -> str:
    """Return where the link points to, or nothing if there is none."""
    return os.readlink(path) if path.is_symlink() else ""


def unfinished(install: Path) -> bool:
    """Return whether a run of the role has claimed the installation and not come to its end, or is still at work."""
    try:
        return (install / "run").stat().st_size > 0
    except OSError:
        return False


def running(state_file: Path) -> dict[str, t.Any] | None:
    """Return what the running server was started with, or None if it does not run: it holds a lock on that file."""
    try:
        with state_file.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return {"files": sorted(json.loads(file.read())["files"])}
    except (OSError, ValueError, KeyError):
        pass
    return None


def installed(install: Path) -> dict[str, str]:
    """Return the settings file and the data directory of the installed command, where these are still there."""
    told = {"settings": "", "data": ""}
    words = shlex.split(assignments(install / "bin/catalog-server").get("CATALOG_SETTINGS_FILE", ""))
    if words and Path(words[0]).is_file():
        data = assignments(Path(words[0])).get("CATALOG_DATA_DIR", "")
        told = {"settings": words[0], "data": data if data and Path(data).is_dir() else ""}
    return told


def assignments(file: Path) -> dict[str, str]:
    """Return the lines ``CATALOG_NAME=value`` of a file; none if it cannot be read."""
    try:
        return dict(ASSIGNMENT.findall(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeError):
        return {}


if __name__ == "__main__":
    print(json.dumps(survey(Path(sys.argv[1]), json.loads(sys.argv[2]))))
