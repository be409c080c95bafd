# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's settings: what there are, what they mean, and which values they take.

Where they come from is in ``settings_sources.py``, and how workers share what they limit in ``shares.py``.
"""

from __future__ import annotations

import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from catalog_server.networks import Network, parsed_networks

MIN_SECRET_LENGTH = 32
# SQLAlchemy names the driver in it.
POSTGRESQL_URL = "postgresql+psycopg://"

# The longest that a signed URL may live, and so how long what it opens must stay.
LONGEST_URL_SECONDS = 900

Seconds = t.Annotated[int, Field(ge=1, le=366 * 86400)]


class SettingsError(Exception):
    """Settings that cannot be used; the message names each, and never shows a value."""


class Settings(BaseModel):
    """What an administrator decides."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8470, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        None, description="How clients reach the server; without it, signed URLs follow the Host header of a request."
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses of the proxies whose X-Forwarded headers are trusted, separated by commas."
    )
    tls_certificate: Path | None = Field(
        None,
        description="Certificate chain (PEM), if the server itself serves TLS. It and its key are read again when they "
        "are replaced.",
    )
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")

    data_dir: Path = Field(
        Path("/var/lib/catalog-server"), description="Directory for everything that has no setting of its own."
    )
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the database, sqlite:/// or postgresql://; SQLite in the data directory if not "
        "set.",
    )
    spool_dir: Path | None = Field(
        None,
        description="Directory for the bodies of commits while they arrive; `spool` in the data directory if not set.",
    )
    storage_root: Path | None = Field(
        None, description="Directory of the embedded storage; `storage` in the data directory if not set."
    )
    storage_name: str = Field(
        "local", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name of the embedded storage."
    )
    storage_prefix: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$",
        description="Folder in the embedded storage that holds all keys.",
    )
    min_free_bytes: int = Field(
        64 << 20,
        ge=0,
        description="Free bytes that every volume keeps: the server takes no object and no index that would leave "
        "less, and says that it is not ready when a storage has less.",
    )
    database_free_bytes: int = Field(
        256 << 20, ge=0, description="The same for the volume of an SQLite database, if that is more."
    )
    receivers: t.Annotated[int, Field(ge=1, le=10_000)] = Field(
        128, description="Objects and indexes of commits that are received at the same time; more are refused."
    )
    receivers_each: t.Annotated[int, Field(ge=1, le=10_000)] = Field(32, description="Of these, those of one user.")
    receive_bytes: int = Field(
        16 << 30, ge=1 << 20, description="Bytes that these objects and indexes may announce altogether."
    )

    server_secret: SecretStr | None = Field(
        None,
        description="Secret that signs tokens, grants and URLs, at least 32 characters, the same for all replicas; "
        "made and kept in the data directory if not set.",
    )
    server_secret_file: Path | None = Field(
        None,
        description="File of such secrets, one a line: the first signs, and what any of them has signed is good.",
    )

    token_seconds: Seconds = Field(900, description="Life of a login token.")
    grant_seconds: Seconds = Field(3600, description="Life of a grant, and of each renewal of it.")
    grant_limit_seconds: Seconds = Field(86400, description="Age after which a grant is no longer renewed.")
    upload_seconds: Seconds = Field(48 * 3600, description="Life of an upload that is not committed.")
    get_url_seconds: t.Annotated[int, Field(ge=1, le=LONGEST_URL_SECONDS)] = Field(
        900, description="Life of a signed URL that reads an object."
    )
    put_url_seconds: t.Annotated[int, Field(ge=1, le=LONGEST_URL_SECONDS)] = Field(
        900, description="Life of a signed URL that stores an object."
    )
    login_attempts: t.Annotated[int, Field(ge=1, le=1000)] = Field(
        10,
        description="Number of wrong passwords in a row after which a user name is locked out for the network that "
        "they came from.",
    )
    lockout_seconds: Seconds = Field(
        300, description="How long a user is locked out, and how long a wrong password is remembered."
    )

    login_burst: t.Annotated[int, Field(ge=1, le=100_000)] = Field(
        100, description="Logins that one address may try at once; those that succeed do not count."
    )
    logins_per_minute: t.Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        60, description="Logins that one address may try in a minute after that."
    )

    max_connections: t.Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None,
        description="Connections at a time; if not set, as many as the limit of open files allows, with one file for "
        "each.",
    )
    max_connections_each: t.Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None,
        description="Of these, those of one address, with IPv6 of one /64 network; not of the trusted proxies. A "
        "quarter if not set.",
    )
    head_seconds: t.Annotated[float, Field(gt=0, le=3600)] = Field(
        20, description="How long a connection may take to send the head of a request."
    )
    body_seconds: t.Annotated[float, Field(gt=0, le=3600)] = Field(
        30, description="Time in which a body must bring at least 16 KiB more."
    )
    answer_seconds: t.Annotated[float, Field(gt=0, le=3600)] = Field(
        120, description="Time in which a client must take what is ready to be sent, 64 KiB at most."
    )
    max_json_bytes: int = Field(1 << 20, ge=1024, description="Maximum size of a JSON request.")
    max_index_bytes: int = Field(
        128 << 20, ge=1024, description="Maximum size of the index in a commit; 100 GiB of data make about 18 MB."
    )
    commits_at_once: t.Annotated[int, Field(ge=1, le=200)] = Field(
        2,
        description="Commits that are processed at once; each needs memory for its index, compressed and decompressed.",
    )
    max_page: t.Annotated[int, Field(ge=1, le=200)] = Field(200, description="Maximum number of manifests in one page.")
    workers: t.Annotated[int, Field(ge=1, le=64)] = Field(
        1,
        description="Processes that serve; as many as cores make a server faster. Limits of connections, commits, "
        "logins and threads are those of all workers together.",
    )
    threads: t.Annotated[int, Field(ge=1, le=200)] = Field(
        32, description="Most requests that read and are worked on at the same time."
    )
    writers: t.Annotated[int, Field(ge=1, le=200)] = Field(
        8, description="Most requests that write to the database at the same time; the others wait in order."
    )
    object_threads: t.Annotated[int, Field(ge=1, le=200)] = Field(
        16, description="Most blocks of the embedded storage's objects that are read or written at the same time."
    )
    jobs_seconds: t.Annotated[int, Field(ge=0, le=3600)] = Field(
        10,
        description="Pause after which the server looks for jobs that are due; with 0 it runs only those that are "
        "asked for by the API.",
    )
    audit_days: t.Annotated[int, Field(ge=0, le=36500)] = Field(
        365, description="Age in days after which entries of the audit log are deleted; 0 keeps them."
    )
    shutdown_seconds: t.Annotated[int, Field(ge=1, le=3600)] = Field(
        30, description="How long requests in progress may continue after SIGTERM."
    )
    metrics_allow: str = Field(
        "127.0.0.1, ::1",
        description="Addresses and networks that may read `/metrics`, separated by commas; with `none`, only "
        "the token does.",
    )
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token, at least 32 characters, that reads `/metrics` from everywhere."
    )
    log_level: t.Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )

    @field_validator("public_url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "?" in value or "#" in value:
            raise ValueError("it must begin with http:// or https://, name a host, and have neither query nor fragment")
        if "@" in parts.netloc:
            raise ValueError("it must not hold a user name or a password")
        # Raises ValueError for what is no port
        _port = parts.port
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        try:
            parsed_networks(",".join(part for part in value.split(",") if part.strip() != "*"))
        except ValueError:
            raise ValueError("it must be IP addresses and networks, separated by commas, or *") from None
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        url = value.get_secret_value() if value is not None else ""
        if url.startswith("postgresql://"):
            return SecretStr(url.replace("postgresql://", POSTGRESQL_URL, 1))
        is_file = url.startswith("sqlite:///") and not url.startswith("sqlite:///:memory:") and url != "sqlite:///"
        if value is not None and not is_file and not url.startswith(POSTGRESQL_URL):
            raise ValueError("it must be postgresql:// or sqlite:/// and the path of a file")
        return value

    @field_validator("metrics_allow")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            parsed_networks("" if value.strip() == "none" else value)
        except ValueError:
            raise ValueError("it must be IP addresses and networks, separated by commas, or none") from None
        return value

    @field_validator("server_secret", "metrics_token")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_LENGTH:
            raise ValueError(f"it must have at least {MIN_SECRET_LENGTH} characters")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.server_secret is not None and self.server_secret_file is not None:
            raise ValueError("server_secret and server_secret_file exclude each other")
        if self.grant_seconds > self.grant_limit_seconds:
            raise ValueError("grant_seconds must not be longer than grant_limit_seconds")
        return self

    @property
    def metrics_networks(self) -> list[Network]:
        """The networks that may read the metrics without a token."""
        return [] if self.metrics_allow.strip() == "none" else parsed_networks(self.metrics_allow)

    @property
    def trusted_networks(self) -> list[Network]:
        """The networks of the trusted proxies."""
        return parsed_networks(self.trusted_proxies.replace("*", "0.0.0.0/0, ::/0"))

    @property
    def database(self) -> str:
        """URL of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'catalog.db'}"

    @property
    def spool(self) -> Path:
        """Directory of what is being received."""
        return self.spool_dir or self.data_dir.absolute() / "spool"

    @property
    def storage(self) -> Path:
        """Root of the embedded storage."""
        return self.storage_root or self.default_storage

    @property
    def default_storage(self) -> Path:
        """Root of an embedded storage that has none of its own."""
        return self.data_dir.absolute() / "storage"


SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None)
