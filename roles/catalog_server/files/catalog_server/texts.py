# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that comes in: every string of a body, a path, a query or a header is one of these.

Databases refuse zero bytes and encoders refuse half characters (surrogates), each in its own way; here they are refused
before anything else sees them. Equal texts are equal bytes (NFC).
"""

from __future__ import annotations

import typing as t
import unicodedata

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr

_LINE_BREAKS = "\t\n\r"


def clean(text: str) -> str:
    """Return a text in NFC.

    :raises ValueError: it contains zero bytes, half characters, or control characters that are no line breaks
    """
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs" or (category == "Cc" and character not in _LINE_BREAKS):
            raise ValueError(f"the character U+{ord(character):04X} is not allowed")
    return unicodedata.normalize("NFC", text)


def clean_line(text: str) -> str:
    """Return a text in NFC.

    :raises ValueError: it contains characters that are not shown, such as line breaks and changes of direction
    """
    for character in text:
        if unicodedata.category(character).startswith("C"):
            raise ValueError(f"the character U+{ord(character):04X} is not allowed")
    return unicodedata.normalize("NFC", text)


def _clean_secret(secret: SecretStr) -> SecretStr:
    try:
        return SecretStr(clean_line(secret.get_secret_value()))
    except ValueError:
        # Which character it is would tell something of the secret.
        raise ValueError("it contains a character that is not allowed") from None


def _not_blank(text: str) -> str:
    # An empty variable of a play must not mean "everything" or "the latest".
    if not text.strip():
        raise ValueError("it must not be empty")
    return text


# Of several lines: descriptions
Text = t.Annotated[str, AfterValidator(clean)]
# Names and everything else
Line = t.Annotated[str, AfterValidator(clean_line)]
# What is asked for by a name
Wanted = t.Annotated[Line, AfterValidator(_not_blank)]
SecretText = t.Annotated[SecretStr, AfterValidator(_clean_secret)]


class RequestBody(BaseModel):
    """A body as JSON: true is no number, and "1" is none either."""

    model_config = ConfigDict(strict=True)
