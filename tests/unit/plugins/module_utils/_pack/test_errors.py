# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import inspect
import re

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, CatalogError) and value is not CatalogError
]


def test_the_tree_is_drawn_as_it_is() -> None:
    assert errors.__doc__
    drawn = dict(re.findall(r"[├└]── (\w+) +(\w+) ", errors.__doc__))
    assert drawn == {one.__name__: one.code for one in CLASSES if one is not errors.PackError}


@pytest.mark.parametrize("one", CLASSES)
def test_an_error_tells_what_and_what_to_do(one: type[CatalogError]) -> None:
    error = one("It went wrong.", hint="Do it again.", details={"path": "a"})
    assert isinstance(error, errors.PackError)
    assert str(error) == "It went wrong. Do it again."
    assert (error.message, error.hint, error.details) == ("It went wrong.", "Do it again.", {"path": "a"})
    assert str(one("It went wrong.")) == "It went wrong."


def test_every_error_has_a_word_of_its_own() -> None:
    assert len({one.code for one in CLASSES}) == len(CLASSES)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", one.code) for one in CLASSES)
