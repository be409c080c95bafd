# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On a host without a service manager: keep a command running in the background.

    background.py --user NAME --pid-file FILE --log-file FILE start COMMAND …
    background.py --user NAME --pid-file FILE stop
    background.py --user NAME --pid-file FILE status

A keeper process starts the command again when it ends by itself. It holds a lock on the pid file as long as it
lives, so the pid file of a keeper that died is never taken for a running one. ``status`` ends with 0 when the keeper
runs and with 3 when it does not. What the command and the keeper print goes through log_lines.py, which bounds the
size of the log.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from launch import become

NOT_RUNNING = 3
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
# A command that lived this long was not broken from the start: the delays begin anew.
STEADY_SECONDS = 60.0
STOP_SECONDS = 60
LAST_LINES_SECONDS = 5.0
LOG_PROGRAM = Path(__file__).resolve().with_name("log_lines.py")


class LogWriter:
    """The process that writes the log, started again if it ends before the keeper does.

    The reading end of its pipe stays open here, so what is written meanwhile waits for the next one.
    """

    def __init__(self, log_file: Path) -> None:
        self.command = [sys.executable, "-E", str(LOG_PROGRAM), str(log_file)]
        self.reader, self.writer = os.pipe()
        self.begun = 0.0
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.begun = time.monotonic()
        return subprocess.Popen(self.command, stdin=self.reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start_again_if_ended(self, *_signal: object) -> None:
        """Called when any child has ended. One that cannot even start is not started more than once a second."""
        if self.process.poll() is not None:
            time.sleep(max(0.0, self.begun + 1 - time.monotonic()))
            self.process = self.start()

    def finish(self) -> None:
        """Wait until it has written the last lines, when nobody writes any more."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.reader)
        try:
            self.process.wait(LAST_LINES_SECONDS)
        except subprocess.TimeoutExpired:
            # A process that the command has left behind still writes; both go on.
            pass


class Keeper:
    """Runs the command, again and again, until it is told to stop."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.child: subprocess.Popen[bytes] | None = None
        self.stopping = False
        self.wake_reader, self.wake_writer = os.pipe()
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        signal.signal(signal.SIGALRM, self.kill)

    def stop(self, *_signal: object) -> None:
        if not self.stopping:
            self.stopping = True
            os.write(self.wake_writer, b"s")
            signal.alarm(STOP_SECONDS)
        if self.child is not None:
            self.child.terminate()

    def is_stopping(self) -> bool:
        """Asked anew each time: a signal may change it at any moment."""
        return self.stopping

    def kill(self, *_signal: object) -> None:
        if self.child is not None:
            self.child.kill()

    def run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self.is_stopping():
            begun = time.monotonic()
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
            if self.is_stopping():
                self.child.terminate()
            status = self.child.wait()
            if self.is_stopping():
                return
            if time.monotonic() - begun >= STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            print(f"keeper: the command ended with status {status}; started again in {delay:.1f} s", flush=True)
            select.select([self.wake_reader], [], [], delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)


def lock_of(pid_file: Path) -> int | None:
    """The locked pid file, or None while a keeper holds it."""
    descriptor = os.open(pid_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_running(pid_file: Path) -> bool:
    if not pid_file.exists():
        return False
    descriptor = lock_of(pid_file)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def start(pid_file: Path, log_file: Path, command: list[str]) -> int:
    """Leave a keeper behind that belongs to no terminal and to no session of the caller."""
    descriptor = lock_of(pid_file)
    if descriptor is None:
        return 0
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        # The keeper's pid is in the file once the other end of the pipe is closed.
        os.read(reader, 1)
        return 0
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    log = LogWriter(log_file)
    _become_streams(nothing, log.writer, log.writer)
    os.close(log.writer)
    signal.signal(signal.SIGCHLD, log.start_again_if_ended)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    keeper = Keeper(command)
    os.close(reader)
    os.close(writer)
    keeper.run()
    _become_streams(nothing, nothing, nothing)
    log.finish()
    os.ftruncate(descriptor, 0)
    os._exit(0)


def _become_streams(*descriptors: int) -> None:
    """Make these the standard input, output and error of this process."""
    for target, source in enumerate(descriptors):
        os.dup2(source, target)


def stop(pid_file: Path) -> int:
    """Tell the keeper to stop and wait until it has let go of its lock."""
    if not is_running(pid_file):
        return 0
    os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGTERM)

    def give_up(*_signal: object) -> None:
        sys.exit(f"The process of {pid_file} did not stop in time.")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(2 * STOP_SECONDS)
    with pid_file.open("r", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", required=True)
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--log-file", type=Path, default=Path(os.devnull))
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    become(options.user)
    if options.action == "start":
        return start(options.pid_file, options.log_file, options.command)
    if options.action == "stop":
        return stop(options.pid_file)
    return 0 if is_running(options.pid_file) else NOT_RUNNING


if __name__ == "__main__":
    sys.exit(main())
