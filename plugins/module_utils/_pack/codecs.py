# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection.

"""How a chunk is encoded: raw, deflate (RFC 1951 without wrapper) and zstd.

Each codec is carried out by the first provider that can be imported *and* answers a known question
correctly; the standard library comes last. A decoder never makes more bytes than the chunk has.
"""

from __future__ import annotations

import functools
import threading
import typing as t
import zlib
from dataclasses import dataclass

from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk, UnsupportedCodec
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import (
    CODEC_DEFLATE,
    CODEC_NAMES,
    CODEC_RAW,
    CODEC_ZSTD,
)

Buffer = t.Union[bytes, bytearray, memoryview]
Encoder = t.Callable[[Buffer], bytes]

DEFAULT_LEVEL = 1
# What isal 1.9 makes of less than about 500 bytes depends on what its memory held before, so the same bundle
# gave other segments from run to run. Below this, with room to spare, zlib encodes in its place.
_ISAL_LEAST_BYTES = 4096
# So does what its levels 1 and 2 make of repetitive data of any size, for they do not clear their tables. Level 0 is as
# fast as these, and makes some 5 % more of a disk image; level 3 takes twice the time.
_ISAL_LEVELS = {0: 0, 1: 0, 2: 3, 3: 3}
_SAMPLE = b"".join(b"%d a chunk of a virtual machine " % (number * 7919 % 1000) for number in range(400))


@dataclass(frozen=True)
class Provider:
    """One implementation of one codec.

    ``encoder(level)`` makes a function from raw to encoded bytes; ``decode(data, length)`` gives exactly
    ``length`` bytes or raises one of ``failures``.
    """

    name: str
    codec: int
    levels: tuple[int, int]
    encoder: t.Callable[[int], Encoder]
    decode: t.Callable[[Buffer, int], bytes]
    failures: tuple[type[Exception], ...]


class _WrongLength(Exception):
    """Encoded bytes hold more or less than they should."""


def _zlib_provider() -> Provider:
    def encoder(level: int) -> Encoder:
        def encode(data: Buffer) -> bytes:
            compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8)
            return compressor.compress(data) + compressor.flush()

        return encode

    def decode(data: Buffer, length: int) -> bytes:
        decompressor = zlib.decompressobj(-15)
        raw = decompressor.decompress(data, length + 1)
        if not decompressor.eof or decompressor.unused_data:
            raise _WrongLength
        return raw

    return Provider("zlib", CODEC_DEFLATE, (1, 9), encoder, decode, (zlib.error, _WrongLength))


def _isal_provider() -> Provider:
    from isal import igzip_lib

    def encoder(level: int) -> Encoder:
        encode_small = _zlib_provider().encoder(max(1, level))

        def encode(data: Buffer) -> bytes:
            if len(data) < _ISAL_LEAST_BYTES:
                return encode_small(data)
            return igzip_lib.compress(data, _ISAL_LEVELS[level], igzip_lib.COMP_DEFLATE)

        return encode

    def decode(data: Buffer, length: int) -> bytes:
        decompressor = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
        raw = decompressor.decompress(data, length + 1)
        if not decompressor.eof or decompressor.unused_data:
            raise _WrongLength
        return raw

    failure = t.cast("type[Exception]", igzip_lib.IsalError)
    return Provider("isal", CODEC_DEFLATE, (0, 3), encoder, decode, (failure, EOFError, _WrongLength))


def _zstandard_provider() -> Provider:
    import zstandard

    # Neither object may be used by two threads at once.
    local = threading.local()

    def encoder(level: int) -> Encoder:
        def encode(data: Buffer) -> bytes:
            compressors: dict[int, t.Any] = local.__dict__.setdefault("compressors", {})
            if level not in compressors:
                compressors[level] = zstandard.ZstdCompressor(level=level, write_content_size=True)
            return compressors[level].compress(data)

        return encode

    def decode(data: Buffer, length: int) -> bytes:
        # The size that the frame declares is what the library allocates.
        if zstandard.get_frame_parameters(data).content_size != length:
            raise _WrongLength
        if not hasattr(local, "decompressor"):
            local.decompressor = zstandard.ZstdDecompressor()
        return local.decompressor.decompress(data, max_output_size=length, allow_extra_data=False)

    return Provider("zstandard", CODEC_ZSTD, (1, 19), encoder, decode, (zstandard.ZstdError, _WrongLength))


_MAKERS: dict[int, tuple[t.Callable[[], Provider], ...]] = {
    CODEC_DEFLATE: (_isal_provider, _zlib_provider),
    CODEC_ZSTD: (_zstandard_provider,),
}


def answers_correctly(provider: Provider) -> bool:
    """Return True if a provider passes its known-answer test; whatever it raises is a wrong answer."""
    level = provider.levels[0]
    try:
        encoded = provider.encoder(max(level, DEFAULT_LEVEL))(_SAMPLE)
        if provider.decode(encoded, len(_SAMPLE)) != _SAMPLE:
            return False
        if provider.codec == CODEC_DEFLATE:
            reference = _zlib_provider()
            foreign = reference.encoder(6)(_SAMPLE)
            return (
                reference.decode(encoded, len(_SAMPLE)) == _SAMPLE and provider.decode(foreign, len(_SAMPLE)) == _SAMPLE
            )
        return True
    except Exception:
        return False


@functools.lru_cache(maxsize=None)
def providers(codec: int) -> tuple[Provider, ...]:
    """Return the providers of a codec that can be used here, best first."""
    usable = []
    for make in _MAKERS.get(codec, ()):
        try:
            provider = make()
        except (ImportError, AttributeError):
            # Not there, or another version of the library that lacks what is used here.
            continue
        if answers_correctly(provider):
            usable.append(provider)
    return tuple(usable)


def best_provider(codec: int) -> Provider:
    """Return the provider that carries out a codec here.

    :raises UnsupportedCodec: there is none
    """
    usable = providers(codec)
    if not usable:
        raise UnsupportedCodec(
            f"This Python has no provider of the codec {CODEC_NAMES[codec]}.",
            hint="Install the Python package zstandard, or push with codec=deflate.",
        )
    return usable[0]


def decodable() -> frozenset[int]:
    """Return the codecs that can be read here."""
    return frozenset({CODEC_RAW} | {codec for codec in _MAKERS if providers(codec)})


def make_encoder(codec: int, level: int) -> t.Callable[[Buffer], tuple[int, bytes]]:
    """Return a function from raw bytes to (codec, encoded bytes); it falls back to raw when nothing is gained.

    ``level`` is brought into the range of the provider.

    :raises UnsupportedCodec: the codec has no provider here
    """
    if codec == CODEC_RAW:
        return lambda data: (CODEC_RAW, bytes(data))
    provider = best_provider(codec)
    encode = provider.encoder(min(max(level, provider.levels[0]), provider.levels[1]))

    def encode_if_smaller(data: Buffer) -> tuple[int, bytes]:
        encoded = encode(data)
        return (codec, encoded) if len(encoded) < len(data) else (CODEC_RAW, bytes(data))

    return encode_if_smaller


def decode(codec: int, data: Buffer, length: int) -> Buffer:
    """Return the ``length`` raw bytes of an encoded chunk.

    :raises DamagedChunk: they do not decode, or to another length
    :raises UnsupportedCodec: the codec has no provider here
    """
    if codec == CODEC_RAW:
        if len(data) != length:
            raise DamagedChunk(f"A raw chunk has {len(data)} bytes instead of {length}.")
        return data
    provider = best_provider(codec)
    try:
        raw = provider.decode(data, length)
    except provider.failures as error:
        raise DamagedChunk(f"A chunk does not decode as {CODEC_NAMES[codec]} to {length} bytes.") from error
    if len(raw) != length:
        raise DamagedChunk(f"A chunk decodes to another length than {length} bytes.")
    return raw
