# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: operands and options, refused as prlctl refuses them."""

from __future__ import annotations

import typing as t

USAGE_ERROR = 255
FAILURE = 255

NOT_FOUND = (
    "Failed to get VM config: The virtual machine could not be found. The virtual machine is not registered in the "
    "virtual machine directory on your Mac."
)

JsonObject = t.Dict[str, t.Any]


class Refused(Exception):
    """The command fails with this text on standard error, after it has waited for so long."""

    def __init__(self, text: str, code: int = FAILURE, wait_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.wait_seconds = wait_seconds


class Arguments:
    """The words after the verb: operands, and options that the verb knows."""

    def __init__(self, words: t.Sequence[str], options: t.Mapping[str, bool], operands: t.Tuple[int, int]) -> None:
        self.operands: t.List[str] = []
        self.options: t.Dict[str, str] = {}
        waiting = list(words)
        while waiting:
            word = waiting.pop(0)
            if not word.startswith("-") or word == "-":
                self.operands.append(word)
                continue
            name = SHORT_OPTIONS.get(word, word)
            if name not in options:
                raise Refused(f"Unrecognized option: {word}\n{USAGE}", USAGE_ERROR)
            if options[name] and not waiting:
                raise Refused(f"Option {word} requires an argument\n{USAGE}", USAGE_ERROR)
            self.options[name] = waiting.pop(0) if options[name] else ""
        fewest, most = operands
        if not fewest <= len(self.operands) <= most:
            raise Refused(f"Incorrect usage: {' '.join(words)}\n{USAGE}", USAGE_ERROR)

    def has(self, name: str) -> bool:
        """Return True if the option was given."""
        return name in self.options

    def get(self, name: str) -> t.Optional[str]:
        """Return the argument of an option, or None."""
        return self.options.get(name)


SHORT_OPTIONS = {"-a": "--all", "-i": "--info", "-j": "--json", "-f": "--full", "-t": "--template", "-L": "--license"}
USAGE = "Usage: prlctl <action> <ID | name> [options]"
