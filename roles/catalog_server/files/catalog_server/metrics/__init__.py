# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metrics in the text format of Prometheus: what is counted with each request, and looked at for each scrape.

Values of labels are few: templates of routes, names of pools, jobs and storages, never a path or a user.
"""
