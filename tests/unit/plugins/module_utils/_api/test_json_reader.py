# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import manifests, tokens, uploads
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_info import ServerInfo
from ansible_collections.macfleet.parallels.tests.unit.support.json_values import json_values
from hypothesis import given


@given(json_values)
def test_any_json_is_a_record_or_a_bad_reply(data: t.Any) -> None:
    for read in (
        manifests.Manifest.from_json,
        tokens.MintedGrant.from_json,
        ServerInfo.from_json,
        uploads.signed_url_from_json,
        tokens.Token.from_json,
        uploads.Upload.from_json,
        uploads.UploadedSegment.from_json,
        manifests.manifests_from_json,
    ):
        try:
            read(data)
        except BadReply:
            pass


def test_timestamps_in_both_forms() -> None:
    for value in (1764000000, 1764000000.0, "2025-11-24T16:00:00Z", "2025-11-24T17:00:00+01:00"):
        assert tokens.Token.from_json({"token": "x", "expires_at": value}).expires_at == 1764000000.0
    for wrong in (None, True, "2025-11-24T16:00:00", "soon", 10**400, float("inf"), float("nan")):
        with pytest.raises(BadReply):
            tokens.Token.from_json({"token": "x", "expires_at": wrong})


def test_secrets_are_not_in_the_repr() -> None:
    signed = {"url": "https://s/?signature=s3cr3t", "expires_in": 1, "headers": {"x": "s3cr3t"}}
    assert "s3cr3t" not in repr(uploads.signed_url_from_json(signed))
    assert "s3cr3t" not in repr(tokens.MintedGrant.from_json({"grant": "s3cr3t", "expires_in": 1}))
    segment = {"sha256": "0" * 64, "size": 1, "url": "https://s/?signature=s3cr3t", "expires_in": 1}
    assert "s3cr3t" not in repr(uploads.UploadedSegment.from_json(segment))
