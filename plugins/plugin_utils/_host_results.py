# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""Results that a managed host has written itself, made safe to be the result of a task. Pure.

Ansible does the same to what a module prints. It does not see what a module in the background leaves in a file, and
a host must not be able to add hosts to the inventory of the controller, or to set variables there.
"""

from __future__ import annotations

import typing as t

# Ansible acts on these keys of a result (ansible.constants.INTERNAL_RESULT_KEYS).
_INTERNAL_KEYS = frozenset({"add_host", "add_group"})
# Keys of a result that Ansible, its callbacks and these plugins read, and their types.
_LISTS = frozenset({"warnings", "deprecations", "actions"})
_TEXTS = frozenset({"msg", "error_code", "hint", "exception"})
_FLAGS = frozenset({"changed", "failed", "skipped", "unreachable"})


def cleaned(result: t.Any) -> dict[str, t.Any] | None:
    """Return what a module may say about its own host, or None if it is not a result at all.

    Keys that Ansible acts on, or that set variables, are left out, and so are values of a type that they never have.
    """
    if not isinstance(result, dict):
        return None
    return {key: value for key, value in result.items() if not _is_internal(key) and _has_its_type(key, value)}


def _is_internal(key: str) -> bool:
    return key in _INTERNAL_KEYS or key.startswith(("_ansible", "ansible_", "__"))


def _has_its_type(key: str, value: t.Any) -> bool:
    if key in _LISTS:
        return isinstance(value, list)
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _FLAGS:
        return isinstance(value, bool)
    return True
