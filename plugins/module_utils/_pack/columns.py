# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""Files of columns, the form of listings and locators, as ``docs/pack-format.md`` specifies it. Pure.

    8 bytes magic, u32 header length, header (canonical JSON), columns (raw DEFLATE)

The canonical form is the same with the columns not compressed. All integers are little endian.
"""

from __future__ import annotations

import io
import json
import re
import struct
import sys
import typing as t
import zlib
from array import array

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import MalformedIndex, UnsupportedFormat
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import FORMAT, MAX_HEADER_BYTES

_FEATURE = re.compile(r"[a-z0-9-]{1,64}\Z")
_FEATURES_SHOWN = 5
_COLUMN_LEVEL = 6
# The header of a file lies in its first bytes.
HEAD_BYTES = 12 + MAX_HEADER_BYTES
# Compressed bytes that are decompressed at a time.
_FEED_BYTES = 256 << 10


Watch = t.Callable[[bytes], None]


def _ignore(piece: bytes) -> None:
    """Do nothing with the bytes of a column."""


class ColumnReader:
    """Decompresses the columns of a file one after the other, never more than is asked for.

    ``watch`` receives the bytes of all columns as they come.
    """

    def __init__(self, compressed: memoryview, what: str, watch: Watch = _ignore) -> None:
        self._compressed = compressed
        self._what = what
        self._watch = watch
        self._decompressor = zlib.decompressobj(-15)
        self._position = 0

    def raw(self, length: int) -> bytes:
        """Return the next ``length`` bytes.

        :raises MalformedIndex: there are fewer
        """
        # Its value is not a copy, while pieces that are joined take their room twice.
        column = io.BytesIO()
        while column.tell() < length:
            piece = self._inflate(length - column.tell())
            if not piece:
                raise self._wrong_length()
            self._watch(piece)
            column.write(piece)
        return column.getvalue()

    def numbers(self, typecode: str, count: int) -> array[int]:
        """Return the next ``count`` integers."""
        column = array(typecode)
        column.frombytes(self.raw(count * column.itemsize))
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def end(self) -> None:
        """Check that nothing follows.

        :raises MalformedIndex: something does, or the last bytes are missing
        """
        if self._inflate(1) or not self._decompressor.eof:
            raise self._wrong_length()
        if self._decompressor.unused_data or self._position < len(self._compressed):
            raise self._wrong_length()

    def _inflate(self, most: int) -> bytes:
        """Return at most ``most`` of the next bytes, and at least one unless there are none."""
        decompressor = self._decompressor
        while not decompressor.eof:
            data: t.Union[bytes, memoryview] = decompressor.unconsumed_tail
            if not data:
                data = self._compressed[self._position : self._position + _FEED_BYTES]
                self._position += len(data)
            try:
                piece = decompressor.decompress(data, most)
            except zlib.error as error:
                raise MalformedIndex(f"The columns of the {self._what} do not decompress.") from error
            if piece or not data:
                return piece
        return b""

    def _wrong_length(self) -> MalformedIndex:
        return MalformedIndex(f"The columns of the {self._what} are shorter or longer than its header says.")


def little_endian(column: array[int]) -> bytes:
    """Return the bytes of a column of integers."""
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()


def canonical_json(header: t.Mapping[str, t.Any]) -> bytes:
    """Return the one form of a header that is allowed."""
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def opening(magic: bytes, header: bytes) -> bytes:
    """Return all that comes before the columns of a file."""
    return magic + struct.pack("<I", len(header)) + header


def encode_file(magic: bytes, header: bytes, table: t.Iterable[bytes]) -> bytes:
    """Return the file of a table of columns."""
    compressor = zlib.compressobj(_COLUMN_LEVEL, zlib.DEFLATED, -15)
    body = [compressor.compress(column) for column in table]
    return b"".join((opening(magic, header), *body, compressor.flush()))


def split_file(magic: bytes, data: bytes, what: str) -> tuple[dict[str, t.Any], bytes, memoryview]:
    """Return the header of a file, decoded and as it stands there, and the compressed columns.

    :raises MalformedIndex: it is not such a file, or its header is not in canonical form
    :raises UnsupportedFormat: it has another format, or needs features
    """
    if len(data) < 12 or data[:8] != magic:
        raise MalformedIndex(f"The {what} does not begin with the magic bytes of one.")
    (length,) = struct.unpack_from("<I", data, 8)
    if length > MAX_HEADER_BYTES or 12 + length > len(data):
        raise MalformedIndex(f"The header of the {what} is longer than it may be.")
    header_bytes = data[12 : 12 + length]
    try:
        header = json.loads(header_bytes.decode("ascii"))
        canonical = canonical_json(header)
    except ValueError as error:
        raise MalformedIndex(f"The header of the {what} is not JSON.") from error
    except RecursionError as error:
        raise MalformedIndex(f"The header of the {what} is nested too deep.") from error
    if not isinstance(header, dict):
        raise MalformedIndex(f"The header of the {what} is not an object.")
    _check_format(header, what)
    if canonical != header_bytes:
        raise MalformedIndex(f"The header of the {what} is not in canonical form.")
    return header, header_bytes, memoryview(data)[12 + length :]


def _check_format(header: t.Mapping[str, t.Any], what: str) -> None:
    version = header.get("format")
    if not _is_integer(version):
        raise MalformedIndex(f"The {what} does not say which format it has.")
    if version != FORMAT:
        raise UnsupportedFormat(
            f"The {what} has the format {str(version)[:40]}, this version reads {FORMAT}.",
            hint="Update the collection on the controller.",
        )
    features = header.get("features")
    if not isinstance(features, list) or not all(isinstance(name, str) and _FEATURE.match(name) for name in features):
        raise MalformedIndex(f"The {what} does not say which features it needs.")
    if features:
        names = ", ".join(features[:_FEATURES_SHOWN])
        raise UnsupportedFormat(
            f"The {what} needs features that this version does not know: {names}.",
            hint="Update the collection on the controller.",
        )


def _is_integer(value: t.Any) -> bool:
    # JSON has 1.0 and true as well, which Python takes for 1.
    return isinstance(value, int) and not isinstance(value, bool)


def check_keys(header: t.Mapping[str, t.Any], wanted: set[str], what: str) -> None:
    """Check that a header has exactly the fields that are ``wanted``.

    :raises MalformedIndex: it has not
    """
    if set(header) != wanted:
        raise MalformedIndex(f"The header of the {what} does not have the fields of format {FORMAT}.")


def bounded(header: t.Mapping[str, t.Any], key: str, limit: int, what: str) -> int:
    """Return an integer of a header that is from 0 to ``limit``.

    :raises MalformedIndex: it is not
    """
    value = header[key]
    if not _is_integer(value) or not 0 <= value <= limit:
        raise MalformedIndex(f"The {what} has {key} = {str(value)[:40]}, allowed is 0 to {limit}.")
    return value


def memory_bytes(magic: bytes, data: bytes, what: str, costs: t.Mapping[str, tuple[int, int]]) -> int:
    """Return about how many bytes of memory a file takes when it is read, from its header alone.

    ``data`` needs only its first ``HEAD_BYTES``; ``costs`` are limit and bytes of what each number there counts.

    :raises MalformedIndex: there is no such header
    :raises UnsupportedFormat: it needs something that this version does not know
    """
    header, _header_bytes, _columns = split_file(magic, data, what)
    total = 0
    for key, (limit, cost) in costs.items():
        if key not in header:
            raise MalformedIndex(f"The header of the {what} has no {key}.")
        total += cost * bounded(header, key, limit, what)
    return total


def cut_texts(data: bytes, lengths: array[int], what: str) -> list[str]:
    """Return the texts that lie one behind the other in ``data``.

    :raises MalformedIndex: they are not UTF-8, or not as long as ``lengths`` says
    """
    if sum(lengths) != len(data):
        raise MalformedIndex(f"The texts of the {what} are shorter or longer than their lengths.")
    texts = []
    position = 0
    for length in lengths:
        try:
            texts.append(data[position : position + length].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedIndex(f"A path or target of the {what} is not UTF-8.") from error
        position += length
    return texts
