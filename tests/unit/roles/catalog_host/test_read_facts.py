# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program behind ansible_local.parallels_catalog: what owners write is data, whatever it is."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._host import facts
from ansible_collections.macfleet.parallels.tests.unit.support.hostile_facts import HOSTILE

SOURCE = pathlib.Path(__file__).parents[4] / "roles/catalog_host/files/read_facts.py"
GOOD = {"caches": {"/Users/build/cache": {"free_bytes": 5}}, "vms": [{"name": "runner-01"}]}


@pytest.fixture(scope="module", name="reader")
def load_reader() -> t.Any:
    spec = importlib.util.spec_from_file_location("read_facts", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="root")
def make_root(tmp_path: pathlib.Path) -> pathlib.Path:
    for owner in ("build", "qa"):
        (tmp_path / owner).mkdir()
    (tmp_path / "build/facts.json").write_text(json.dumps(GOOD), encoding="utf-8")
    return tmp_path


def test_documents_of_all_owners_are_one(reader: t.Any, root: pathlib.Path) -> None:
    (root / "qa/facts.json").write_text('{"caches": {"/q": {}}, "vms": [{"name": "q"}]}', encoding="utf-8")
    assert reader.collect(str(root)) == {
        "caches": {"/Users/build/cache": {"free_bytes": 5}, "/q": {}},
        "owners": {"build": {"readable": True}, "qa": {"readable": True}},
        "vms": [{"name": "runner-01"}, {"name": "q"}],
    }


def test_an_owner_without_a_file_has_published_nothing(reader: t.Any, root: pathlib.Path) -> None:
    assert reader.collect(str(root))["owners"] == {"build": {"readable": True}}


def test_a_host_without_the_directory_has_no_facts(reader: t.Any, tmp_path: pathlib.Path) -> None:
    assert reader.collect(str(tmp_path / "missing")) == {"caches": {}, "owners": {}, "vms": []}


@pytest.mark.parametrize("content", HOSTILE, ids=lambda content: repr(content[:24]))
def test_content_that_no_cache_publishes_is_unreadable(reader: t.Any, root: pathlib.Path, content: bytes) -> None:
    (root / "qa/facts.json").write_bytes(content)
    found = reader.collect(str(root))
    assert found["owners"] == {"build": {"readable": True}, "qa": {"readable": False}}
    assert found["caches"] == GOOD["caches"]


def foreign_cache(root: pathlib.Path) -> None:
    forged = {"caches": {"/Users/build/cache": {"free_bytes": 0}, "/q": {}}}
    (root / "qa/facts.json").write_text(json.dumps(forged), encoding="utf-8")


def strange_vms(root: pathlib.Path) -> None:
    forged = {"caches": GOOD["caches"], "vms": [{"cache_path": ["/Users/build/cache"]}, {"cache_path": "/q\0"}]}
    (root / "qa/facts.json").write_text(json.dumps(forged), encoding="utf-8")


@pytest.mark.parametrize("forge", [foreign_cache, strange_vms])
def test_nobody_speaks_for_a_cache_of_somebody_else(
    reader: t.Any, root: pathlib.Path, forge: t.Callable[[pathlib.Path], None]
) -> None:
    forge(root)
    found = reader.collect(str(root))
    # Whose it is cannot be seen, as there is none.
    assert "/Users/build/cache" not in found["caches"]
    assert found["vms"][0] == {"name": "runner-01"}
    assert found["owners"] == {"build": {"readable": True}, "qa": {"readable": True}}
    assert facts.read_published(str(root)) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of other users")
def test_the_owner_of_the_directory_counts(reader: t.Any, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "build/cache"
    cache.mkdir()
    for owner, uid in (("build", 12345), ("qa", 12346)):
        document = {"caches": {str(cache): {"of": owner}}, "vms": [{"name": owner, "cache_path": str(cache)}]}
        (root / owner / "facts.json").write_text(json.dumps(document), encoding="utf-8")
        os.chown(root / owner, uid, -1)
    os.chown(cache, 12345, -1)
    found = reader.collect(str(root))
    assert found["caches"] == {str(cache): {"of": "build"}}
    assert [vm["name"] for vm in found["vms"]] == ["build"]
    assert facts.read_published(str(root)) == found


def test_a_file_of_the_largest_size_is_read(reader: t.Any, root: pathlib.Path) -> None:
    (root / "qa/facts.json").write_bytes(b"{}".ljust(reader.LARGEST_BYTES))
    assert reader.collect(str(root))["owners"]["qa"] == {"readable": True}


def link_to_a_good_file(path: pathlib.Path) -> None:
    path.symlink_to(path.parents[1] / "build/facts.json")


def dangling_link(path: pathlib.Path) -> None:
    path.symlink_to("nowhere")


def pipe(path: pathlib.Path) -> None:
    os.mkfifo(path)


def directory(path: pathlib.Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [link_to_a_good_file, dangling_link, pipe, directory])
def test_what_is_no_regular_file_is_unreadable(
    reader: t.Any, root: pathlib.Path, make: t.Callable[[pathlib.Path], None]
) -> None:
    make(root / "qa/facts.json")
    assert reader.collect(str(root))["owners"]["qa"] == {"readable": False}


def test_a_link_in_place_of_an_owner_is_not_followed(reader: t.Any, root: pathlib.Path) -> None:
    (root / "stranger").symlink_to(root / "build")
    assert reader.collect(str(root))["owners"]["stranger"] == {"readable": False}


def test_it_prints_one_document(reader: t.Any, root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader.main(str(root))
    assert json.loads(capsys.readouterr().out)["caches"] == GOOD["caches"]
