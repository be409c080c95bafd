# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user may have written into a file of facts that no cache publishes. There are two readers: both refuse it."""

from __future__ import annotations

HOSTILE = [
    b"",
    b"{",
    b"[]",
    b"1",
    b'"text"',
    b"NaN",
    b"\xff\xfe",
    b'{"caches": []}',
    b'{"caches": {"/x": 1}}',
    b'{"caches": {"/x": NaN}}',
    b'{"caches": {"/x": {"free_bytes": Infinity}}}',
    b'{"caches": {"/x": {"free_bytes": 1e999}}}',
    b'{"caches": {"/x": {"free_bytes": ' + b"9" * 5000 + b"}}}",
    b'{"caches": {"/x": {"free_bytes": ' + b"9" * ((1 << 20) - 100) + b"}}}",
    b'{"caches": {"/x": {"free_bytes": -' + b"9" * 20 + b"}}}",
    rb'{"caches": {"/x": {"owner": "\ud800"}}}',
    rb'{"caches": {"\udfff": {}}}',
    rb'{"vms": [{"name": ["\ud800"]}]}',
    b'{"vms": {}}',
    b'{"vms": [1]}',
    b'{"vms": [{"memory": -1e999}]}',
    b'{"caches": ' + b"[" * 100_000,
    b'{"caches": {}}' + b" " * 1024 * 1024,
]
