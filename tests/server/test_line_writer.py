# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log that nobody reads keeps nobody waiting: neither requests nor the end of the server."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from catalog_server.line_writer import LineWriter
from catalog_server.telemetry import LinesHandler, lost_line
from running import START_SECONDS, STOP_SECONDS, Template, environment, wait_until

JUNK = b"\n"


@dataclass
class Pipe:
    """A pipe that is full, and what comes out of it once somebody reads."""

    reader: int
    writer: int

    def fill(self) -> None:
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, JUNK)
        os.set_blocking(self.writer, True)

    def rest(self) -> list[str]:
        """Everything until nobody can write any more, without what it was filled with."""
        with os.fdopen(self.reader, encoding="utf-8", closefd=False) as stream:
            return [line.rstrip("\n") for line in stream if line.strip()]


@pytest.fixture(name="pipe")
def pipe_fixture() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    pipe = Pipe(reader, writer)
    pipe.fill()
    yield pipe
    for descriptor in (pipe.reader, pipe.writer):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_lines_wait_for_whoever_reads_and_those_without_room_are_counted(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, lost_line, most_bytes=1000)
    # The thread takes the first one, and waits with it.
    writer.add("first")
    wait_until(lambda: writer._is_writing)
    lines = [f"{number:099d}" for number in range(15)]
    for line in lines:
        writer.add(line)
    assert not writer.flush(0.1)
    assert writer.lost == 5
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(pipe.rest()))
    reading.start()
    assert writer.flush(30)
    writer.add("later")
    assert writer.flush(30)
    os.close(pipe.writer)
    reading.join(30)
    assert found[:11] == ["first", *lines[:10]] and found[12:] == ["later"]
    told = json.loads(found[11])
    assert (told["level"], told["lines"]) == ("warning", 5) and "lost" in told["message"]


def test_what_cannot_be_written_is_counted_and_the_rest_is_written(pipe: Pipe) -> None:
    reader, writer = os.pipe()
    lines = LineWriter(pipe.writer, lost_line)
    os.close(pipe.reader)
    lines.add("nobody will ever read this")
    assert lines.flush(30)
    wait_until(lambda: lines.lost == 1)
    os.dup2(writer, pipe.writer)
    lines.add("somebody reads this")
    assert lines.flush(30)
    first, told = os.read(reader, 10_000).decode().splitlines()
    assert (first, json.loads(told)["lines"]) == ("somebody reads this", 1)
    for descriptor in (reader, writer):
        os.close(descriptor)


# Workers are forked in the same way, by a supervisor that writes lines.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_that_was_forked_writes_its_own_lines_only(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, lost_line)
    writer.add("of the parent")
    wait_until(lambda: writer._is_writing)
    child = os.fork()
    if child == 0:
        writer.add("of the child")
        os._exit(0 if writer.flush(30) else 1)
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(pipe.rest()))
    reading.start()
    _pid, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), writer.flush(30)) == (0, True)
    os.close(pipe.writer)
    reading.join(30)
    assert sorted(found) == ["of the child", "of the parent"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_lines_of_several_processes_are_not_mixed_however_long_they_are(pipe: Pipe) -> None:
    """A pipe takes a line that is longer than PIPE_BUF in pieces, with what others write between them."""
    writer = LineWriter(pipe.writer, lost_line)
    letters = "abcd"
    children = []
    for letter in letters:
        child = os.fork()
        if child == 0:
            for _number in range(5):
                writer.add(letter * 50_000)
            os._exit(0 if writer.flush(60) else 1)
        children.append(child)
    os.close(pipe.writer)
    found = pipe.rest()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)
    assert sorted(found) == sorted(letter * 50_000 for letter in letters for _number in range(5))


def test_what_cannot_be_written_is_counted_once_and_told_of_later() -> None:
    reader, descriptor = os.pipe()
    lines = LineWriter(descriptor, lost_line)
    os.close(reader)
    for number in range(1, 4):
        lines.add("nobody will ever read this")
        wait_until(lambda wanted=number: lines.flush(30) and lines.lost >= wanted)  # type: ignore[misc]
    assert lines.lost == 3
    reader, writer = os.pipe()
    os.dup2(writer, descriptor)
    lines.add("somebody reads this")
    assert lines.flush(30)
    _first, told = os.read(reader, 10_000).decode().splitlines()
    assert (json.loads(told)["lines"], lines.lost) == (3, 3)
    for one in (reader, writer, descriptor):
        os.close(one)


def test_a_line_behind_one_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    """A full volume takes the beginning of a line, as this limit does."""
    path = tmp_path / "log"
    path.write_text("-" * 100 + "\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    lines = LineWriter(descriptor, lost_line)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (110, hard))
    try:
        lines.add("this one is cut off")
        wait_until(lambda: lines.flush(30) and lines.lost > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines.add("a whole one")
    assert lines.flush(30)
    _before, cut, whole, told = path.read_text().splitlines()
    assert ("this one is cut off".startswith(cut), whole) == (True, "a whole one")
    assert (json.loads(told)["lines"], lines.lost) == (1, 1)
    os.close(descriptor)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_or_never_began_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, descriptor = os.pipe()
    fails = True

    def tell(count: int) -> str:
        if fails:
            raise MemoryError
        return f"lost {count}"

    def no_room(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lines = LineWriter(descriptor, tell, most_bytes=10)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        lines.add("first")
    assert lines.lost == 0
    lines.add("longer than there is room for")
    lines.add("2nd")
    assert lines.flush(30)
    first_thread = lines._thread
    assert first_thread is not None
    first_thread.join(30)
    fails = False
    lines.add("third")
    assert lines.flush(30)
    assert os.read(reader, 10_000).decode().splitlines() == ["first", "2nd", "third", "lost 1"]
    for one in (reader, descriptor):
        os.close(one)


def test_what_cannot_be_made_a_line_is_told_of_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    reader, descriptor = os.pipe()
    handler = LinesHandler(LineWriter(descriptor, lost_line))
    record = logging.LogRecord("some.logger", logging.INFO, __file__, 1, "it has %d parts", ("no number",), None)
    handler.handle(record)
    handler.flush()
    told = json.loads(os.read(reader, 100_000))
    assert (told["logger"], told["level"]) == ("some.logger", "error") and "TypeError" in told["exception"]
    assert capsys.readouterr().err == ""
    for one in (reader, descriptor):
        os.close(one)


@contextlib.contextmanager
def unread(template: Template, place: Path, pipe: Pipe, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that answers, and whose output goes into a pipe that is full; and its URL."""
    ready = place / "ready"
    with template.copied(place / "data", {"CATALOG_WORKERS": str(workers)}) as settings:
        process = subprocess.Popen(
            [sys.executable, "-m", "catalog_server", "serve", "--port", "0", "--ready-file", str(ready)],
            env=environment(place / "data", settings),
            stdin=subprocess.DEVNULL,
            stdout=pipe.writer,
            stderr=pipe.writer,
        )
        try:
            wait_until(ready.exists, START_SECONDS)
            yield process, ready.read_text(encoding="ascii").strip()
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_output_nobody_reads_answers_and_ends(
    template: Template, tmp_path: Path, pipe: Pipe, workers: int
) -> None:
    with unread(template, tmp_path, pipe, workers) as (process, url):
        for _number in range(5):
            assert httpx.get(f"{url}/api/v1/server", trust_env=False, timeout=30).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_end_of_a_server_is_in_its_log(template: Template, tmp_path: Path, pipe: Pipe, workers: int) -> None:
    with unread(template, tmp_path, pipe, workers) as (process, url):
        assert httpx.get(f"{url}/api/v1/server", trust_env=False, timeout=30).status_code == 200
        os.close(pipe.writer)
        process.send_signal(signal.SIGTERM)
        # One that did not wait for whoever reads would be gone by then.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        found: list[str] = []
        reading = threading.Thread(target=lambda: found.extend(pipe.rest()))
        reading.start()
        assert process.wait(STOP_SECONDS) == 0
        reading.join(30)
    assert f"ready {url}" in found
    messages = [json.loads(line)["message"] for line in found if line != f"ready {url}"]
    assert messages.count("request") == 1
    assert [message.startswith("Finished server process") for message in messages].count(True) == workers
