# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import errors
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_url import api_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host", "https://host/api/v1"),
        (" https://host:8443/ ", "https://host:8443/api/v1"),
        ("http://host/api", "http://host/api/v1"),
        ("http://host/catalog/api/v1/", "http://host/catalog/api/v1"),
        ("http://[::1]:80/x", "http://[::1]:80/x/api/v1"),
        ("http://[fe80::1%25eth0]:80", "http://[fe80::1%25eth0]:80/api/v1"),
        ("HTTPS://Host.example.com.//", "https://Host.example.com./api/v1"),
        ("http://bücher.example", "http://bücher.example/api/v1"),
    ],
)
def test_the_api_is_found_below_the_address(text: str, expected: str) -> None:
    assert api_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "ftp://host",
        "https://",
        "https://host:x",
        "https://host:99999",
        "https://host:0",
        "file:///etc/passwd",
        "http://catalog..x",
        "http://.example.com",
        f"http://{'a' * 64}.example.com",
        "http://a b.example.com",
        "http://exa\tmple.invalid",
        "http://host/a b",
        "http://host/\x00",
        "http://host/ä",
        "http://[::1",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest, match="not a valid address of a metadata server") as failure:
        api_url(text)
    assert "catalog_url" in str(failure.value) and failure.value.code == "invalid_url"


@pytest.mark.parametrize("text", ["https://root:pass@host", "https://host/?access_token=pass", "https://host/#pass"])
def test_credentials_in_the_address_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(errors.BadRequest) as failure:
        api_url(text)
    assert "pass" not in str(failure.value)
