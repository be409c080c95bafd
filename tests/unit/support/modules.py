# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules as Ansible starts them, without a host."""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import background


class StayingJob(background.Job):
    """A job that does not leave its process, and makes no more than the progress file."""

    def __init__(self, path: str) -> None:
        super().__init__(path, -1)
        self.path = path

    def detach(self) -> None:
        """Have the progress written."""
        open(self.path, "ab").close()


class Ended(Exception):
    """What a module returned."""

    def __init__(self, result: dict[str, t.Any]) -> None:
        super().__init__(json.dumps(result, indent=1, default=str))
        self.result = result


@contextlib.contextmanager
def arguments(options: dict[str, t.Any], *, check_mode: bool = False, diff: bool = False) -> t.Iterator[None]:
    """Let the next AnsibleModule find these options."""
    given = {**options, "_ansible_check_mode": check_mode, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
    if hasattr(basic, "_ANSIBLE_PROFILE"):
        profile = "legacy"
        old = basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()
        basic._ANSIBLE_PROFILE = profile
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = old
    else:
        old = basic._ANSIBLE_ARGS
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode()
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS = old


@contextlib.contextmanager
def outcome() -> t.Iterator[dict[str, t.Any]]:
    """Run a module's function inside; the dictionary is filled with what it returned, and its warnings if it has some.

    Nothing is masked in it.
    """
    result: dict[str, t.Any] = {}
    warnings: list[str] = []

    def end(_module: basic.AnsibleModule, **values: t.Any) -> t.NoReturn:
        raise Ended(values)

    def fail(_module: basic.AnsibleModule, msg: str, **values: t.Any) -> t.NoReturn:
        raise Ended({"failed": True, "msg": msg, **values})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "begin", StayingJob)
        patch.setattr(basic.AnsibleModule, "exit_json", end)
        patch.setattr(basic.AnsibleModule, "fail_json", fail)
        patch.setattr(basic.AnsibleModule, "warn", lambda module, warning: warnings.append(warning))
        try:
            yield result
        except Ended as ended:
            # As it would be after it came over the wire.
            result.update(json.loads(json.dumps(ended.result)))
            if warnings:
                result["warnings"] = warnings
        else:
            raise AssertionError("the module returned nothing")


def module(spec: dict[str, t.Any] | None = None, options: dict[str, t.Any] | None = None) -> basic.AnsibleModule:
    """An AnsibleModule."""
    with arguments(options or {}):
        return basic.AnsibleModule(argument_spec=spec or {}, supports_check_mode=True)


def assert_failed(result: t.Mapping[str, t.Any], code: str, words: str) -> None:
    """A module failed with that error word, and with these words in its message."""
    assert (result.get("failed"), result.get("error_code")) == (True, code), result
    assert words in result["msg"]
