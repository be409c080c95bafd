# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The boundary between AnsibleModule and the rest: results go out as they are, errors as ``fail_json``."""

from __future__ import annotations

import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Spec

try:
    from ansible.module_utils import secrets as _secrets  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # before ansible-core 2.22
    _secrets = None


class SystemFailure(CatalogError):
    """The operating system refused something that nobody expected it to."""

    code = "system_failure"


def register_secret(value: str) -> None:
    """Have Ansible mask a secret wherever it shows up, if it can."""
    if _secrets is not None:
        _secrets.register_secret(value)


def make_module(spec: Spec, **rules: t.Any) -> AnsibleModule:
    """An AnsibleModule with check mode; ``rules`` are ``required_if`` and the like."""
    return AnsibleModule(argument_spec=spec, supports_check_mode=True, **rules)


def run(module: AnsibleModule, function: t.Callable[[], t.Mapping[str, t.Any]]) -> t.NoReturn:
    """Return what ``function`` returns, and turn its errors into failures with an ``error_code``."""
    try:
        result = function()
    except CatalogError as error:
        module.fail_json(exception=traceback.format_exc(), **failure(error))
    except OSError as error:
        # The rooms say what they tried on what; this is for what none of them thought of.
        module.fail_json(exception=traceback.format_exc(), **failure(_from_system(error)))
    module.exit_json(**result)


def _from_system(error: OSError) -> CatalogError:
    where = f" on {error.filename}" if error.filename else ""
    return SystemFailure(
        f"The operating system refused something{where}: {error.strerror or error}.",
        "See the traceback (-vvv) for what it was.",
    )


def failure(error: CatalogError) -> dict[str, t.Any]:
    """An error as the result of a module or action."""
    result: dict[str, t.Any] = {
        "msg": str(error),
        "error_code": error.code,
        "hint": error.hint,
        "details": error.details,
    }
    if error.done:
        result.update(changed=True, actions=list(error.done))
    return result


def require(library: str, found: bool, reason: str) -> None:
    """Raise an error that says how to get a Python package which is only needed for some uses."""
    if not found:
        error = CatalogError(missing_required_lib(library, reason=reason))
        error.code = "missing_library"
        raise error
