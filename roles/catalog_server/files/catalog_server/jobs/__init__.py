# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that no request waits for: jobs, each run by one process at a time.

A process holds a job by a lease in the job's row, and extends it as the job goes on. A job does its work in steps, each
of which can be done again; what a process that died has not done, the next one does.
"""
