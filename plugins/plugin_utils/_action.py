# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""What the action plugins have in common: options, errors as results, options of the group that are not their own."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.macfleet.parallels.plugins.module_utils._api.versions import parse_version
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.boundary import failure
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import (
    Spec,
    cache_spec,
    connection_spec,
)
from ansible_collections.macfleet.parallels.plugins.plugin_utils._connection import Connection, OptionError, connection

Result = t.Dict[str, t.Any]

# What module_defaults may set for the whole action group; a module ignores what it has no use for.
_GROUP_OPTIONS = frozenset({*connection_spec(), *cache_spec()})


# Options that are names, though some look like numbers.
_TEXTS = ("version", "tag", "tags", "bases")


def check_texts(args: t.Mapping[str, t.Any]) -> None:
    """Refuse what YAML has read as something else than a text, and tags that look like versions.

    :raises OptionError: there is such an option
    """
    for name in _TEXTS:
        given = args.get(name)
        for value in given if isinstance(given, (list, tuple)) else [given]:
            if value is not None and not isinstance(value, str):
                raise OptionError(
                    f"{name} is {value!r}, which is not a text. YAML reads 1.10 without quotes as the number 1.1.",
                    f"Quote it, for example {name}: '1.10'.",
                )
    tags = args.get("tags")
    for tag in tags.split(",") if isinstance(tags, str) else tags or ():
        if parse_version(tag.strip()) is not None:
            raise OptionError(
                f"The tag {tag.strip()!r} looks like a version, and a version of that name would hide it.",
                "Choose a tag that does not look like a version.",
            )


class CatalogAction(ActionBase):
    """An action whose ``perform`` returns a result or raises a CatalogError."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    # The options of the group that the module has.
    group_options: t.ClassVar[t.Collection[str]] = frozenset(connection_spec())

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Called by Ansible."""
        result: Result = super().run(tmp, task_vars)
        del tmp
        for name in _GROUP_OPTIONS.difference(self.group_options):
            self._task.args.pop(name, None)
        try:
            check_texts(self._task.args)
            result.update(self.perform(task_vars or {}))
        except CatalogError as error:
            result.update(failure(error), failed=True)
        return result

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Do the task."""
        raise NotImplementedError

    def checked(self, spec: Spec, *, partly: bool = False, **rules: t.Any) -> dict[str, t.Any]:
        """The task's options by ``spec``; with ``partly`` those that it does not have are the module's business."""
        args = self._task.args
        if partly:
            self._task.args = {name: value for name, value in args.items() if name in spec}
        try:
            _validation, options = self.validate_argument_spec(argument_spec=spec, **rules)
        finally:
            self._task.args = args
        return dict(options)

    def connection(self, options: t.Mapping[str, t.Any]) -> Connection:
        """The controller's way to the server."""
        return connection(options)


class HostAction(CatalogAction):
    """Runs a module that needs no server: the credentials that the group may set stay on the controller."""

    _supports_async = True
    group_options: t.ClassVar[t.Collection[str]] = frozenset(cache_spec())

    def perform(self, task_vars: dict[str, t.Any]) -> Result:
        """Called by ``run``."""
        return dict(self._execute_module(task_vars=task_vars, wrap_async=bool(self._task.async_val)))
