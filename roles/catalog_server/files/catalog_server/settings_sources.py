# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the settings come from: the environment, and a file.

Each field is the variable ``CATALOG_<NAME>``, in the environment or, where it is not set there, in the file that
``CATALOG_SETTINGS_FILE`` or ``--settings`` names: lines ``CATALOG_NAME=value``, taken as they stand, without quotes or
substitution. A secret can be given as the path of a file that holds it, in ``CATALOG_<NAME>_FILE``.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import typing as t
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from catalog_server.settings import SECRETS, Settings, SettingsError

PREFIX = "CATALOG_"
SETTINGS_FILE = PREFIX + "SETTINGS_FILE"
STANDARD_INPUT = Path("-")

_log = logging.getLogger("catalog_server.settings")

_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)\Z|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?\Z")


def load_settings(
    environment: Mapping[str, str] | None = None, file: Path | None = None, **overrides: t.Any
) -> Settings:
    """Settings from the environment, before it the command line, behind it the file.

    :raises SettingsError: with everything that is wrong
    """
    environment = os.environ if environment is None else environment
    file = file or (Path(environment[SETTINGS_FILE]) if environment.get(SETTINGS_FILE) else None)
    values: dict[str, t.Any] = {}
    for names in (_read_file(file) if file else {}, environment):
        values.update(_fields(names))
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("; ".join(_complaint(problem) for problem in error.errors())) from None


def configuring_files(environment: Mapping[str, str] | None = None, file: Path | None = None) -> list[Path]:
    """Return the file of settings and those of the secrets that it names, but that of the server's own secrets.

    :raises SettingsError: the file cannot be read
    """
    environment = os.environ if environment is None else environment
    file = file or (Path(environment[SETTINGS_FILE]) if environment.get(SETTINGS_FILE) else None)
    names = {**(_read_file(file) if file is not None else {}), **environment}
    secrets = {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS if f"{name}_file" not in Settings.model_fields}
    return [path for path in (file, *(Path(names[name]) for name in sorted(secrets) if names.get(name))) if path]


def _fields(names: Mapping[str, str]) -> dict[str, str]:
    values = {}
    for name, value in names.items():
        if not name.startswith(PREFIX) or name == SETTINGS_FILE:
            continue
        field = name.removeprefix(PREFIX).lower()
        if _is_of_kubernetes(name, value):
            _log.warning("%s is ignored: Kubernetes sets it for a service, and it is not a setting", name)
        elif field.removesuffix("_file") in SECRETS and field.endswith("_file") and field not in Settings.model_fields:
            if value:
                values[field.removesuffix("_file")] = _read_secret(name, Path(value))
        elif field not in Settings.model_fields:
            raise SettingsError(f"{name} is not a setting")
        elif value:
            values[field] = value
    return values


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Return True for a variable that Kubernetes makes for a service whose name begins with ``catalog``.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return value.startswith(("tcp://", "udp://", "sctp://")) or _OF_A_SERVICE.search(name) is not None


def _read_file(path: Path) -> dict[str, str]:
    try:
        lines = (sys.stdin.read() if path == STANDARD_INPUT else path.read_text(encoding="utf-8")).splitlines()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"the settings in {path} cannot be read: {error}") from error
    settings = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            name, _equals, value = line.partition("=")
            settings[name.strip()] = value.strip()
    return settings


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"the file {path} that {name} names cannot be read: {error}") from error


def _complaint(problem: t.Any) -> str:
    name = PREFIX + str(problem["loc"][0]).upper() if problem["loc"] else "settings"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
