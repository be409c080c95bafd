# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""prlctl and prlsrvctl of Parallels Desktop, as far as this collection calls them: one call, from its words to its end.

State is kept per user below ``~/.parallels-simulator``; README.md tells how to make it fail and misbehave.
"""

from __future__ import annotations

import json
import os
import sys
import time
import typing as t

from .arguments import USAGE, USAGE_ERROR, JsonObject, Refused
from .commands import PRLCTL_VERBS
from .server import BUILD, PRLSRVCTL_VERBS, VERSION
from .state import Dispatcher, locked


def next_fault(directory: str, verb: str) -> JsonObject:
    """The first fault for this verb, one of its times used up."""
    path = os.environ.get("PRLCTL_SIM_FAULTS") or os.path.join(directory, "faults.json")
    try:
        with open(path, encoding="utf-8") as stream:
            faults: t.List[JsonObject] = json.load(stream)
    except FileNotFoundError:
        return {}
    for fault in faults:
        if fault.get("verb", verb) != verb or fault.get("times", 1) < 1:
            continue
        if "times" in fault:
            fault["times"] -= 1
            temporary = f"{path}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump(faults, stream)
            os.rename(temporary, path)
        return fault
    return {}


def log_call(directory: str, argv: t.Sequence[str]) -> None:
    with open(os.path.join(directory, "calls.jsonl"), "a", encoding="utf-8") as stream:
        stream.write(json.dumps(list(argv)) + "\n")


def suffer(fault: JsonObject, moment: str) -> None:
    if not fault or fault.get("when", "before") != moment:
        return
    time.sleep(fault.get("hang_seconds", 0))
    if "returncode" in fault:
        sys.stdout.write(fault.get("stdout", ""))
        raise Refused(fault.get("stderr", ""), fault["returncode"])


def act(directory: str, program: str, verb: str, words: t.Sequence[str], fault: JsonObject) -> str:
    if program == "prlsrvctl":
        if verb not in PRLSRVCTL_VERBS:
            raise Refused(f"Unrecognized action: {verb}\n{USAGE}", USAGE_ERROR)
        return PRLSRVCTL_VERBS[verb](words)
    if verb not in PRLCTL_VERBS:
        raise Refused(f"Unrecognized action: {verb}\n{USAGE}", USAGE_ERROR)
    with locked(directory):
        dispatcher = Dispatcher(directory)
        output = PRLCTL_VERBS[verb](dispatcher, words, fault)
        dispatcher.save()
    # Others may use Parallels Desktop while this command waits.
    time.sleep(dispatcher.wait_seconds)
    return output


def main(argv: t.Sequence[str]) -> int:
    program = "prlsrvctl" if os.path.basename(argv[0]).startswith("prlsrvctl") else "prlctl"
    if argv[1:] == ["--version"]:
        sys.stdout.write(f"{program} version {VERSION} ({BUILD})\n")
        return 0
    if len(argv) < 2:
        sys.stderr.write(USAGE + "\n")
        return USAGE_ERROR
    directory = os.path.join(os.path.expanduser("~"), ".parallels-simulator")
    verb, words = argv[1], argv[2:]
    with locked(directory):
        log_call(directory, [program, *argv[1:]])
        fault = next_fault(directory, verb)
    try:
        suffer(fault, "before")
        output = act(directory, program, verb, words, fault)
        suffer(fault, "after")
    except Refused as refusal:
        time.sleep(refusal.wait_seconds)
        sys.stderr.write(refusal.text.rstrip("\n") + "\n" if refusal.text else "")
        return refusal.code
    sys.stdout.write(fault.get("garbage_before", "") + output + fault.get("garbage_after", ""))
    return 0
