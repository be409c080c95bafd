# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/native-api.md says what the code does: words, routes, and every example."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from catalog_server import errors
from catalog_server.catalog import schemas as catalog
from catalog_server.identity import schemas as identity
from catalog_server.transfers import schemas as transfers
from pydantic import BaseModel
from routes import all_routes

DOCUMENT = (Path(__file__).parents[2] / "docs/native-api.md").read_text(encoding="utf-8")
WORD = re.compile(r"^\| `(\w+)` \| (\d{3}) \| ", re.MULTILINE)
ROUTE = re.compile(r"`(GET|HEAD|PUT|POST|PATCH|DELETE) (/[^`?]*)`")
ROUTES = DOCUMENT.partition("## Routes")[2].partition("### ")[0]
EXAMPLE = re.compile(r"(?:<!-- (\w+) -->\n)?```json\n(.*?)```", re.DOTALL)


def test_every_word_stands_in_the_table_with_its_status() -> None:
    assert {word: int(status) for word, status in WORD.findall(DOCUMENT)} == errors.STATUSES


def test_every_error_of_the_server_has_a_word_of_the_table() -> None:
    def classes(base: type[errors.ServerError]) -> list[type[errors.ServerError]]:
        return [base] + [one for child in base.__subclasses__() for one in classes(child)]

    assert {one.code for one in classes(errors.ServerError)} <= errors.STATUSES.keys()


def test_every_word_is_provoked_by_a_test() -> None:
    own = Path(__file__)
    tests = "\n".join(path.read_text(encoding="utf-8") for path in own.parent.glob("test_*.py") if path != own)
    assert [word for word in errors.STATUSES if f'"{word}"' not in tests] == []


def test_every_route_stands_in_the_table() -> None:
    assert set(ROUTE.findall(ROUTES)) == all_routes()


@pytest.mark.parametrize(("name", "text"), EXAMPLE.findall(DOCUMENT), ids=lambda part: part[:20])
def test_every_example_is_one(name: str, text: str) -> None:
    if not name:
        errors.ErrorBody.model_validate_json(text, strict=True)
        return
    model: type[BaseModel] = next(
        getattr(module, name) for module in (catalog, identity, transfers) if hasattr(module, name)
    )
    data = json.loads(text)
    model.model_validate(data)
    assert data.keys() <= model.model_fields.keys()
    if not name.endswith(("Request", "Edit", "Upload")):
        assert data.keys() == model.model_fields.keys()
