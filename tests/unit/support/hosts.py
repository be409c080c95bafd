# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Mac whose modules are run in this process: a real cache, a simulated Parallels Desktop, a recorded catalog."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._base.progress import Progress
from ansible_collections.macfleet.parallels.plugins.module_utils._base.transport import Request
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.progress_file import CANCEL_SUFFIX
from ansible_collections.macfleet.parallels.plugins.modules import catalog_pull
from ansible_collections.macfleet.parallels.tests.simulators.prlctl.control import Simulated, install
from ansible_collections.macfleet.parallels.tests.unit.support import modules
from ansible_collections.macfleet.parallels.tests.unit.support.images import Image
from ansible_collections.macfleet.parallels.tests.unit.support.recording import ANY, BASE_URL, Recording
from ansible_collections.macfleet.parallels.tests.unit.support.storage import StorageServer

GRANT = "gr4nt-of-the-host"
NEXT_GRANT = "n3xt-grant-of-the-host"
# In the query of every signed URL.
SIGNATURE = "s1gnature"
LIFETIME_SECONDS = 3600

Result = t.Dict[str, t.Any]


class Host:
    """Directories of one user of a Mac, and the servers that this Mac can reach.

    Whatever a module returns is searched for secrets. What was recorded must have been asked when it returns, and in
    check mode nothing on the disk may have changed by then.
    """

    def __init__(self, directory: Path, catalog: Recording, storage: StorageServer) -> None:
        self.catalog = catalog
        self.storage = storage
        self.home = directory / "home"
        self.programs = directory / "bin"
        self.disk = directory / "disk"
        self.cache = self.disk / "cache"
        self.vms = self.disk / "vms"
        self.facts = self.disk / "facts"
        self.simulated = Simulated(self.home)
        self._signed = 0
        for path in (self.home, self.programs, self.vms, self.facts / getpass.getuser()):
            path.mkdir(parents=True)

    # Modules

    def run(self, main: t.Callable[[], None], options: t.Mapping[str, t.Any], *, check_mode: bool = False) -> Result:
        """What a module returns."""
        before = self._stamps()
        with modules.arguments(dict(options), check_mode=check_mode, diff=True), modules.outcome() as result:
            main()
        self.catalog.finished(result.get("msg"))
        for secret in (GRANT, NEXT_GRANT, SIGNATURE):
            assert secret not in json.dumps(result)
        if check_mode:
            assert self._stamps() == before
        return dict(result)

    def pull(self, image: t.Optional[Image] = None, *, check_mode: bool = False, **options: t.Any) -> Result:
        """What catalog_pull returns, with ``image`` as what the version means."""
        given = {
            "handover": handover([image] if image else []),
            **self.cache_options(),
            "use_proxy": False,
            "catalog_id": "macos-15",
            "architecture": "arm64",
            "path": str(self.vms),
            "state": "cached",
            **options,
        }
        return self.run(catalog_pull.main, given, check_mode=check_mode)

    def cache_options(self) -> dict[str, t.Any]:
        """Options of every module that has to do with the cache."""
        return {"cache_path": str(self.cache), "facts_directory": str(self.facts)}

    def _stamps(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for path in sorted(self.disk.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    # Parallels Desktop

    def install_parallels(self) -> None:
        """Put prlctl into the PATH of this host."""
        install(self.programs, sys.executable)

    def prlctl(self, *words: str) -> None:
        """What the user does by hand."""
        subprocess.run([str(self.programs / "prlctl"), *words], check=True, capture_output=True)

    def machines(self) -> dict[str, str]:
        """State of each registered VM, by the name of its bundle."""
        found = self.simulated.machines().values()
        return {os.path.basename(machine["home"]): machine["state"] for machine in found}

    def asked_of_parallels(self) -> list[str]:
        """The commands that change something, so far."""
        return [call[1] for call in self.simulated.calls() if call[1] not in {"list", "info"}]

    # The catalog

    def expect(self, method: str, path: str, token: str = GRANT, **answer: t.Any) -> None:
        """Record a request that comes with the grant."""
        self.catalog.expect(method, path, headers={"Authorization": f"Bearer {token}"}, **answer)

    def expect_index(self, image: Image) -> None:
        """Record what reads the index of a version. A host that has others asks for deltas, and there are none."""
        bundles = self.cache / "bundles"
        if bundles.is_dir() and set(os.listdir(bundles)) - {image.digest}:
            size = len(image.index.listing_file) + len(image.index.locator_file or b"")
            self.expect("GET", f"manifests/{image.id}/deltas", reply={"deltas": [], "index_bytes": size})
        self.catalog.expect_bytes(f"manifests/{image.id}/listing", image.index.listing_file)
        self.catalog.expect_bytes(f"manifests/{image.id}/locator", image.index.locator_file)

    def expect_urls(self, image: Image) -> None:
        """Record a request for URLs of segments."""
        self.expect("POST", f"manifests/{image.id}/urls", body=ANY, reply=self.urls)

    def expect_pull(self, image: Image) -> None:
        """Record all that a pull with a transfer asks, and hold its segments ready."""
        self.storage.objects.update(image.objects)
        self.expect_index(image)
        self.expect_urls(image)

    def urls(self, request: Request, pack: str = "") -> dict[str, t.Any]:
        """Signed URLs of the segments in the body of a request; those of an upload are stored as ``pack``."""
        wanted = json.loads(request.body or b"")["segments"]
        return {
            "urls": [
                {**item, "url": self.url(item.get("pack", pack), item["sha256"]), "expires_in": LIFETIME_SECONDS}
                for item in wanted
            ]
        }

    def url(self, pack: str, name: str) -> str:
        """A signed URL of one segment, another one each time."""
        self._signed += 1
        return self.storage.url(f"{pack}/{name}", f"signature={SIGNATURE}{self._signed}").url

    def used_urls(self) -> list[str]:
        """The URLs, without their host, that the storage saw so far."""
        return [path for _method, path, _headers in self.storage.seen]

    def transferred(self, method: str) -> list[str]:
        """Paths of the storage's requests with that method so far, without their queries."""
        return [path.partition("?")[0] for verb, path, _headers in self.storage.seen if verb == method]


def handover(images: t.Sequence[Image] = (), bases: t.Sequence[Image] = (), **fields: t.Any) -> dict[str, t.Any]:
    """What the action plugin hands over for these versions."""
    return {
        "url": BASE_URL,
        "grant": GRANT,
        "lifetime_seconds": float(LIFETIME_SECONDS),
        "manifests": [image.manifest for image in images],
        "bases": [image.manifest for image in bases],
        **fields,
    }


def cancel_when(phase: str, progress: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever watches the progress in this file end the transfer as soon as a phase of it begins."""
    start = Progress.start

    def begin(counters: Progress, name: str, total_bytes: int) -> None:
        if name == phase:
            Path(f"{progress}{CANCEL_SUFFIX}").touch()
            start(counters, name, total_bytes)
            # The reporter notices within a second.
            counters.sleep(10)
            return
        start(counters, name, total_bytes)

    monkeypatch.setattr(Progress, "start", begin)
