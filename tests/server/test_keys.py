# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key ring: replaced while the server runs and transfers go on."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jwt
import pytest
from catalog_server import keys
from catalog_server.keys import KeyRing, read_secrets
from catalog_server.models.audit import AuditEntry
from catalog_server.settings import SettingsError
from conftest import StartServer
from packs import sha256
from rows import new_catalog_id, put_manifest
from running import Server, command
from sqlalchemy import select
from transfer_client import Client, good

OLD, NEW = "an old secret, long enough for anyone", "a new secret, long enough for anyone"


def listed(server: Server) -> list[dict[str, object]]:
    done = command(server.data_dir, "key", "list", "--json", settings=server.settings)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def said(server: Server, *words: str) -> str:
    done = command(server.data_dir, "key", *words, settings=server.settings)
    return done.stdout if done.returncode == 0 else done.stderr


def test_a_rotation_ends_nothing_until_the_old_key_is_dropped(start_server: StartServer) -> None:
    server = start_server()
    catalog_id = new_catalog_id()
    put_manifest(server, catalog_id)
    client = Client.of(server, "pusher")
    token = server.token("pusher")
    made = client.grant("pull", catalog_id)["grant"]
    data = b"a segment that takes its time"
    upload = good(client.begin(new_catalog_id()))["id"]
    (url,) = [row["url"] for row in good(client.store_urls(upload, {sha256(data): len(data)}))["urls"]]
    (old,) = listed(server)
    assert old["signs"] and old["made_at"]

    assert "signs from now on" in said(server, "rotate")
    new, before = listed(server)
    assert (new["signs"], before["signs"], before["key"]) == (True, False, old["key"])
    assert server.call("GET", "/manifests", bearer=token).status_code == 200
    renewed = good(server.call("POST", "/grants/renew", bearer=made))["grant"]
    fresh = server.login("pusher").json()["token"]
    kids = [jwt.get_unverified_header(text)["kid"] for text in (token, made, renewed, fresh)]
    assert kids == [old["key"], old["key"], new["key"], new["key"]]
    assert httpx.put(url, content=data, trust_env=False).status_code == 200

    assert said(server, "drop", str(old["key"])) == f"key {old['key']} dropped\n"
    assert server.call("GET", "/manifests", bearer=token).status_code == 401
    assert server.call("POST", "/grants/renew", bearer=made).status_code == 401
    assert httpx.put(url, content=data, trust_env=False).status_code == 403
    assert server.call("GET", "/manifests", bearer=fresh).status_code == 200
    assert "signs. Run catalog-server key rotate first." in said(server, "drop", str(new["key"]))
    assert "There is no key nobody." in said(server, "drop", "nobody")
    with server.services.database.reading() as session:
        actions = session.scalars(
            select(AuditEntry.action).where(AuditEntry.subject_kind == "key").order_by(AuditEntry.id)
        ).all()
    assert actions == ["key.rotate", "key.drop"]


def test_a_secret_of_the_settings_is_not_rotated(start_server: StartServer) -> None:
    server = start_server(CATALOG_SERVER_SECRET=OLD)
    assert "Put it into a file" in said(server, "rotate")
    assert len(listed(server)) == 1


def test_a_file_that_was_damaged_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"{NEW}\n{OLD}\n", encoding="utf-8")
    ring = KeyRing.of_file(path)
    assert ring.keys == KeyRing([NEW, OLD]).keys
    for damage in ("", "short\n", f"{NEW}\nshort\n"):
        path.write_text(damage, encoding="utf-8")
        assert ring.keys == KeyRing([NEW, OLD]).keys
        with pytest.raises(SettingsError, match="too short"):
            read_secrets(path)
    path.unlink()
    assert ring.keys == KeyRing([NEW, OLD]).keys
    path.write_text(f"{NEW}\n", encoding="utf-8")
    assert ring.keys == KeyRing([NEW]).keys


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"# made by hand\n{OLD}\n", encoding="utf-8")
    first = path.stat().st_ino
    new = keys.rotate(path, datetime.datetime.now(datetime.UTC))
    assert path.stat().st_ino != first and path.stat().st_mode & 0o777 == 0o600
    assert [secret.text for secret in read_secrets(path)] == [new.text, OLD]
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets"]


def test_rotations_at_once_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "server-secret"
    path.write_text(f"{OLD}\n", encoding="utf-8")
    now = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _number: keys.rotate(path, now), range(24)))
    assert {secret.kid for secret in read_secrets(path)} == {keys.Secret(OLD).kid, *(secret.kid for secret in made)}
    assert [file.name for file in tmp_path.iterdir()] == ["server-secret"]
