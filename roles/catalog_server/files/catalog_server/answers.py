# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers as JSON, written where they are made, and where that is: in a thread, or at once on the event loop.

The framework validates what a handler returns once more, and turns it into JSON on the event loop. A handler that makes
a model has validated it; decorated, it writes the JSON itself. The description of the route stays that of the model.

Python runs one thread of a process at a time. A thread that waits for another core to pass the interpreter on takes
longer for that than for a few rows of SQLite: such a handler answers twice as many requests on the event loop itself.
Whatever may wait for a network, a lock or a disk, or makes a long answer, stays in a thread.
"""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable, Coroutine

from fastapi import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from catalog_server.unit_of_work import RequestContext

Parameters = t.ParamSpec("Parameters")
Result = t.TypeVar("Result")
Handler = Callable[t.Concatenate[RequestContext, Parameters], Result]


def written(handler: Callable[Parameters, BaseModel]) -> Callable[Parameters, Response]:
    """Decorate a handler that returns a model to return its JSON."""

    @functools.wraps(handler)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Response:
        return response(handler(*arguments, **options))

    return run


def written_at_once(
    is_short: Callable[t.Concatenate[RequestContext, Parameters], bool],
) -> Callable[[Handler[Parameters, BaseModel]], Handler[Parameters, Coroutine[t.Any, t.Any, Response]]]:
    """Decorate a handler that only reads, and is called with ``context`` by name, to return its JSON.

    It runs on the event loop if the database allows that and ``is_short`` returns True for its arguments, in a thread
    if not.
    """

    def decorate(
        handler: Handler[Parameters, BaseModel],
    ) -> Handler[Parameters, Coroutine[t.Any, t.Any, Response]]:
        @functools.wraps(handler)
        async def run(context: RequestContext, *arguments: Parameters.args, **options: Parameters.kwargs) -> Response:
            if context.services.database.reads_at_once and is_short(context, *arguments, **options):
                return response(handler(context, *arguments, **options))
            return await run_in_threadpool(lambda: response(handler(context, *arguments, **options)))

        return run

    return decorate


def always(_context: RequestContext, *_arguments: t.Any, **_options: t.Any) -> bool:
    """For a handler whose answer is short, whatever is asked."""
    return True


def response(model: BaseModel) -> Response:
    """Return a model as an answer, for handlers that decide themselves in which thread it is written."""
    return Response(model.model_dump_json(), media_type="application/json")
