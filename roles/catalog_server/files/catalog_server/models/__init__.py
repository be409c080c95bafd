# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables. Importing this package makes all of them known to ``Base.metadata``."""

from catalog_server.models import audit, catalog, identity, jobs, storage, transfers
from catalog_server.models.base import Base

__all__ = ["Base", "audit", "catalog", "identity", "jobs", "storage", "transfers"]
