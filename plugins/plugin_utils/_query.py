# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""JMESPath, evaluated on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.boundary import require
from ansible_collections.macfleet.parallels.plugins.plugin_utils._connection import OptionError

try:
    import jmespath
    import jmespath.exceptions
except ImportError:
    HAS_JMESPATH = False
else:
    HAS_JMESPATH = True


def search(expression: str, data: t.Any) -> t.Any:
    """What ``expression`` finds in ``data``.

    :raises OptionError: it cannot be understood, or does not fit
    """
    require("jmespath", HAS_JMESPATH, "for the option query, on the controller")
    # JMESPath knows the type str alone, and not the kinds of text that Ansible makes of it.
    plain = str.__str__(expression).encode("utf-8").decode("utf-8")
    try:
        return jmespath.search(plain, data)
    except jmespath.exceptions.JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(":.")
        raise OptionError(
            f"The query {plain!r} cannot be evaluated: {reason}.", "See https://jmespath.org for its language."
        ) from error
