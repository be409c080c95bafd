# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions and releases for tests of properties."""

from __future__ import annotations

from hypothesis import strategies as st

releases = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))
prereleases = st.one_of(st.just(""), st.from_regex(r"-[0-9a-z-]{1,3}(\.[0-9a-z-]{1,3}){0,2}", fullmatch=True))
version_texts = st.tuples(st.sampled_from(["", "v"]), releases, prereleases).map("".join)
