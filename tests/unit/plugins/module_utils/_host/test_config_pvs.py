# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
from xml.etree import ElementTree

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import config_pvs
from ansible_collections.macfleet.parallels.plugins.module_utils._host.errors import VmNameInvalid
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("name", ["runner-01", "macOS 15 (build)", "R&D <1>", "b\\1 $1 \\g<0>", "日本語", "x" * 230])
def test_good_names(name: str) -> None:
    assert config_pvs.check_name(name) == name


def test_names_are_composed() -> None:
    assert config_pvs.check_name("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize(
    "name",
    ["", " ", "a ", "\ta", "a/b", "a:b", ".", "..", ".hidden", "-a", "--name", "a\0b", "a\nb", "x" * 231, "\ud800"],
)
def test_bad_names_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(VmNameInvalid, match="was refused: it ") as caught:
        config_pvs.check_name(name)
    assert caught.value.code == "vm_name_invalid"


@given(st.text())
def test_name_is_refused_or_good_as_a_file_name(name: str) -> None:
    try:
        good = config_pvs.check_name(name)
    except VmNameInvalid:
        return
    assert os.path.basename(f"/x/{good}.macvm") == f"{good}.macvm"
    assert "\0" not in good


@pytest.mark.parametrize("name", ["runner-01", "R&D <1>", "b\\1 $1 \\g<0> ]]>", "日本語 \u00e9"])
@pytest.mark.parametrize("before", ["<VmName>old &amp; worn</VmName>", "<VmName/>", "<VmName></VmName>"])
def test_name_is_written_and_nothing_else(tmp_path: pathlib.Path, name: str, before: str) -> None:
    template = (
        '<?xml version="1.0"?>\n<V>\n <I>{}<VmUuid>1</VmUuid></I><!-- é --><Other><VmName>keep</VmName></Other></V>\n'
    )
    path = tmp_path / "config.pvs"
    path.write_text(template.format(before), encoding="utf-8")
    path.chmod(0o640)
    assert config_pvs.set_name(str(tmp_path), name)
    assert ElementTree.parse(path).findtext("I/VmName") == name
    rest = path.read_text(encoding="utf-8").split("</VmName>", 1)[1]
    assert rest == template.split("{}")[1]
    assert path.stat().st_mode & 0o777 == 0o640


def test_configuration_without_a_name_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.pvs").write_bytes(b"<V>\xff</V>")
    assert not config_pvs.set_name(str(tmp_path), "runner")
    assert (tmp_path / "config.pvs").read_bytes() == b"<V>\xff</V>"
