# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only a Mac can prove: the calls of macOS that this collection makes, and one push and one pull.

    /Library/Developer/CommandLineTools/usr/bin/python3 tests/mac/smoke.py [--directory DIR] [--json FILE]

It needs the standard library alone, and writes into a directory of its own below DIR, which it removes. With
``--server-venv PATH``, a virtual environment with the packages of the server and with ansible-core, it starts a
metadata server, pushes to it and pulls from it. With ``--catalog-url``, and MACFLEET_CATALOG_API_KEY in the
environment, it uses that server. It prints a table and JSON. The exit status is 0 if nothing failed. Other systems
check what they have.
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import errno
import fcntl
import functools
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import typing as t
import unicodedata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
SECONDS = 600


def find_collections() -> str:
    """Returns a directory in which Ansible and Python find this checkout as a collection."""
    if CHECKOUT.parts[-3:] == ("ansible_collections", "macfleet", "parallels"):
        return str(CHECKOUT.parents[2])
    directory = tempfile.mkdtemp(prefix="macfleet-collections-")
    atexit.register(shutil.rmtree, directory, True)
    os.makedirs(os.path.join(directory, "ansible_collections/macfleet"))
    os.symlink(CHECKOUT, os.path.join(directory, "ansible_collections/macfleet/parallels"))
    return directory


COLLECTIONS = find_collections()
sys.path.insert(0, COLLECTIONS)

from ansible_collections.macfleet.parallels.plugins.module_utils._base import files
from ansible_collections.macfleet.parallels.plugins.module_utils._base.trees import walk
from ansible_collections.macfleet.parallels.plugins.module_utils._host import (
    clone,
    file_clone,
    power,
    requirements,
    sharing,
    trees,
    volumes,
)
from ansible_collections.macfleet.parallels.tests.support import bundles
from ansible_collections.macfleet.parallels.tests.support.server_process import ServerProcess


class Skipped(Exception):
    """Why a check does not apply here."""


def write(path: Path, size: int, offset: int = 0) -> Path:
    """Write noise to a file, and have it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    files.write_all(descriptor, os.urandom(size), offset)
    os.fsync(descriptor)
    os.close(descriptor)
    return path


def need(is_true: bool, found: t.Any) -> None:
    """Fail with what was found, also under python -O."""
    if not is_true:
        raise AssertionError(f"found {found}")


def check_volume(place: Path) -> str:
    """The file system, the free space, and the flags."""
    volume = volumes.volume_of(str(place))
    need(abs(volume.free_bytes - shutil.disk_usage(place).free) < 10 << 30, volume)
    need(volumes.unsuitable(volume) is None and os.path.ismount(volume.mount_point), volume)
    return str(volume)


def check_clone(place: Path) -> str:
    """A clone has the content of its original and shares its blocks, until it is written to."""
    source, copy = write(place / "source", 8 * MIB), place / "copy"
    method = file_clone.clone_file(str(source), str(copy), 0o600)
    need(copy.read_bytes() == source.read_bytes() and copy.stat().st_mode & 0o777 == 0o600, method)
    need((method != file_clone.COPY) == volumes.has_clones(str(place)), method)
    fresh = sharing.exclusive_bytes(str(copy))
    written = sharing.exclusive_bytes(str(write(copy, MIB)))
    need(
        method == file_clone.COPY
        or fresh is None
        or (fresh < MIB and written is not None and MIB <= written < 2 * MIB),
        (fresh, written),
    )
    return f"{method}; exclusive bytes: {fresh}, after 1 MiB was written {written}"


def check_locked(place: Path) -> str:
    """A locked file is cloned to one that is not, and a locked or guarded tree can be removed."""
    if sys.platform != "darwin":
        raise Skipped("files are locked on macOS only")
    tree, copy = place / "tree", place / "clone"
    tree.mkdir()
    subprocess.run(["chmod", "+a", "everyone deny delete", write(tree / "guarded", 1)], check=True)
    os.chflags(write(tree / "locked", 1), 0x2)
    result = clone.clone_tree(str(tree), str(copy))
    write(copy / "locked", 2)
    left = [*trees.remove(str(copy)), *trees.remove(str(tree))]
    need(not left, left)
    return str(result)


def check_holes(place: Path) -> str:
    """A range that is zeroed takes no room."""
    path = write(place / "holes", 8 * MIB)
    with path.open("r+b") as stream:
        files.zero_range(stream.fileno(), MIB + 5, 6 * MIB)
        os.fsync(stream.fileno())
    data, allocated = path.read_bytes(), files.allocated_bytes(path.stat())
    need(len(data) == 8 * MIB and data[MIB + 5 : 7 * MIB + 5] == bytes(6 * MIB) and allocated < 3 * MIB, allocated)
    return f"{allocated} bytes allocated of {len(data)}"


def check_flush(place: Path) -> str:
    """A directory and its volume can be flushed."""
    begun = time.monotonic()
    files.write_file_durably(str(place / "durable"), b"content")
    files.flush_volume(str(place))
    took = time.monotonic() - begun
    if sys.platform != "darwin":
        return f"syncfs, {took:.3f} s"
    descriptor = os.open(place, os.O_RDONLY)
    fcntl.fcntl(descriptor, files._DARWIN_F_FULLFSYNC)
    os.close(descriptor)
    return f"F_FULLFSYNC of a directory, {took:.3f} s"


def check_hardware(place: Path) -> str:
    """Architecture, processors and memory."""
    found = requirements.read_resources(str(place))
    need(found.cpu > 0 and found.memory_mb > 500, found)
    return f"{requirements.hardware_architecture()}, {found}"


def check_locks(place: Path) -> str:
    """Flock excludes, on a file and on a directory."""
    for path in (write(place / "lock", 1), place):
        one, other = os.open(path, os.O_RDONLY), os.open(path, os.O_RDONLY)
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
            need(False, f"two locks of {path}")
        except OSError as error:
            need(error.errno == errno.EWOULDBLOCK, error)
        os.close(one)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
    return "on a file and on a directory"


def check_descriptors(_place: Path) -> str:
    """The limit of open files can be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10240 if hard == resource.RLIM_INFINITY else min(hard, 10240)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return f"{soft}, could be {wanted}"


def check_names(place: Path) -> str:
    """A decomposed name is walked as its composed form, and on macOS found by it."""
    names = place / "names"
    names.mkdir()
    nfc, nfd = (unicodedata.normalize(form, "Müller 가") for form in ("NFC", "NFD"))
    (names / nfd).touch()
    (found,) = walk(str(names))
    is_one = (names / nfc).exists()
    need(found.path == nfc and (is_one or sys.platform != "darwin"), found)
    return f"kept as {'NFD' if found.disk_path == nfd else 'NFC'}, {'' if is_one else 'not '}found by NFC"


def check_power(_place: Path) -> str:
    """The Mac is kept awake while a block runs."""
    if sys.platform != "darwin":
        raise Skipped("caffeinate(8) is a program of macOS")
    with power.awake(power.caffeinate()):
        time.sleep(1)
        listed = subprocess.run(["pmset", "-g", "assertions"], stdout=subprocess.PIPE, text=True, check=True).stdout
    need("caffeinate" in listed, listed)
    return "pmset lists caffeinate"


CHECKS: tuple[t.Callable[[Path], str], ...] = (
    check_volume,
    check_clone,
    check_locked,
    check_holes,
    check_flush,
    check_hardware,
    check_locks,
    check_descriptors,
    check_names,
    check_power,
)


def transfer(place: Path, url: t.Optional[str], server_venv: t.Optional[Path]) -> str:
    """A bundle is pushed and pulled by the modules in a real play."""
    program = str(server_venv / "bin/ansible-playbook") if server_venv else shutil.which("ansible-playbook")
    if program is None or not (url or server_venv):
        raise Skipped("no --server-venv, and no --catalog-url with ansible-playbook in the PATH")
    if server_venv is None:
        return play(place, program, {"MACFLEET_CATALOG_URL": str(url)})
    path = os.pathsep.join((str(CHECKOUT / "roles/catalog_server/files"), COLLECTIONS))
    with ServerProcess(place / "server", str(server_venv / "bin/python"), {"PYTHONPATH": path}) as server:
        return play(place, program, {"MACFLEET_CATALOG_URL": server.url, "MACFLEET_CATALOG_TOKEN": server.token()})


def play(place: Path, program: str, environment: t.Mapping[str, str]) -> str:
    """Push a bundle, and pull it twice into a cache. Returns what was seen."""
    bundle = bundles.make_bundle(str(place), os.urandom(20 * MIB), "Smoke", bundles.MACVM, bundles.PLAIN)
    address = {"catalog_id": f"smoke-{os.getpid()}", "version": "1.0.0"}
    (place / "cache").mkdir(0o700)
    pull = {"macfleet.parallels.catalog_pull": {**address, "state": "cached", "cache_path": str(place / "cache")}}
    again = {"ansible.builtin.assert": {"that": "second is not changed and first is changed"}}
    tasks = [
        {"macfleet.parallels.catalog_push": {**address, "path": bundle}},
        {**pull, "register": "first"},
        {**pull, "register": "second"},
        again,
    ]
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    written = [{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]
    (place / "play.yml").write_text(json.dumps(written), encoding="utf-8")
    done = subprocess.run(
        [program, "-i", "localhost,", str(place / "play.yml")],
        env={**os.environ, **environment, "ANSIBLE_COLLECTIONS_PATH": COLLECTIONS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        timeout=SECONDS,
    )
    need(done.returncode == 0, done.stdout)
    image = os.path.relpath(bundles.image_path(bundle), bundle)
    (pulled,) = (place / "cache").rglob(image)
    need(pulled.read_bytes() == Path(bundle, image).read_bytes(), pulled)
    return "the pulled image is the pushed one; nothing changed the second time"


def run(name: str, check: t.Callable[[], str]) -> dict[str, str]:
    """Run one check. Returns its row."""
    try:
        return {"check": name, "result": "ok", "note": check()}
    except Skipped as reason:
        return {"check": name, "result": "skipped", "note": str(reason)}
    except Exception:
        return {"check": name, "result": "FAILED", "note": traceback.format_exc()}


def system() -> dict[str, str]:
    """Date, system and interpreter."""
    build = platform.version()
    if sys.platform == "darwin":
        build = subprocess.run(["sw_vers", "-buildVersion"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "system": f"{platform.system()} {platform.mac_ver()[0] or platform.release()}",
        "build": build.strip(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to write; its volume is what is examined")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--catalog-url")
    parser.add_argument("--server-venv", type=Path)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="macfleet-smoke-", dir=arguments.directory)).resolve()
    try:
        rows = [run(check.__name__[len("check_") :], functools.partial(check, place)) for check in CHECKS]
        rows.append(run("transfer", lambda: transfer(place, arguments.catalog_url, arguments.server_venv)))
    finally:
        trees.remove(str(place))
    result = {**system(), "checks": rows}
    for row in rows:
        print(f"{row['check']:12} {row['result']:8} {row['note']}")
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return int(any(row["result"] == "FAILED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
