# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""An API key as desired state: one of that name can be used, or none can. Runs on the controller."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.macfleet.parallels.plugins.module_utils._api.api_keys import ApiKey, ApiKeyClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.saved import Json

_SECONDS_PER_DAY = 86400


def good_keys(keys: t.Iterable[ApiKey], name: str, now: float) -> t.List[ApiKey]:
    """Return the keys of a name that somebody can act by, the newest first."""
    found = [key for key in keys if key.name == name and key.is_good(now)]
    return sorted(found, key=lambda key: (key.created_at or "", key.key), reverse=True)


def ensure(
    client: ApiKeyClient,
    options: t.Mapping[str, t.Any],
    *,
    check_mode: bool,
    diff: bool,
    now: t.Optional[float] = None,
) -> Json:
    """Return the result of ``catalog_api_key``; the secret is there only when the key was made just now."""
    username, name = options["username"].strip().lower(), options["name"].strip()
    good = good_keys(client.of_user(username), name, time.time() if now is None else now)
    is_wanted = options["state"] == "present"
    found: Json = {"changed": is_wanted is not bool(good), "api_key": good[0].to_json() if good and is_wanted else None}
    if diff:
        found["diff"] = [_diff(f"{username} {name}", good, is_wanted)] if found["changed"] else []
    if check_mode or not found["changed"]:
        return found
    if not is_wanted:
        for key in good:
            client.revoke(key.key)
        return found
    made = client.add(username, name, _expires_in(options))
    return {**found, "api_key": made.api_key.to_json(), "secret": made.secret}


def _expires_in(options: t.Mapping[str, t.Any]) -> t.Optional[int]:
    days = options["expires_days"]
    return None if days is None else int(days * _SECONDS_PER_DAY)


def _diff(what: str, good: t.Sequence[ApiKey], is_wanted: bool) -> Json:
    header = f"API key {what}"
    keys = [key.key for key in good]
    after: t.Union[str, t.List[str]] = "a new key" if is_wanted else []
    return {"before_header": header, "after_header": header, "before": {"keys": keys}, "after": {"keys": after}}
