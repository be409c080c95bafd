# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.redact import redact, redact_url
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/path", "https://host/path"),
        ("https://user:pa@ss@host:8/path", "https://***@host:8/path"),
        ("https://host/o?signature=abc&expires=5&flag", "https://host/o?signature=***&expires=***&***"),
        ("https://host?token=abc", "https://host?token=***"),
        ("https://user@host#access", "https://***@host"),
        ("/path?x=y#z", "/path?x=***"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_secrets_of_a_url(url: str, expected: str) -> None:
    assert redact_url(url) == expected


def test_secrets_disappear_plain_and_encoded_and_the_longest_first() -> None:
    assert redact("a s3cr3t/1, s3cr3t%2F1 and s3cr3t", ["s3cr3t", "s3cr3t/1", None, ""]) == "a ***, *** and ***"


def test_a_word_of_a_few_letters_is_no_secret() -> None:
    assert redact("pull of an image", ["a", "of"]) == "pull of an image"


@given(st.text(), st.text(min_size=4, max_size=12).filter(lambda text: "*" not in text))
def test_a_secret_does_not_survive(text: str, secret: str) -> None:
    assert secret not in redact(f"{text}{secret}{text}", [secret])
