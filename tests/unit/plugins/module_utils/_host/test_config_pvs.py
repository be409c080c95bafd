# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import re
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
    config_pvs.set_identity(str(tmp_path), name)
    assert ElementTree.parse(path).findtext("I/VmName") == name
    rest = path.read_text(encoding="utf-8").split("</VmName>", 1)[1]
    assert rest == template.split("{}")[1]
    assert path.stat().st_mode & 0o777 == 0o640


def test_configuration_without_a_place_for_a_name_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.pvs").write_bytes(b"<V>\xff</V>")
    config_pvs.set_identity(str(tmp_path), "runner")
    assert (tmp_path / "config.pvs").read_bytes() == b"<V>\xff</V>"


def test_missing_name_is_added(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.pvs"
    path.write_text('<V><Identification dyn_lists=""><VmUuid>1</VmUuid></Identification></V>')
    config_pvs.set_identity(str(tmp_path), "R&D")
    assert ElementTree.parse(path).findtext("Identification/VmName") == "R&D"
    assert ElementTree.parse(path).findtext("Identification/VmUuid") == "1"


def test_every_adapter_gets_an_address_of_its_own(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.pvs"
    adapters = [
        '<NetworkAdapter id="0" dyn_lists="">\n<Enabled>1</Enabled><MAC>001C42000001</MAC><X/></NetworkAdapter>',
        '<NetworkAdapter id="1"><MAC/></NetworkAdapter>',
        '<NetworkAdapter id="2"><Enabled>1</Enabled></NetworkAdapter>',
    ]
    path.write_text(f'<V><Hardware dyn_lists="NetworkAdapter 3">{"".join(adapters)}<NetworkAdapter/></Hardware></V>')
    numbers = iter(range(10, 20))
    config_pvs.set_identity(str(tmp_path), "runner", lambda: f"001C420000{next(numbers)}")
    found = ElementTree.parse(path).findall("Hardware/NetworkAdapter")
    assert [adapter.findtext("MAC") for adapter in found] == ["001C42000010", "001C42000011", "001C42000012", None]
    assert [adapter.findtext("Enabled") for adapter in found] == ["1", None, "1", None]


def test_random_addresses_are_of_the_range_of_parallels() -> None:
    addresses = {config_pvs.random_mac() for _number in range(20)}
    assert len(addresses) > 15
    assert all(re.fullmatch("001C42[0-9A-F]{6}", address) for address in addresses)
