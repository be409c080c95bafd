# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logins as JSON."""

from __future__ import annotations

import typing as t

from pydantic import BaseModel, Field, SecretStr


class LoginRequest(BaseModel):
    """As stock clients send it: an API key, or a password and whose it is."""

    email: t.Annotated[str, Field(max_length=300)] | None = None
    username: t.Annotated[str, Field(max_length=300)] | None = None
    password: t.Annotated[SecretStr, Field(max_length=1000)] | None = None
    api_key: t.Annotated[SecretStr, Field(max_length=1000)] | None = None


class LoginReply(BaseModel):
    """A login token."""

    email: str
    token: str
    expires_at: int
