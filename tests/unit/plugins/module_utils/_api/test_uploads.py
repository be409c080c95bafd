# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._api import uploads
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import BadReply


def test_an_upload_request_leaves_out_what_is_not_set() -> None:
    request = uploads.UploadRequest("macos-15", "1", "arm64", "pvm", "x.pvm", 1 << 20, tags=("a",))
    assert request.to_json() == {
        "catalog_id": "macos-15",
        "version": "1",
        "architecture": "arm64",
        "type": "pvm",
        "name": "x.pvm",
        "chunk_size": 1 << 20,
        "tags": ["a"],
        "bases": [],
        "force": False,
    }


@pytest.mark.parametrize("upload_id", ["", "../../etc", "a/b", ".", "a" * 65, "a\n", 7])
def test_an_upload_id_that_cannot_be_part_of_a_path_is_refused(upload_id: object) -> None:
    with pytest.raises(BadReply, match="'id'"):
        uploads.Upload.from_json({"id": upload_id, "expires_at": 1, "chunk_size": 1, "revision": "r"})
