# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A commit that shares segments, and a garbage collection, in every order of their steps, on both databases."""

from __future__ import annotations

import dataclasses
import datetime
import io
import typing as t
from collections.abc import Callable

import pytest
from catalog_server.errors import MissingSegment, UnknownSegment
from catalog_server.identity.authentication import Credentials
from catalog_server.jobs import gc
from catalog_server.jobs.runner import Run
from catalog_server.transfers import leftovers
from catalog_server.transfers.commit import run
from catalog_server.unit_of_work import RequestContext, utc_now
from invariants import assert_sound
from running import Server
from test_leases import OTHER_FILES, Delta
from test_races import collect
from transfer_client import Client, good, kept_segments

pytestmark = pytest.mark.parametrize("template", ["sqlite", "postgresql"], indirect=True, scope="session")


def collected(server: Server) -> None:
    """Collect garbage as if an hour had passed: what is condemned now is removed."""
    collect(dataclasses.replace(server.services, clock=lambda: utc_now() + datetime.timedelta(hours=1)), "steps")


def nothing(_delta: Delta) -> None:
    """The base stays as it was."""


def replaced(delta: Delta) -> None:
    delta.replace_base()


def deleted(delta: Delta) -> None:
    good(Client.of(delta.server, "admin").http.delete(f"/manifests/{delta.base.id}"))


def replaced_and_deleted(delta: Delta) -> None:
    replaced(delta)
    deleted(delta)


CHANGES = [nothing, replaced, deleted, replaced_and_deleted]


def do_behind(monkeypatch: pytest.MonkeyPatch, room: t.Any, name: str, step: Callable[[], object]) -> None:
    """Do something once, behind the first call of a function or method."""
    original = getattr(room, name)
    steps = [step]

    def patched(*arguments: t.Any, **options: t.Any) -> t.Any:
        result = original(*arguments, **options)
        while steps:
            steps.pop()()
        return result

    monkeypatch.setattr(room, name, patched)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["begin", "draft", "prepare"])
def test_a_collection_behind_each_step_of_a_commit(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: str, change: Callable[[Delta], None]
) -> None:
    delta = Delta(server)
    intrusions: list[object] = []

    def intrude() -> None:
        change(delta)
        intrusions.append(change)
        collected(server)

    if step == "begin":
        intrude()
    else:
        do_behind(monkeypatch, run, step, intrude)
    context = RequestContext(server.services, Credentials(f"Bearer {server.token('pusher')}"), None, server.url)
    revision = delta.client.revisions[delta.upload_id]

    def commit() -> object:
        return run.run(context, delta.upload_id, revision, io.BytesIO(delta.pack.index))

    if change in (nothing, replaced):
        commit()
        assert delta.kept_by(delta.pack) <= delta.kept
    else:
        # An hour within a commit: what the base had, and nothing has leased, is swept already.
        is_swept = step == "draft" and change is deleted
        with pytest.raises(MissingSegment if is_swept else UnknownSegment):
            commit()
    assert len(intrusions) == 1
    collected(server)
    assert_sound(server, delta.catalog_id)
    # What has a row has an object, and the reverse. An upload that is still open keeps what it has stored.
    for upload_id in (delta.base.upload_id, *([delta.upload_id] if change in (nothing, replaced) else [])):
        kept_segments(server, upload_id)


@pytest.mark.parametrize(
    ("room", "name"),
    [(Run, "checkpoint"), (gc, "_marked"), (leftovers, "_known"), (leftovers, "_keep"), (gc, "_tidied")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_commit_behind_each_step_of_a_collection(
    server: Server, monkeypatch: pytest.MonkeyPatch, room: t.Any, name: str
) -> None:
    delta = Delta(server)
    delta.replace_base()
    # What the collection finds: the pack of a version that is gone, and behind the commit what the base had alone.
    gone = delta.client.push(delta.catalog_id, "0.9", OTHER_FILES)
    good(Client.of(server, "admin").http.delete(f"/manifests/{gone.id}"))
    answers: list[t.Any] = []
    do_behind(monkeypatch, room, name, lambda: answers.append(delta.commit()))
    collected(server)
    monkeypatch.undo()
    (answer,) = answers
    assert good(answer)["digest"] == delta.pack.digest
    for _again in range(2):
        collected(server)
        assert_sound(server, delta.catalog_id)
    assert delta.kept == delta.kept_by(delta.pack) == kept_segments(server, delta.base.upload_id)
    assert kept_segments(server, gone.upload_id) == set()
