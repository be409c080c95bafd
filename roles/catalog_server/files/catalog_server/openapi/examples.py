# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One example of each body, by the name of its schema. Tests send those of requests, and compare those of answers."""

from __future__ import annotations

import typing as t

_MANIFEST_ID = "5f2b0c6c9d6f4f2e8a1b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7081"
_DIGEST = "9a0364b9e99bb480dd25e1f0284c8555c6d2a1f0b3e4d5c6a7b8091a2b3c4d5e"
_SEGMENT = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
_PACK = "3c9d1e5f7a8b4c2d9e0f1a2b3c4d5e6f"
_UPLOAD = "7d6c5b4a39281706f5e4d3c2b1a09f8e"
_USER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
_GRANT = f"{_USER}-00112233445566778899aabbccddeeff"
_OBJECTS = "https://catalog.example.com/api/v1/objects/local/packs"

Example = dict[str, t.Any]

_JOB: Example = {
    "name": "gc",
    "description": "remove stored objects that nothing uses any more",
    "running": False,
    "requested_at": "2026-11-27T10:20:00.000Z",
    "started_at": "2026-11-27T10:20:00.150Z",
    "finished_at": "2026-11-27T10:20:01.700Z",
    "error": None,
    "result": {"segments": 3, "bytes": 1572864, "packs": 1},
    "progress": {},
}
_DOOMED: Example = {
    "id": _MANIFEST_ID,
    "version": "1.0",
    "architecture": "arm64",
    "pushed_at": "2026-10-01T08:00:00.000Z",
    "tags": [],
}
_HELD: Example = {"tagged": 1, "in_use": 0, "required": 0}
_CATALOG_ID_PLAN: Example = {
    "catalog_id": "macos-15-runner",
    "effective_at": "2026-11-28T10:00:00.000Z",
    "versions": [_DOOMED],
    "bytes": 1572864,
    "held": _HELD,
}

_MANIFEST: Example = {
    "id": _MANIFEST_ID,
    "catalog_id": "macos-15-runner",
    "version": "1.4.2",
    "architecture": "arm64",
    "type": "macvm",
    "name": "Runner.macvm",
    "description": "Xcode 16.2",
    "release_notes": "Simulators of iOS 19.",
    "labels": {"team": "mobile"},
    "tags": ["latest", "stable"],
    "required_roles": ["BUILD"],
    "required_claims": [],
    "minimum_requirements": {"cpu": 4, "memory_mb": 8192, "disk_mb": 65536},
    "requires": {},
    "parent": None,
    "superseded_by": None,
    "provenance": None,
    "format": "segmented",
    "digest": _DIGEST,
    "chunk_size": 262144,
    "chunks": 262160,
    "files": 12,
    "logical_bytes": 68719738880,
    "data_bytes": 22011707392,
    "stored_bytes": 9126805504,
    "storage": "local",
    "tainted": False,
    "tainted_by": None,
    "tainted_at": None,
    "untainted_by": None,
    "revoked": False,
    "revoked_by": None,
    "revoked_at": None,
    "download_count": 17,
    "last_downloaded_at": "2026-11-23T17:04:12.331Z",
    "last_downloaded_user": "ci",
    "created_at": "2026-11-20T09:00:00.000Z",
    "updated_at": "2026-11-20T09:00:00.000Z",
    "created_by": "builder",
}
_CATALOG_ID: Example = {
    "name": "macos-15-runner",
    "push_roles": ["TEAM_A"],
    "push_claims": [],
    "tag_roles": [],
    "tag_claims": [],
    "native_only": False,
    "immutable_tags": True,
    "retention": {"keep_versions": 10, "keep_days": 30, "expire_tags": ["nightly-*"]},
    "quota_bytes": 500000000000,
    "created_at": "2026-11-20T09:00:00.000Z",
    "created_by": "builder",
}
_NEW_USER: Example = {
    "username": "ann",
    "email": "ann@example.com",
    "name": "Ann",
    "roles": ["PUBLISHER"],
    "password": "correct horse battery staple",
}
_USER_RECORD: Example = {
    "id": _USER,
    "username": "ann",
    "email": "ann@example.com",
    "name": "Ann",
    "roles": ["PUBLISHER"],
    "claims": [],
    "disabled": False,
    "disabled_at": None,
    "has_password": True,
    "password_limited": False,
    "sessions_valid_after": None,
    "grants_valid_after": None,
    "created_at": "2026-11-20T09:00:00.000Z",
    "updated_at": "2026-11-20T09:00:00.000Z",
}
_API_KEY: Example = {
    "key": "4QX7M2KD",
    "name": "ci",
    "created_at": "2026-11-20T09:00:00.000Z",
    "expires_at": "2027-02-18T09:00:00.000Z",
    "last_used_at": None,
    "revoked_at": None,
    "limited": False,
}
_ROLE: Example = {
    "name": "AUDITOR",
    "description": "Reads the audit log",
    "internal": False,
    "claims": ["READ_AUDIT"],
}
_CLAIM: Example = {"name": "READ_AUDIT", "description": "Read the audit log", "internal": True}
_AUDIT: Example = {
    "id": 4711,
    "at": "2026-11-20T09:00:00.000Z",
    "actor_id": _USER,
    "actor": "ann",
    "credential": "token",
    "request_id": "b0a1f6f2-6f0e-4d8e-9b51-3a3d8f6c2d11",
    "action": "manifest.taint",
    "subject_kind": "manifest",
    "subject_id": _MANIFEST_ID,
    "details": {"reason": "It does not start."},
}
_CHANGED: Example = {"changed": True, "created": {"roles": [], "claims": []}}
_RENEWED: Example = {"grant": "eyJhbGciOi…", "id": _GRANT, "expires_at": 1795485042, "expires_in": 3600}
_GRANT_IN_USE: Example = {
    "id": _GRANT,
    "manifest_id": _MANIFEST_ID,
    "used_at": "2026-11-23T17:04:12.331Z",
}
_OPEN_UPLOAD: Example = {
    "id": _UPLOAD,
    "catalog_id": "macos-15-runner",
    "version": "1.5.0",
    "architecture": "arm64",
    "created_at": "2026-11-24T08:00:00.000Z",
    "expires_at": "2026-11-26T08:00:00.000Z",
}
_WANTED: Example = {"pack": _PACK, "sha256": _SEGMENT}
_NEW_SEGMENT: Example = {"sha256": _SEGMENT, "size": 33554432}
_DELTA_SHA256 = "de17a00d" * 8
_PATCHES_SHA256 = "9a7c4e5" * 9 + "9"
_WANTED_DELTA: Example = {"pack": _PACK, "sha256": _DELTA_SHA256}
_WANTED_PATCHES: Example = {"pack": _PACK, "sha256": _PATCHES_SHA256}
_NEW_PATCHES: Example = {"sha256": _PATCHES_SHA256, "size": 2831155}
_DELTA: Example = {
    "base_digest": "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014",
    "digest": _DIGEST,
    **_WANTED_DELTA,
    "size": 81920,
    "patch_bytes": 2831155,
    "chunk_bytes": 197132288,
}
_READ_URL: Example = {
    **_WANTED,
    "url": f"{_OBJECTS}/3c9d…?method=GET&expires=1795485042&for=manifest~5f2b…&signature=…",
    "headers": {},
    "expires_at": 1795485042,
    "expires_in": 900,
}
_STORE_PATCHES_URL: Example = {
    "sha256": _PATCHES_SHA256,
    "url": f"{_OBJECTS}/7d6c…?method=PUT&expires=1795486000&for=upload~7d6c…&size=2831155&signature=…",
    "headers": {},
    "expires_at": 1795486000,
    "expires_in": 900,
}
_STORE_URL: Example = {
    "sha256": _SEGMENT,
    "url": f"{_OBJECTS}/7d6c…?method=PUT&expires=1795486000&for=upload~7d6c…&size=33554432&signature=…",
    "headers": {},
    "expires_at": 1795486000,
    "expires_in": 900,
}
_STORED_SEGMENT: Example = {
    **_NEW_SEGMENT,
    "url": f"{_OBJECTS}/7d6c…?method=GET&expires=1795486000&for=upload~7d6c…&signature=…",
    "headers": {},
    "expires_at": 1795486000,
    "expires_in": 900,
}
_LIMITS: Example = {
    "page": 200,
    "json_bytes": 1048576,
    "index_bytes": 134217728,
    "upload_seconds": 172800,
    "grant_seconds": 3600,
    "grant_limit_seconds": 86400,
}

EXAMPLES: dict[str, Example] = {
    "ApiKeyRecord": _API_KEY,
    "ApiKeys": {"api_keys": [_API_KEY]},
    "AuditPage": {"entries": [_AUDIT], "next": None},
    "AuditRecord": _AUDIT,
    "BeginUpload": {
        "catalog_id": "macos-15-runner",
        "version": "1.5.0",
        "architecture": "arm64",
        "type": "macvm",
        "name": "Runner.macvm",
        "chunk_size": 262144,
        "description": "Xcode 16.3",
        "tags": ["next"],
        "required_roles": ["BUILD"],
        "bases": [_MANIFEST_ID],
    },
    "CatalogIdEdit": {
        "push_roles": ["TEAM_A"],
        "immutable_tags": True,
        "retention": {"keep_versions": 10, "keep_days": 30, "expire_tags": ["nightly-*"]},
        "quota_bytes": 500000000000,
    },
    "CatalogIdPlan": _CATALOG_ID_PLAN,
    "CatalogIdPage": {"catalog_ids": [_CATALOG_ID], "next": None},
    "CatalogIdRecord": _CATALOG_ID,
    "ClaimRecord": _CLAIM,
    "Claims": {"claims": [_CLAIM]},
    "Empty": {},
    "DeltaRecord": _DELTA,
    "DeltaRecords": {"deltas": [_DELTA], "index_bytes": 750592},
    "DoomedVersion": _DOOMED,
    "Error": {
        "message": "There is no manifest 00, or you may not see it.",
        "code": 404,
        "error": "unknown_manifest",
    },
    "FreedSpace": {"freed_bytes": 1572864, "freed_after": "2026-11-27T10:15:00.000Z"},
    "GcPlan": {
        "enabled": True,
        "segments": 3,
        "bytes": 1572864,
        "packs": 1,
        "waiting_segments": 0,
        "waiting_bytes": 0,
        "left_alone": {},
    },
    "GrantInUse": _GRANT_IN_USE,
    "HeldVersions": _HELD,
    "JobList": {"jobs": [_JOB]},
    "JobRecord": _JOB,
    "Limits": _LIMITS,
    "LoginReply": {"email": "ci@example.com", "token": "eyJhbGciOi…", "expires_at": 1795485042},
    "LoginRequest": {"email": "ci@example.com", "password": "correct horse battery staple"},
    "ManifestEdit": {
        "description": "Xcode 16.2 and 16.3",
        "tags": ["stable"],
        "minimum_requirements": {"memory_mb": 16384},
    },
    "ManifestPage": {"manifests": [_MANIFEST], "next": None},
    "ManifestRecord": _MANIFEST,
    "Me": {
        "id": _USER,
        "username": "ann",
        "roles": ["PUBLISHER"],
        "claims": ["LIST_CATALOG_MANIFEST", "PULL_CATALOG_MANIFEST", "PUSH_CATALOG_MANIFEST"],
        "credential": "token",
    },
    "MinimumRequirements": _MANIFEST["minimum_requirements"],
    "MintedGrant": {**_RENEWED, "manifests": [], "bases": []},
    "NewApiKey": {**_API_KEY, "secret": "NFFYN00yS0Q6…"},
    "NewApiKeyRequest": {"name": "ci", "expires_in": 7776000},
    "NewNames": {"roles": ["TEAM_A"], "claims": []},
    "NewObjects": {"segments": [_NEW_SEGMENT], "patches": [_NEW_PATCHES]},
    "NewPatches": _NEW_PATCHES,
    "NewSegment": _NEW_SEGMENT,
    "NewUser": _NEW_USER,
    "OpenUpload": _OPEN_UPLOAD,
    "PullGrantRequest": {
        "verb": "pull",
        "catalog_id": "macos-15-runner",
        "version": ">=1.4,<2",
        "architecture": "arm64",
    },
    "PushGrantRequest": {
        "verb": "push",
        "catalog_id": "macos-15-runner",
        "version": "1.5.0",
        "architecture": "arm64",
        "bases": ["1.4.2"],
    },
    "ReadUrl": _READ_URL,
    "ReadUrls": {"urls": [_READ_URL]},
    "Reason": {"reason": "It does not start."},
    "RenewedGrant": _RENEWED,
    "RequirementsEdit": {"memory_mb": 16384},
    "ReadyStatus": {"status": "OK", "warnings": []},
    "Resolved": {"manifests": [_MANIFEST]},
    "Retention": _CATALOG_ID["retention"],
    "RetentionEdit": {"keep_versions": 10},
    "RetentionPlan": {"catalog_ids": [_CATALOG_ID_PLAN]},
    "RoleEdit": {"description": "Reads the audit log", "claims": ["READ_AUDIT"]},
    "RoleRecord": _ROLE,
    "Roles": {"roles": [_ROLE]},
    "SavedCatalogId": {**_CATALOG_ID, "changed": True, "created": {"roles": ["TEAM_A"], "claims": []}},
    "SavedRoleRecord": {**_ROLE, "changed": True, "created": {"roles": ["AUDITOR"], "claims": []}},
    "SavedUser": {**_USER_RECORD, **_CHANGED},
    "ServerInfo": {
        "name": "catalog-server",
        "version": "1.0.0",
        "catalog_uuid": "6d2f6b7e-1c3a-4a57-9f0d-0a1b2c3d4e5f",
        "api": 1,
        "features": ["segmented", "signed", "grants", "identity"],
        "limits": _LIMITS,
    },
    "Status": {"status": "OK"},
    "StoreUrl": _STORE_URL,
    "StoreUrls": {"urls": [_STORE_URL, _STORE_PATCHES_URL]},
    "StoredSegment": _STORED_SEGMENT,
    "Transfers": {"pulls": [_GRANT_IN_USE], "uploads": [_OPEN_UPLOAD]},
    "UploadRecord": {
        "id": _UPLOAD,
        "expires_at": 1795657842,
        "storage": "local",
        "chunk_size": 262144,
        "revision": "b1946ac92492d2347c6235b4d2611184",
        "bases": [],
        "segments": [],
        "next": None,
    },
    "UserEdit": {"roles": ["PUBLISHER", "TEAM_A"], "disabled": False},
    "UserPage": {"users": [_USER_RECORD], "next": None},
    "UserRecord": _USER_RECORD,
    "WantedDelta": _WANTED_DELTA,
    "WantedObjects": {"digest": _DIGEST, "segments": [_WANTED], "deltas": [], "patches": []},
    "WantedPatches": _WANTED_PATCHES,
    "WantedSegment": _WANTED,
}
