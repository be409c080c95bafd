# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On a host without a service manager: keep a command running in the background.

    background.py --user NAME --pid-file FILE --log-file FILE start COMMAND …
    background.py --user NAME --pid-file FILE stop
    background.py --user NAME --pid-file FILE status

A keeper process starts the command again when it ends by itself. It holds a lock on the pid file as long as it
lives, so the pid file of a keeper that died is never taken for a running one. The command and whatever it starts hold
a lock on a second file, the pid file with ``.command`` behind its name: a command whose keeper was killed goes on, and
is found by it. ``start`` and ``stop`` end such a command first.

``status`` ends with 0 when the keeper runs, with 4 when the command runs without it, and with 3 when neither does. What
the command and the keeper print goes through log_lines.py, which bounds the size of the log.
"""

from __future__ import annotations

import argparse
import contextlib
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
NOT_KEPT = 4
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
# A command that lived this long was not broken from the start: the delays begin anew.
STEADY_SECONDS = 60.0
STOP_SECONDS = 60
LAST_LINES_SECONDS = 5.0
POLL_SECONDS = 0.05
ATTEMPTS = 3
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
            with contextlib.suppress(OSError):
                # Without room for a process it is started when the next child ends.
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

    def __init__(self, command: list[str], command_file: Path, stop_seconds: int) -> None:
        self.command = command
        self.command_file = command_file
        self.stop_seconds = stop_seconds
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
            signal.alarm(self.stop_seconds)
        if self.child is not None:
            self.child.terminate()

    def is_stopping(self) -> bool:
        """Asked anew each time: a signal may change it at any moment."""
        return self.stopping

    def kill(self, *_signal: object) -> None:
        if self.child is not None and self.child.returncode is None:
            signal_group(self.child.pid, signal.SIGKILL)

    def run(self) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self.is_stopping():
            begun = time.monotonic()
            try:
                how = f"ended with status {self.run_once()}"
            except OSError as error:
                how = f"could not be started: {error}"
            if self.is_stopping():
                return
            if time.monotonic() - begun >= STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            print(f"keeper: the command {how}; started again in {delay:.1f} s", flush=True)
            select.select([self.wake_reader], [], [], delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def run_once(self) -> int:
        """Run the command to its end; return its exit status.

        It leads a group of processes of its own, so that all of it can be ended even if nobody else knows them.
        """
        lock = lock_of(self.command_file)
        if lock is None:
            raise BlockingIOError("what it has left behind still runs")

        def note_number() -> None:
            # By the process itself: the keeper may be killed before it could do so.
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

        try:
            # The keeper has no threads, so what is run between fork and exec cannot block.
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[lock],
                preexec_fn=note_number,
            )
        finally:
            # The command goes on to hold it.
            os.close(lock)
        if self.is_stopping():
            self.child.terminate()
        status = self.child.wait()
        signal_group(self.child.pid, signal.SIGTERM)
        return status


def command_file_of(pid_file: Path) -> Path:
    return pid_file.with_name(f"{pid_file.name}.command")


def signal_group(leader: int, number: int) -> None:
    """Send a signal to all processes of a group, if there are any."""
    # macOS says PermissionError of a group whose last process has ended and was not waited for.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def end_command(command_file: Path, stop_seconds: int) -> None:
    """End the command if it runs without a keeper: in order, and if that takes too long, at once."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(command_file):
            return
        # Its number is that of its group, which no other process gets as long as one of the group lives.
        leader = int(command_file.read_text(encoding="ascii"))
        signal_group(leader, number)
        until = time.monotonic() + stop_seconds
        while is_running(command_file) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
    if is_running(command_file):
        sys.exit(f"The process group {leader} of {command_file} does not end, and nothing keeps it running.")


def lock_of(file: Path) -> int | None:
    """The locked file, or None while somebody holds it.

    Whoever only looks whether it is held holds it for a moment, so it is tried more than once.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if attempt + 1 < ATTEMPTS:
                time.sleep(POLL_SECONDS)
    os.close(descriptor)
    return None


def is_running(file: Path) -> bool:
    """Whether somebody holds a lock on a file. Others may look at the same time."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def start(pid_file: Path, log_file: Path, command: list[str], stop_seconds: int) -> int:
    """Leave a keeper behind that belongs to no terminal and to no session of the caller."""
    descriptor = lock_of(pid_file)
    if descriptor is None:
        return 0
    # The number of a dead keeper may be that of another process by now.
    os.ftruncate(descriptor, 0)
    end_command(command_file_of(pid_file), stop_seconds)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        # A byte comes when the keeper's pid is in the file; an end without it means that it has failed.
        if os.read(reader, 1):
            return 0
        print(f"The keeper of {pid_file} did not start; see {log_file}.", file=sys.stderr)
        return 1
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    log = LogWriter(log_file)
    _become_streams(nothing, log.writer, log.writer)
    os.close(log.writer)
    signal.signal(signal.SIGCHLD, log.start_again_if_ended)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    keeper = Keeper(command, command_file_of(pid_file), stop_seconds)
    os.close(reader)
    os.write(writer, b"k")
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


def stop(pid_file: Path, stop_seconds: int) -> int:
    """Tell the keeper to stop, wait until it has let go of its lock, and end what runs without a keeper."""
    until = time.monotonic() + 2 * stop_seconds
    told = ""
    while is_running(pid_file):
        if time.monotonic() > until:
            sys.exit(f"The process of {pid_file} did not stop in time.")
        # One that is just being started has not written its number yet.
        keeper = pid_file.read_text(encoding="ascii").strip()
        if keeper and keeper != told:
            told = keeper
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(keeper), signal.SIGTERM)
        time.sleep(POLL_SECONDS)
    end_command(command_file_of(pid_file), stop_seconds)
    return 0


def status(pid_file: Path) -> int:
    """Return 0 if a keeper runs; otherwise say what is wrong."""
    if is_running(pid_file):
        return 0
    if is_running(command_file_of(pid_file)):
        print("The server runs, but its keeper was killed, so nothing starts it again when it ends.")
        return NOT_KEPT
    return NOT_RUNNING


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", required=True)
    parser.add_argument("--pid-file", type=Path, required=True)
    parser.add_argument("--log-file", type=Path, default=Path(os.devnull))
    parser.add_argument("--stop-seconds", type=int, default=STOP_SECONDS, help="after which the command is killed")
    parser.add_argument("action", choices=("start", "stop", "status"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    become(options.user)
    if options.action == "start":
        return start(options.pid_file, options.log_file, options.command, options.stop_seconds)
    if options.action == "stop":
        return stop(options.pid_file, options.stop_seconds)
    return status(options.pid_file)


if __name__ == "__main__":
    sys.exit(main())
