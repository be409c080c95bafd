# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The storages: rows that name them, providers that reach them, the mark that says whose they are.

A provider moves the bytes that the server itself writes and reads, and makes the signed URLs by which everybody else
does. Nothing here knows what the objects are; names and folders of packs are those of ``transfers/packs.py``.
"""
