# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Groups of options that modules share; each has its documentation in the fragment that its function names."""

from __future__ import annotations

import typing as t

Spec = t.Dict[str, t.Dict[str, t.Any]]
Params = t.Mapping[str, t.Any]

# What never leaves the controller.
CREDENTIALS = ("catalog_username", "catalog_password", "catalog_api_key", "catalog_token")


def connection_spec() -> Spec:
    """How to reach the metadata server: fragment ``_catalog``."""
    return {
        "catalog_url": {"type": "str"},
        "catalog_username": {"type": "str"},
        "catalog_password": {"type": "str", "no_log": True},
        "catalog_api_key": {"type": "str", "no_log": True},
        "catalog_token": {"type": "str", "no_log": True},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
        "timeout": {"type": "int", "default": 30},
        "use_proxy": {"type": "bool", "default": True},
    }


def transfer_spec() -> Spec:
    """How bytes are moved: fragment ``_catalog.transfer``."""
    return {"connections": {"type": "int"}}


def handover_spec() -> Spec:
    """What the action plugin gives to the managed host: fragment ``_catalog.handover``."""
    options: Spec = {
        "url": {"type": "str"},
        "grant": {"type": "str", "no_log": True},
        "lifetime_seconds": {"type": "float"},
        "manifests": {"type": "list", "elements": "dict"},
        "bases": {"type": "list", "elements": "dict"},
        "blocked": {"type": "str", "choices": ["tainted", "revoked"]},
        "blocked_message": {"type": "str"},
        "ca_certificates": {"type": "str"},
        "progress_path": {"type": "path"},
    }
    return {"handover": {"type": "dict", "options": options}}


def cache_spec() -> Spec:
    """Where a managed host keeps its images: fragment ``_cache``."""
    return {
        "cache_path": {"type": "path", "default": "~/Library/Application Support/macfleet.parallels"},
        "facts_directory": {"type": "path", "default": "/var/db/macfleet.parallels/facts"},
        "lock_timeout": {"type": "int", "default": 3600},
        "prlctl_path": {"type": "path"},
    }


def manifest_spec() -> Spec:
    """The options of ``catalog_manifest``."""
    return {
        "catalog_id": {"type": "str", "required": True},
        "version": {"type": "str", "required": True},
        "architecture": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "description": {"type": "str"},
        "tags": {"type": "list", "elements": "str"},
        "required_roles": {"type": "list", "elements": "str"},
        "required_claims": {"type": "list", "elements": "str"},
        "minimum_requirements": {
            "type": "dict",
            "options": {"cpu": {"type": "int"}, "memory_mb": {"type": "int"}, "disk_mb": {"type": "int"}},
        },
        "tainted": {"type": "bool"},
        "revoked": {"type": "bool"},
    }


def info_spec() -> Spec:
    """The options of ``catalog_manifest_info``."""
    return {
        "catalog_id": {"type": "str"},
        "version": {"type": "str"},
        "architecture": {"type": "str"},
        "tag": {"type": "str"},
        "type": {"type": "str", "choices": ["pvm", "macvm"]},
        "tainted": {"type": "bool"},
        "revoked": {"type": "bool"},
        "query": {"type": "str"},
    }


def _state_spec() -> Spec:
    return {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}


def user_spec() -> Spec:
    """The options of ``catalog_user``."""
    return {
        "username": {"type": "str", "required": True},
        **_state_spec(),
        "email": {"type": "str"},
        "name": {"type": "str"},
        "roles": {"type": "list", "elements": "str"},
        "claims": {"type": "list", "elements": "str"},
        "disabled": {"type": "bool"},
        "password": {"type": "str", "no_log": True},
        "update_password": {
            "type": "str",
            "choices": ["on_create", "always"],
            "default": "on_create",
            "no_log": False,
        },
    }


def role_spec() -> Spec:
    """The options of ``catalog_role``."""
    return {
        "name": {"type": "str", "required": True},
        **_state_spec(),
        "description": {"type": "str"},
        "claims": {"type": "list", "elements": "str"},
    }


def api_key_spec() -> Spec:
    """The options of ``catalog_api_key``."""
    return {
        "username": {"type": "str", "required": True},
        "name": {"type": "str", "required": True},
        **_state_spec(),
        "expires_days": {"type": "float"},
        "never_expires": {"type": "bool", "default": False},
    }


def catalog_id_spec() -> Spec:
    """The options of ``catalog_id``."""
    rights: Spec = {
        name: {"type": "list", "elements": "str"} for name in ("push_roles", "push_claims", "tag_roles", "tag_claims")
    }
    return {
        "catalog_id": {"type": "str", "required": True},
        **_state_spec(),
        **rights,
        "native_only": {"type": "bool"},
        "immutable_tags": {"type": "bool"},
        "retention": {
            "type": "dict",
            "options": {
                "keep_versions": {"type": "int"},
                "keep_days": {"type": "int"},
                "expire_tags": {"type": "list", "elements": "str"},
            },
        },
        "quota_bytes": {"type": "int"},
    }


def server_info_spec() -> Spec:
    """The options of ``catalog_server_info``."""
    choices = ["users", "roles", "claims", "catalog_ids"]
    return {"gather": {"type": "list", "elements": "str", "choices": choices, "default": []}}
