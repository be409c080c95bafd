# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parameters that routes of several rooms take."""

from __future__ import annotations

import datetime
import re
import typing as t

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from catalog_server.texts import Line

_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)


def _flag(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("it must be true or false")
    return text


def _number(text: str) -> str:
    if not _DIGITS.fullmatch(text):
        raise ValueError("it must be a whole number, in digits")
    return text


def _timestamp(text: str) -> str:
    if not _RFC3339.fullmatch(text):
        raise ValueError("it must be a timestamp of RFC 3339, such as 2026-11-20T09:00:00Z")
    return text


def _in_utc(moment: datetime.datetime) -> datetime.datetime:
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError:
        raise ValueError("it is not a time that there is") from None


# Values in a query are text, and are taken literally.
Flag = t.Annotated[bool, BeforeValidator(_flag)]
Positive = t.Annotated[int, Field(ge=1, lt=1 << 53), BeforeValidator(_number)]
Natural = t.Annotated[int, Field(ge=0, lt=1 << 53), BeforeValidator(_number)]
Moment = t.Annotated[AwareDatetime, BeforeValidator(_timestamp), AfterValidator(_in_utc)]

ManifestId = t.Annotated[Line, Path(max_length=200, description="Id of the manifest.")]
