# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible-test loads the installer of pip from a server of the Ansible project: give it one made of PyPI's wheel."""

from __future__ import annotations

from pathlib import Path

from machine import INSTALL_SECONDS, Machine, SetUpError
from process import run_logged

ASK_VERSION = """\
import types
from ansible_test._internal import python_requirements as requirements
print(requirements.get_venv_packages(types.SimpleNamespace(version="{version}"))["pip"])
"""

INSTALLER = '''\
"""Install pip from the wheel beside this file."""
import pathlib
import sys

wheel = pathlib.Path(__file__).parent / "{wheel}"
sys.path.insert(0, str(wheel))

from pip._internal.cli.main import main

packages = [str(wheel) if word == "pip=={version}" else word for word in sys.argv[1:]]
packages = [word for word in packages if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--upgrade", "--force-reinstall", *packages]))
'''


def seed_pip(machine: Machine, programs: Path, python_version: str) -> None:
    """Put the installer that the ansible-test in this environment asks for where it looks first."""
    log = machine.log("seed-pip")
    log.unlink(missing_ok=True)
    cache = machine.build / "home/.ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)

    def run(*command: str | Path) -> str:
        finished = run_logged(
            [programs / "python", *command],
            environment=machine.environment(programs),
            directory=cache,
            log=log,
            deadline_seconds=INSTALL_SECONDS,
        )
        if not finished.succeeded:
            raise SetUpError(f"pip for ansible-test could not be prepared.\n{finished.last_lines(20)}")
        return finished.last_lines(1)

    version = run("-c", ASK_VERSION.format(version=python_version))
    installer = cache / f"get_pip_{version.replace('.', '_')}.py"
    wheel = f"pip-{version}-py3-none-any.whl"
    if installer.is_file() and (cache / wheel).is_file():
        return
    run("-m", "pip", "download", "--quiet", "--no-deps", "--dest", cache, f"pip=={version}")
    installer.write_text(INSTALLER.format(wheel=wheel, version=version), encoding="utf-8")
