# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""The sentences that tell what a task does, has done, or in check mode would do. Results and failures share them."""

from __future__ import annotations


def download(size: int, image: str, cache_path: str) -> str:
    return f"Download {size} bytes of {image} into {cache_path}."


def repair(image: str, cache_path: str) -> str:
    return f"Repair {image} in {cache_path} without a download."


def begin_repair(image: str, cache_path: str) -> str:
    return f"Begin to repair {image} in {cache_path}."


def discard_partial(image: str, cache_path: str) -> str:
    return f"Remove what an interrupted pull of {image} left in {cache_path}."


def withdraw(image: str, cache_path: str) -> str:
    return f"Take the damaged content of {image} out of use in {cache_path}."


def remove_entry(digest: str) -> str:
    return f"Remove {digest} from the cache."


def forget(digest: str, catalog_id: str) -> str:
    return f"Forget that {digest} in the cache is {catalog_id}; other images have the same content."


def make_vm(name: str, home: str) -> str:
    return f"Make the virtual machine {name} in {home}."


def adopt_vm(name: str) -> str:
    return f"Adopt the virtual machine {name}, which an interrupted task has made."


def start_vm(name: str) -> str:
    return f"Start the virtual machine {name}."


def hide_window(name: str) -> str:
    return f"Set the virtual machine {name} to run without a window."


def resume_to_stop(name: str) -> str:
    return f"Resume the virtual machine {name} to stop it."


def stop_vm(name: str) -> str:
    return f"Stop the virtual machine {name}."


def begin_to_make(name: str, home: str) -> str:
    return f"Begin to make the virtual machine {name} in {home}; what was made could not be removed."


def clear_remains(name: str, home: str) -> str:
    return f"Remove what an interrupted task left of the virtual machine {name} in {home}."


def begin_to_clear(name: str, home: str) -> str:
    return f"Begin to remove what an interrupted task left of the virtual machine {name} in {home}."


def begin_to_delete(name: str) -> str:
    return f"Begin to delete the virtual machine {name}."


def delete_vm(name: str, left_bundle: str = "") -> str:
    if left_bundle:
        return f"Unregister the virtual machine {name}; the bundle {left_bundle} stays."
    return f"Delete the virtual machine {name}."
