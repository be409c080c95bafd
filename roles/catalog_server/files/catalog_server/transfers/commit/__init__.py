# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commit of an upload: before it nothing is visible, after it everything is.

It has three steps, since nothing slow may happen in a transaction that writes:

1. ``draft.py``, in a transaction that reads: what the upload would become, and what it may refer to.
2. ``prepare.py``, outside of a transaction: read the index, look up every object that it names, and store listing,
   locator and record beside the segments. If the server dies here, the upload is still open.
3. ``settle.py``, in the transaction that writes: read again what the decision rests on, decide, and write.

After them the pack is tidied, whether they succeeded or not; see ``leftovers.py``.

``_pack.index`` checks that an index is well formed; here it is compared with what is stored, and with what the pusher
may use.
"""
