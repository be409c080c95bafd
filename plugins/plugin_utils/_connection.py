# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This plugin util is private to the collection.

"""The controller's own connection to the metadata server: options, environment, credentials."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible import constants
from ansible_collections.macfleet.parallels.plugins.module_utils._api.auth import api_key_header, bearer, login
from ansible_collections.macfleet.parallels.plugins.module_utils._api.catalog import CatalogClient
from ansible_collections.macfleet.parallels.plugins.module_utils._api.errors import Unauthenticated
from ansible_collections.macfleet.parallels.plugins.module_utils._api.http import Http
from ansible_collections.macfleet.parallels.plugins.module_utils._api.server_url import api_url
from ansible_collections.macfleet.parallels.plugins.module_utils._base.errors import CatalogError
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.boundary import register_secret
from ansible_collections.macfleet.parallels.plugins.module_utils._bridge.connections import transport
from ansible_collections.macfleet.parallels.plugins.plugin_utils._logins import login_once

PREFIX = "MACFLEET_CATALOG_"
_CA_HINT = "Set ca_path to a file with certificates in PEM form."
_CERTIFICATE = re.compile(r"^-----BEGIN CERTIFICATE-----$.*?^-----END CERTIFICATE-----$", re.DOTALL | re.MULTILINE)


class OptionError(CatalogError):
    """An option, or a combination of options, that is not valid."""

    code = "invalid_option"


@dataclass(frozen=True)
class Connection:
    """How the controller reaches the server; ``ca_certificates`` are what ``ca_path`` holds."""

    url: str
    params: t.Mapping[str, t.Any] = field(repr=False)
    ca_certificates: str | None = field(repr=False)

    def client(self) -> CatalogClient:
        """Return a client for images that says who asks."""
        return CatalogClient(self.http())

    def http(self) -> Http:
        """Return requests that say who asks; with a user name and password, after one login for the whole run."""
        send = transport(self.params, self.ca_certificates).send
        timeout_seconds = float(self.params["timeout"])
        if self.params["catalog_token"]:
            headers = bearer(self.params["catalog_token"])
        elif self.params["catalog_api_key"]:
            headers = api_key_header(self.params["catalog_api_key"])
            register_secret(headers["X-Api-Key"])
        else:
            http = Http(self.url, send, timeout_seconds=timeout_seconds)
            user, password = self.params["catalog_username"], self.params["catalog_password"]
            token = login_once(
                str(vars(constants)["DEFAULT_LOCAL_TMP"]),
                (self.url, user, password),
                lambda: login(http, user, password),
            )
            register_secret(token)
            headers = bearer(token)
        return Http(self.url, send, authorization=lambda: headers, timeout_seconds=timeout_seconds)


def connection(params: t.Mapping[str, t.Any], environment: t.Mapping[str, str] | None = None) -> Connection:
    """Complete a task's options of the connection from the controller's environment, and check them.

    :raises OptionError: something is missing, or there is too much of it
    """
    environment = os.environ if environment is None else environment
    resolved = {
        **params,
        **_credentials(params, environment),
        "ca_path": given("ca_path", params, environment),
        "catalog_url": given("catalog_url", params, environment),
    }
    if not resolved["catalog_url"]:
        raise OptionError(
            "The address of the metadata server is not known.",
            f"Set catalog_url, or {PREFIX}URL in the environment of the controller.",
        )
    if params["timeout"] < 1:
        raise OptionError(f"timeout is {params['timeout']} seconds, which is too short.", "Set timeout to 1 or more.")
    api_url(resolved["catalog_url"])
    for name in ("catalog_password", "catalog_api_key", "catalog_token"):
        if resolved[name]:
            register_secret(resolved[name])
    return Connection(resolved["catalog_url"], resolved, _read_ca(resolved["ca_path"]))


def given(name: str, params: t.Mapping[str, t.Any], environment: t.Mapping[str, str] | None = None) -> t.Any:
    """An option of the task, or else of the controller's environment."""
    environment = os.environ if environment is None else environment
    return params[name] or environment.get(PREFIX + name.replace("catalog_", "").upper()) or None


def _credentials(params: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> dict[str, str | None]:
    """One kind of credentials: what the task sets, or else the first that the environment has."""
    names = ("catalog_token", "catalog_api_key", "catalog_username")
    found = [name for name in names if params[name]]
    if len(found) > 1:
        raise OptionError(f"{' and '.join(found)} exclude each other.", "Set one of them.")
    values = {name: params[name] for name in names}
    if not found:
        values = {name: environment.get(PREFIX + name.replace("catalog_", "").upper()) for name in names}
        found = [name for name in names if values[name]]
    if not found:
        raise OptionError(
            "There are no credentials for the metadata server.",
            "Set catalog_token, catalog_api_key, or catalog_username and catalog_password, or one of "
            f"{PREFIX}TOKEN, {PREFIX}API_KEY and {PREFIX}USERNAME in the environment of the controller.",
        )
    chosen: dict[str, str | None] = dict.fromkeys((*names, "catalog_password"))
    chosen[found[0]] = values[found[0]]
    if found[0] == "catalog_username":
        chosen["catalog_password"] = params["catalog_password"] or environment.get(f"{PREFIX}PASSWORD")
        if not chosen["catalog_password"]:
            raise Unauthenticated(
                f"There is no password for the user {chosen['catalog_username']!r}.",
                f"Set catalog_password, or {PREFIX}PASSWORD in the environment of the controller.",
            )
    return chosen


def _read_ca(path: str | None) -> str | None:
    if not path:
        return None
    try:
        with open(os.path.expanduser(path), encoding="ascii", errors="ignore") as stream:
            text = stream.read()
    except OSError as error:
        raise OptionError(
            f"The certificates of ca_path {path!r} cannot be read on the controller: {error.strerror}.", _CA_HINT
        ) from error
    # Every host receives them. A private key in the same file stays here.
    certificates = _CERTIFICATE.findall(text)
    if not certificates:
        raise OptionError(f"The file of ca_path {path!r} has no certificate in PEM form.", _CA_HINT)
    return "".join(f"{certificate}\n" for certificate in certificates)
