# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a reader finds in the documents: taken from them word for word, so that a test runs what is written."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).absolute().parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Code in a sentence.
_INLINE = re.compile(r"`([^`]+)`")


def read(document: str) -> str:
    """A document by its path in the checkout."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [text for found, text in _BLOCK.findall(read(document)) if found == language]


def inline(document: str, begin: str) -> list[str]:
    """The code in sentences that begins with these words; each once, line breaks as spaces."""
    prose = _BLOCK.sub("", read(document))
    found = (" ".join(text.split()) for text in _INLINE.findall(prose))
    return list(dict.fromkeys(text for text in found if text.startswith(begin)))


def filled(text: str, values: t.Mapping[str, str]) -> str:
    """An example with what a reader puts in place of its placeholders; each of them must be there."""
    for placeholder, value in values.items():
        assert placeholder in text, f"{placeholder!r} is not in\n{text}"
        text = text.replace(placeholder, value)
    return text


def play(document: str, values: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The play that a document begins its examples with, filled."""
    (found,) = yaml.safe_load(filled(blocks(document, "yaml")[0], values))
    return t.cast("dict[str, t.Any]", found)


def assert_alike(sample: t.Any, found: t.Any, where: str) -> None:
    """A value has the keys and types of a sample; what either of them does not know is passed over."""
    if not sample or not found:
        return
    assert type(sample) is type(found), f"{where} is no {type(sample).__name__}"
    if isinstance(sample, dict):
        if len(sample) == 1 and not sample.keys() & found.keys():
            # Its keys are names, of caches or users.
            ((name, value),) = sample.items()
            sample = dict.fromkeys(found, value)
        assert sample.keys() == found.keys(), f"{where} has other keys than its sample"
        for name, value in sample.items():
            assert_alike(value, found[name], f"{where}.{name}")
    elif isinstance(sample, list):
        assert_alike(sample[0], found[0], where)
