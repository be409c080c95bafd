# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that comes in: every string of a body, a path, a query or a header is one of these.

Databases refuse zero bytes and encoders refuse half characters (surrogates), each in its own way; here they are refused
before anything else sees them. Equal texts are equal bytes (NFC).

NFC sorts the marks on a letter in a time that grows with the square of their number, and nothing else runs meanwhile.
So texts are bounded before they are looked at, and so are the marks on one letter, as in the Stream-Safe Text Format:
https://www.unicode.org/reports/tr15/#Stream_Safe_Text_Format.
"""

from __future__ import annotations

import re
import typing as t
import unicodedata

from pydantic import AfterValidator, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema

# Halves of characters; not in the patterns of schemas, since JSON has none.
_SURROGATES = r"\ud800-\udfff"
# Characters that no text has, as ranges of a regular expression: controls but for tab and line breaks
_NO_TEXT = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
# What no line has besides: breaks, and what is not shown or moves other characters. That is Unicode's categories Cc,
# Cf, Zl and Zp.
NOT_IN_LINE = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
# No text that the server takes is longer; most have a lower limit of their own.
LONGEST = 20_000
_MOST_MARKS = 30
TEXT_PATTERN = f"^[^{_NO_TEXT}]*$"
LINE_PATTERN = f"^[^{NOT_IN_LINE}]*$"
WANTED_PATTERN = f"^[^{NOT_IN_LINE}]*[^{NOT_IN_LINE}\\s][^{NOT_IN_LINE}]*$"
_not_in_text = re.compile(f"[{_NO_TEXT}{_SURROGATES}]")
_not_in_line = re.compile(f"[{NOT_IN_LINE}{_SURROGATES}]")


class InSchema:
    """In a type: what its JSON schema says beside, such as the pattern that a validator checks."""

    def __init__(self, **keywords: t.Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, t.Any]:
        return {**handler(schema), **self.keywords}


def clean(text: str) -> str:
    """Return a text in NFC.

    :raises ValueError: it contains zero bytes, half characters, or control characters that are no line breaks
    :raises ValueError: it is too long, or has too many marks on one letter
    """
    return _normalised(text, _not_in_text)


def clean_line(text: str) -> str:
    """Return a text in NFC.

    :raises ValueError: it contains characters that are not shown, such as line breaks and changes of direction
    :raises ValueError: it is too long, or has too many marks on one letter
    """
    return _normalised(text, _not_in_line)


def _normalised(text: str, not_allowed: re.Pattern[str]) -> str:
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} characters")
    found = not_allowed.search(text)
    if found is not None:
        raise ValueError(f"the character U+{ord(found.group()):04X} is not allowed")
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            raise ValueError(f"it has more than {_MOST_MARKS} marks on one letter")
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
Text = t.Annotated[str, AfterValidator(clean), InSchema(pattern=TEXT_PATTERN)]
# Names and everything else
Line = t.Annotated[str, AfterValidator(clean_line), InSchema(pattern=LINE_PATTERN)]
# What is asked for by a name
Wanted = t.Annotated[str, AfterValidator(clean_line), AfterValidator(_not_blank), InSchema(pattern=WANTED_PATTERN)]
SecretText = t.Annotated[SecretStr, AfterValidator(_clean_secret), InSchema(pattern=LINE_PATTERN)]
