# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugins as Ansible makes them, without a host."""

from __future__ import annotations

import importlib
import types
import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar

COLLECTION = "ansible_collections.macfleet.parallels"


def make(
    name: str,
    args: dict[str, t.Any],
    *,
    check_mode: bool = False,
    diff: bool = False,
    async_seconds: int = 0,
    connection: t.Any = None,
) -> t.Any:
    """The action plugin ``name`` for a task with these options."""
    task = Task()
    task.action = f"macfleet.parallels.{name}"
    task.args = dict(args)
    task.check_mode = check_mode
    task.diff = diff
    task.async_val = async_seconds
    loader = DataLoader()
    shell = types.SimpleNamespace(tmpdir=None)
    plugin = importlib.import_module(f"{COLLECTION}.plugins.action.{name}")
    action = plugin.ActionModule(
        task=task,
        connection=connection or types.SimpleNamespace(_shell=shell, has_pipelining=False),
        play_context=None,
        loader=loader,
        templar=Templar(loader=loader),
        shared_loader_obj=None,
    )
    # As Ansible's loader of plugins does it.
    action._load_name = task.action
    return action
