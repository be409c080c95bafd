# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers as JSON, written where they are made.

The framework validates what a handler returns once more, and turns it into JSON on the event loop. A handler that makes
a model has validated it; decorated, it writes the JSON in its own thread. The description of the route stays that of
the model.
"""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable

from fastapi import Response
from pydantic import BaseModel

Parameters = t.ParamSpec("Parameters")


def written(handler: Callable[Parameters, BaseModel]) -> Callable[Parameters, Response]:
    """Decorate a handler that returns a model to return its JSON."""

    @functools.wraps(handler)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Response:
        model = handler(*arguments, **options)
        return Response(model.model_dump_json(), media_type="application/json")

    return run
