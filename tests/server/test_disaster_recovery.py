# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/disaster-recovery.md: its commands, from first to last, on an installation whose database is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.tests.support.documents import blocks
from conftest import StartServer
from freeing import Scene, age
from rows import new_catalog_id
from running import COMMAND_SECONDS, Server, environment
from transfer_client import Client, Pushed, good, objects

DATA = "/var/lib/catalog-server"


class Shell:
    """Runs commands of the document, with the directories of the test in place of those that it names."""

    def __init__(self, server: Server, place: Path) -> None:
        self._server, self._place = server, place
        command = place / "bin/catalog-server"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m catalog_server "$@"\n', encoding="ascii")
        command.chmod(0o755)

    def run(self, text: str, status: int = 0) -> str:
        """Returns what a block prints; it ends with that status."""
        text = text.replace(DATA, str(self._server.data_dir))
        variables = environment(self._server.data_dir, self._server.settings)
        variables["PATH"] = f"{self._place / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", text], env=variables, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        assert done.returncode == status, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


# With PostgreSQL, its own tools make the empty database that the document speaks of.
@pytest.mark.parametrize("template", ["sqlite"], indirect=True)
def test_every_command_of_the_document(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(CATALOG_JOBS_SECONDS="0")
    commands = blocks("docs/disaster-recovery.md", "sh")
    assert len(commands) == 9
    check, backup, aside, restore, look, audit, refused, after_restore, collect = commands
    shell, pusher = Shell(server, tmp_path), Client.of(server, "pusher")
    # The life before: versions are pushed, one is deleted, and what it alone used is collected.
    kept = pusher.push(new_catalog_id())
    scene = Scene(server)
    scene.delete()
    age(server)
    shell.run("catalog-server gc")
    assert scene.is_collected()
    doomed = pusher.push(new_catalog_id())

    assert "0 of 7 parts failed; exit status 0" in shell.run(check)
    assert "objects are listed" in shell.run(backup)
    # After the backup, something is pushed and something is deleted. Then the database is lost.
    lost = pusher.push(new_catalog_id())
    good(Client.of(server, "admin").http.delete(f"/manifests/{doomed.id}"))
    shell.run("catalog-server job run outbox")
    server.stop()
    server.ended = True
    for path in server.data_dir.glob("catalog.db*"):
        path.unlink()

    shell.run(aside)
    said = shell.run(restore)
    assert "garbage collection is off" in said
    assert "storage local: all objects of the backup are there" in said
    assert "0 of 7 parts failed; exit status 0" in shell.run(look)
    server.restart()
    server._tokens.clear()
    assert "catalog.restore" in shell.run(audit)
    pusher = Client.of(server, "pusher")
    assert pusher.http.get(f"/manifests/{lost.id}").status_code == 404
    for known in (kept, doomed, scene.other):
        assert pulls(pusher, known)

    good(Client.of(server, "admin").http.delete(f"/manifests/{doomed.id}"))
    age(server)
    assert "are off since a restore" in shell.run(refused)
    assert doomed.pack.segments.keys() <= objects(server, doomed.upload_id)
    said = shell.run(after_restore)
    assert re.search(rf"^local {lost.upload_id}: .* {lost.manifest['catalog_id']} 1.0 arm64$", said, re.MULTILINE)
    assert "the garbage collection is on again" in said
    assert "gc: " in shell.run(collect)
    assert objects(server, doomed.upload_id) == set()
    assert lost.pack.segments.keys() <= objects(server, lost.upload_id)
    assert pulls(pusher, kept)


def pulls(client: Client, pushed: Pushed) -> bool:
    wanted = [(segment.pack, segment.sha256) for segment in pushed.pack.locator.segments]
    urls = good(client.read_urls(pushed.id, wanted))["urls"]
    return all(client.anybody.get(made["url"]).status_code == 200 for made in urls)
