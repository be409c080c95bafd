# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""JMESPath, evaluated on the controller."""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.plugin_utils._connection import OptionError

try:
    import jmespath
    import jmespath.exceptions
except ImportError:
    HAS_JMESPATH = False
else:
    HAS_JMESPATH = True


class MissingLibrary(CatalogError):
    """A Python package is not installed on the controller."""

    code = "missing_library"


def search(expression: str, data: t.Any) -> t.Any:
    """Return what ``expression`` finds in ``data``.

    :raises MissingLibrary: jmespath is not installed
    :raises OptionError: it cannot be understood, or does not fit
    """
    if not HAS_JMESPATH:
        raise MissingLibrary(
            "The option query needs the Python package jmespath on the controller, beside ansible-core.",
            "Run pip install jmespath in the environment of ansible-core, or add it to the execution environment.",
        )
    # JMESPath knows the type str alone, and not the kinds of text that Ansible makes of it.
    plain = str.__str__(expression).encode("utf-8").decode("utf-8")
    try:
        return jmespath.search(plain, data)
    except jmespath.exceptions.JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(":.")
        raise OptionError(
            f"The query {plain!r} cannot be evaluated: {reason}.", "See https://jmespath.org for its language."
        ) from error
