# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bodies of requests and answers as JSON. The text below each field is its description in OpenAPI."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """What a client sends: true is no number, and "1" is none either."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)


class ResponseBody(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)
