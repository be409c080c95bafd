# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs: one line of JSON each, with the id of the request, and without secrets.

The query of a URL is never logged: it can hold a signature. What an exception says goes through the same redaction as
every text for users.

Whoever logs does not wait for whoever reads the log: see ``line_writer.py``.
"""

from __future__ import annotations

import contextvars
import datetime
import json
import logging
import re
import sys
import typing as t

from catalog_server.line_writer import LineWriter

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# Patterns that anybody's text is searched for must not begin in the middle of what they match: with as many beginnings
# as characters, their time would grow with the square of the length.
_DOTTED = re.compile(r"[A-Za-z0-9_.-]+")
_JWT_BEGIN = "eyJ"
_JWT_DOTS = 2
_QUERY_SECRET = re.compile(r"(?i)\b(signature|access_token|authorization|password|secret|api_key)=[^&\s\"']+")
_HEADER_SECRET = re.compile(r"(?i)\b(bearer|x-api-key:?)\s+[A-Za-z0-9+/=_.-]{16,}")


# How long the end of a process waits for whoever reads its log
FLUSH_SECONDS = 2.0
# Of a text that a request brings: a path may have 64 KiB
_LONGEST = 1000
# Of a traceback, whose end says most: what an error says can be as long as what it is about.
_LONGEST_TRACEBACK = 20_000


def redacted(text: str) -> str:
    """The text without anything that looks like a token, a key or a signature."""
    text = _DOTTED.sub(lambda found: _without_jwt(found.group()), text)
    text = _QUERY_SECRET.sub(lambda found: f"{found.group(1)}=***", text)
    return _HEADER_SECRET.sub(lambda found: f"{found.group(1)} ***", text)


def _without_jwt(text: str) -> str:
    begin = text.find(_JWT_BEGIN)
    return text if begin < 0 or text.count(".", begin) < _JWT_DOTS else f"{text[:begin]}***"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _end_of(text: str) -> str:
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


class JsonLines(logging.Formatter):
    """A log record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, t.Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(_short(record.getMessage())),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS:
                line[name] = redacted(_short(value)) if isinstance(value, str) else value
        if record.exc_info:
            line["exception"] = _end_of(redacted(self.formatException(record.exc_info)))
        return json.dumps(line, default=str, ensure_ascii=True)


class LinesHandler(logging.Handler):
    """Gives lines of JSON to a writer, and never waits for it, but for a moment at the end of the process."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            # The handler of the library would write to standard error, and wait.
            line = JsonLines().format(_record(record.name, logging.ERROR, "a line of the log could not be made", True))
        self.writer.add(line)

    def flush(self) -> None:
        """Wait until all is written, and not for ever. ``logging.shutdown`` calls it."""
        self.writer.flush(FLUSH_SECONDS)


def configure(level: str) -> None:
    """Send all logs of the process to standard error."""
    root = logging.getLogger()
    root.handlers = [LinesHandler(LineWriter(sys.stderr.fileno(), lost_line))]
    root.setLevel(level.upper())
    # The middleware writes one line for each request, with its id and without its query.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("alembic").setLevel(logging.WARNING)


def lost_line(count: int) -> str:
    """Return the line that stands where others are missing."""
    text = "lines of the log are lost: they were not read in time, or could not be written"
    record = _record("catalog_server.telemetry", logging.WARNING, text)
    record.lines = count
    return JsonLines().format(record)


def _record(logger: str, level: int, text: str, with_exception: bool = False) -> logging.LogRecord:
    exception = sys.exc_info() if with_exception else None
    return logging.LogRecord(logger, level, __file__, 0, text, None, exception)


def lost_lines() -> int:
    """Return how many lines of the log this process has lost."""
    return sum(one.writer.lost for one in logging.getLogger().handlers if isinstance(one, LinesHandler))
