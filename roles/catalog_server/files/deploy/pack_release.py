# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On the controller: what the server consists of, as a digest and as one archive.

A release is the server's package, the rooms of the collection that it shares with the modules, and the programs that
start it. The same files give the same digest and the same archive.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

SHARED = "ansible_collections/macfleet/parallels/plugins/module_utils"
SHARED_ROOMS = ("_api", "_base", "_pack", "_storage")
PROGRAMS = ("background.py", "launch.py", "log_lines.py")


def files_below(directory: Path, prefix: str) -> dict[str, Path]:
    return {
        f"{prefix}/{path.relative_to(directory).as_posix()}": path
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def release_files(role_files: Path, module_utils: Path) -> dict[str, Path]:
    """Every file of a release by its name in it."""
    files = files_below(role_files / "catalog_server", "catalog_server")
    for room in SHARED_ROOMS:
        files |= files_below(module_utils / room, f"{SHARED}/{room}")
    files |= {name: role_files / "deploy" / name for name in PROGRAMS}
    return dict(sorted(files.items()))


def digest_of(files: dict[str, Path]) -> str:
    state = hashlib.sha256()
    for name, path in files.items():
        state.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return state.hexdigest()


def write_archive(files: dict[str, Path], target: Path) -> None:
    with (
        target.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, path in files.items():
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(content))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role-files", type=Path, required=True)
    parser.add_argument("--module-utils", type=Path, required=True)
    parser.add_argument("--archive", action="store_true", help="write the archive; its path is on the second line")
    options = parser.parse_args()
    files = release_files(options.role_files, options.module_utils)
    print(digest_of(files))
    if options.archive:
        descriptor, path = tempfile.mkstemp(".tar.gz")
        os.close(descriptor)
        print(path, flush=True)
        write_archive(files, Path(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
