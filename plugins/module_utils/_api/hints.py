# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""What a user can do about an error of the metadata server, by its word."""

from __future__ import annotations

HINTS = {
    "unauthenticated": "Set catalog_token, catalog_api_key, or catalog_username and catalog_password.",
    "invalid_credentials": "Check the user name and the password, or the API key.",
    "token_expired": "Get a new catalog_token, or use catalog_api_key.",
    "grant_expired": "Run the task again; it gets a new grant and resumes where it stopped.",
    "grant_revoked": "Ask the administrator of the catalog why.",
    "grant_scope": "A grant opens one image for one transfer; run the task again to get one for this image.",
    "forbidden": "Ask the administrator of the catalog for the right to do this.",
    "unknown_manifest": "Check the spelling, and the roles and claims of the user.",
    "tainted": (
        "Choose another version, or ask for the taint to be removed. version: '*' selects the newest one that may be "
        "pulled."
    ),
    "revoked": "Choose another version. version: '*' selects the newest one that may be pulled.",
    "quota_exceeded": "Delete versions of this catalog id, or ask the administrator of the catalog for more room.",
    "replaced": "Run the task again; it pulls what is there now.",
    "catalog_id_denied": "Ask the administrator of the catalog for the right to push to this catalog id.",
    "name_taken": "Choose another name for the version or the tag.",
    "tag_immutable": "Set another tag; this catalog id does not move them.",
    "last_administrator": "Give the role SUPER_USER to another enabled user first.",
    "user_exists": "Choose another user name or mail address.",
    "internal_role": "Take the role from the users who shall not have it.",
    "catalog_id_in_use": "Delete its versions first, with catalog_manifest.",
    "implausible_clock": "Ask the administrator of the server to set its clock, or to run catalog-server clock accept.",
    "gc_disabled": "Ask the administrator of the server to run catalog-server gc --after-restore.",
    "request_timeout": "Check the network, and run the task again.",
    "head_too_large": "Use a shorter token.",
    "range_not_satisfiable": "Run the task again. If it fails again, ask the administrator to look at this version.",
    "version_exists": "Push it as another version, or set force.",
    "missing_segment": "Run the push again; it stores what is missing.",
    "shared_segments": "Leave its roles and claims as they are, or push the image whole as another version.",
    "invalid_index": "Run the push again. If it fails again, see the log of the server.",
    "unknown_segment": "Run the task again. If it fails again, ask the administrator to look at this version.",
    "unknown_upload": "Run the push again; it begins a new upload.",
    "bad_request": "Check the options of the task, and that the collection and the server have the same version.",
    "not_found": "Check the spelling and catalog_url, and that the server is not older than the collection.",
    "method_not_allowed": "Check that the server is not older than the collection.",
    "upload_changed": "Wait until the other push of this version has ended, then run this one again.",
    "upload_closed": "Run the push again.",
    "upload_expired": "Run the push again; it starts from the beginning.",
    "base_unusable": "Run the push again; it chooses another base.",
    "locked_out": "Wait a while before the next attempt.",
    "too_many_receivers": "Push fewer images at the same time as this user, or have CATALOG_RECEIVERS_EACH raised.",
    "being_received": "Wait until the other connection has ended, then run the task again.",
    "insufficient_storage": "Ask the administrator of the catalog to make room on the volumes of the server.",
    "internal_error": "See the log of the server.",
    "unavailable": "Check whether the server is being restarted, and see its log.",
    "tls_failure": "Check ca_path, validate_certs, and client_cert.",
    "stock_server": (
        "Set catalog_url to a metadata server of this collection, which the role catalog_server deploys. A stock "
        "server has no grants, signed transfers or segmented packs, and works with its own clients alone."
    ),
    "invalid_url": "Set catalog_url to something like https://catalog.example.com.",
    "payload_too_large": (
        "Either the index of the image is longer than the server takes (see index_bytes of its settings), or a proxy "
        "in front of the server refuses bodies of this size: for nginx, raise client_max_body_size."
    ),
    "unreachable": "Check catalog_url, the network, and that the server runs.",
    "bad_reply": "Check that catalog_url is the catalog's own, and not that of a proxy or of another service.",
}
