# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log that nobody reads keeps nobody waiting: neither requests nor the end of the server."""

from __future__ import annotations

import contextlib
import json
import os
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
from catalog_server.telemetry import lost_line
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
