# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The boundary between AnsibleModule and the rest: results go out as they are, errors as ``fail_json``."""

from __future__ import annotations

import contextlib
import resource
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.parameters import remove_values
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError, from_system
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge import background, handover
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.options import Spec

try:
    from ansible.module_utils import secrets as _secrets  # type: ignore[attr-defined,unused-ignore]
except ImportError:  # before ansible-core 2.22
    _secrets = None


# OPEN_MAX of macOS: setrlimit(2) refuses more than that, whatever the hard limit is.
_DESCRIPTORS = 10240


def register_secret(value: str) -> None:
    """Have Ansible mask a secret wherever it shows up, if it can."""
    if _secrets is not None:
        _secrets.register_secret(value)


class CatalogModule(AnsibleModule):
    """An AnsibleModule that knows what it has warned of."""

    def __init__(self, **arguments: t.Any) -> None:
        self.told: list[str] = []
        super().__init__(**arguments)

    def warn(self, warning: str, **more: t.Any) -> None:
        """Tell the user something that is no failure."""
        self.told.append(warning)
        super().warn(warning, **more)


def make_module(spec: Spec, **rules: t.Any) -> CatalogModule:
    """An AnsibleModule with check mode; ``rules`` are ``required_if`` and the like."""
    raise_descriptor_limit()
    return CatalogModule(argument_spec=spec, supports_check_mode=True, **rules)


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may, up to 10240: a Mac gives it 256 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Where the kernel allows fewer than the hard limit says, what there is has to do.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(module: AnsibleModule, function: t.Callable[[], t.Mapping[str, t.Any]]) -> t.NoReturn:
    """Return what ``function`` returns, and turn its errors into failures with an ``error_code``."""
    try:
        result = function()
    except CatalogError as error:
        module.fail_json(exception=traceback.format_exc(), **failure(error))
    except OSError as error:
        # The rooms say what they tried on what; this is for what none of them thought of.
        module.fail_json(exception=traceback.format_exc(), **failure(from_system(error)))
    module.exit_json(**result)


def run_transfer(
    module: CatalogModule, function: t.Callable[[t.Callable[[], None]], t.Mapping[str, t.Any]]
) -> t.NoReturn:
    """Like ``run``, for a module that may have many bytes to move.

    ``function`` is given what it has to call before it moves them: from then on the module works in the background, if
    the action plugin is prepared for it.
    """
    path = handover.progress_path(module.params)
    if module.check_mode or path is None:
        run(module, lambda: function(_stay))
    job = background.begin(path)
    try:
        result = dict(function(job.detach))
    except Exception as error:
        result = _failed(error)
    if not job.detached:
        if result.get("failed"):
            module.fail_json(**result)
        module.exit_json(**result)
    if module.told:
        result["warnings"] = module.told
    job.publish(remove_values(result, module.no_log_values))
    # exit_json would write the result to a task that has ended.
    raise SystemExit(0)


def _stay() -> None:
    """The task waits for the end of the module."""


def _failed(error: Exception) -> dict[str, t.Any]:
    if isinstance(error, OSError):
        told: CatalogError = from_system(error)
    elif isinstance(error, CatalogError):
        told = error
    else:
        told = CatalogError(f"The module has a bug: {error!r}.", "Report it, with the traceback (-vvv).")
    return {"failed": True, "exception": traceback.format_exc(), **failure(told)}


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
