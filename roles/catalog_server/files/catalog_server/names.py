# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Types of names that come in, for schemas and parameters.

The patterns and values are for the description of the API. What a name means, and what is said of a wrong one, is in
``_api/addresses.py``, which the modules use, too.
"""

from __future__ import annotations

import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api import addresses
from pydantic import Field

from catalog_server.texts import InSchema, Line, Wanted

MAX_LIST = 100
# Of one version
MAX_TAGS = 50
MAX_REQUIRED = 50
_LONGEST_ADDRESS = 300

# As ``_api/versions.py`` reads them
_NUMBERS = r"[0-9]+(?:\.[0-9]+)*"
_CONDITION = rf"(?:\*|v?{_NUMBERS}\.\*|(?:>=|<=|==|!=|>|<) *v?{_NUMBERS}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)"
_NAME = r"(?!\.{1,2}$)[A-Za-z0-9._-]+"

CatalogId = t.Annotated[
    Wanted,
    Field(max_length=_LONGEST_ADDRESS),
    InSchema(pattern=r"^(?!\.{1,2}$)(?=.*[!-~])[ -~]+$", maxLength=addresses.MAX_CATALOG_ID_LENGTH),
]
Version = t.Annotated[
    Wanted,
    Field(max_length=_LONGEST_ADDRESS),
    InSchema(pattern=f"^{_NAME}$", maxLength=addresses.MAX_NAME_LENGTH),
]
# A version, a tag or a range
VersionText = t.Annotated[
    Wanted,
    Field(max_length=_LONGEST_ADDRESS),
    InSchema(pattern=f"^(?:{_NAME}|{_CONDITION}(?: *, *{_CONDITION})*)$", maxLength=addresses.MAX_NAME_LENGTH),
]
Architecture = t.Annotated[
    Wanted, Field(max_length=_LONGEST_ADDRESS), InSchema(enum=list(addresses.ARCHITECTURE_NAMES))
]
Tag = t.Annotated[
    Line,
    Field(max_length=200),
    InSchema(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", maxLength=addresses.MAX_NAME_LENGTH),
]
Tags = t.Annotated[list[Tag], Field(max_length=MAX_TAGS)]
# Of a role or a claim
Right = t.Annotated[
    Line,
    Field(max_length=200),
    InSchema(pattern=r"^[!-~](?:[ -~]*[!-~])?$", maxLength=addresses.MAX_NAME_LENGTH),
]
Rights = t.Annotated[list[Right], Field(max_length=MAX_LIST)]
# Those of an audience
RequiredRights = t.Annotated[list[Right], Field(max_length=MAX_REQUIRED)]
