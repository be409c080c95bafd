# Copyright (c) 2026, macfleet.parallels contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import threading
import typing as t
import zlib
from dataclasses import replace

import pytest
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.errors import DamagedChunk, UnsupportedCodec
from ansible_collections.macfleet.parallels.plugins.module_utils._pack.index import CODEC_DEFLATE, CODEC_RAW, CODEC_ZSTD
from ansible_collections.macfleet.parallels.tests.formats import craft
from ansible_collections.macfleet.parallels.tests.unit.plugins.module_utils._pack.helpers import QUICK, noise, text
from hypothesis import given
from hypothesis import strategies as st

ALL = [provider for codec in (CODEC_DEFLATE, CODEC_ZSTD) for provider in codecs.providers(codec)]
NAMES = [provider.name for provider in ALL]
SAMPLES = [b"x", b"\0", text(1, 1), text(2, 70000), noise(3, 70000), bytes(65535) + b"1", b"ab" * 30000]
CODECS = st.sampled_from([CODEC_RAW, CODEC_DEFLATE, CODEC_ZSTD])


def test_the_fast_providers_are_here_and_come_first() -> None:
    assert [provider.name for provider in codecs.providers(CODEC_DEFLATE)] == ["isal", "zlib"]
    assert [provider.name for provider in codecs.providers(CODEC_ZSTD)] == ["zstandard"]
    assert codecs.decodable() == {CODEC_RAW, CODEC_DEFLATE, CODEC_ZSTD}


@pytest.mark.parametrize("provider", ALL, ids=NAMES)
def test_a_provider_gives_back_what_it_encoded(provider: codecs.Provider) -> None:
    for level in range(provider.levels[0], min(provider.levels[1], 9) + 1):
        encode = provider.encoder(level)
        for sample in SAMPLES:
            assert bytes(provider.decode(memoryview(encode(memoryview(sample))), len(sample))) == sample


@pytest.mark.parametrize("decoder", ALL, ids=NAMES)
@pytest.mark.parametrize("encoder", ALL, ids=NAMES)
def test_providers_of_a_codec_read_one_another(encoder: codecs.Provider, decoder: codecs.Provider) -> None:
    if encoder.codec != decoder.codec:
        return
    for sample in SAMPLES:
        assert decoder.decode(encoder.encoder(1)(sample), len(sample)) == sample


@pytest.mark.parametrize("provider", ALL, ids=NAMES)
def test_every_truncation_of_an_encoded_chunk_is_refused(provider: codecs.Provider) -> None:
    sample = text(4, 3000)
    encoded = provider.encoder(1)(sample)
    for length in range(len(encoded)):
        with pytest.raises(provider.failures):
            provider.decode(encoded[:length], len(sample))


@pytest.mark.parametrize("provider", ALL, ids=NAMES)
def test_every_flipped_byte_of_an_encoded_chunk_is_refused_or_keeps_the_length(provider: codecs.Provider) -> None:
    sample = text(5, 3000)
    encoded = provider.encoder(1)(sample)
    for position in range(len(encoded)):
        for mask in (0x01, 0x80, 0xFF):
            flipped = bytearray(encoded)
            flipped[position] ^= mask
            try:
                decoded = provider.decode(bytes(flipped), len(sample))
            except provider.failures:
                continue
            assert len(decoded) <= len(sample) + 1


@QUICK
@given(CODECS, st.binary(max_size=300), st.integers(1, 1000))
def test_any_bytes_decode_to_the_length_or_are_damaged(codec: int, data: bytes, length: int) -> None:
    try:
        assert len(codecs.decode(codec, data, length)) == length
    except DamagedChunk:
        pass


@QUICK
@given(CODECS, st.binary(min_size=1, max_size=3000), st.integers(-3, 30))
def test_encoding_never_grows_and_falls_back_to_raw(codec: int, data: bytes, level: int) -> None:
    used, encoded = codecs.make_encoder(codec, level)(data)
    assert used in (codec, CODEC_RAW)
    assert len(encoded) < len(data) or (used == CODEC_RAW and encoded == data)
    assert bytes(codecs.decode(used, encoded, len(data))) == data


@pytest.mark.parametrize("codec", [CODEC_DEFLATE, CODEC_ZSTD])
def test_another_length_is_damage(codec: int) -> None:
    sample = text(6, 5000)
    _codec, encoded = codecs.make_encoder(codec, 1)(sample)
    for length in (1, 4999, 5001, 4 << 20):
        with pytest.raises(DamagedChunk, match=f"{length} bytes"):
            codecs.decode(codec, encoded, length)


def test_a_bomb_is_stopped_at_the_length_of_the_chunk() -> None:
    bomb = craft.zeros_without_end(100_000)
    assert len(zlib.decompress(bomb, -15)) > 25_000_000
    for provider in codecs.providers(CODEC_DEFLATE):
        with pytest.raises(provider.failures):
            provider.decode(bomb, 65536)


def test_decoding_in_many_threads_at_once() -> None:
    samples = [text(number, 40000) for number in range(16)]
    wrong: list[int] = []

    def work(number: int) -> None:
        for codec in (CODEC_DEFLATE, CODEC_ZSTD):
            for level in (1, 3):
                used, encoded = codecs.make_encoder(codec, level)(samples[number])
                if codecs.decode(used, encoded, 40000) != samples[number]:
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(samples))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Encodes what libraries could treat specially, in a process whose fresh memory holds arbitrary bytes.
PERTURBED = """
import hashlib, random, sys
from ansible_collections.macfleet.parallels.plugins.module_utils._pack import codecs

source = random.Random(2)
made = hashlib.sha256()
for _number in range(1500):
    period = source.getrandbits(8 * 40).to_bytes(40, "little")[: source.randrange(1, 40)]
    data = (period * 9000)[: source.randrange(1, 600 if _number % 8 else 9000)]
    for codec in (1, 2):
        for provider in codecs.providers(codec):
            for level in (1, 2, 3):
                made.update(provider.encoder(level)(data))
print(made.hexdigest())
"""


def test_the_same_bytes_come_out_whatever_lies_in_memory() -> None:
    outputs = set()
    for fill in ("0", "255"):
        # What glibc fills memory with; elsewhere it is ignored.
        variables = {"MALLOC_PERTURB_": fill, "PYTHONMALLOC": "malloc", "PYTHONPATH": os.pathsep.join(sys.path)}
        finished = subprocess.run(
            [sys.executable, "-c", PERTURBED],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **variables},
        )
        assert finished.returncode == 0, finished.stderr
        outputs.add(finished.stdout)
    assert len(outputs) == 1


def test_levels_of_isal_that_give_other_bytes_from_run_to_run_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows once in some ten thousand times, too seldom for the test above."""
    igzip_lib = pytest.importorskip("isal.igzip_lib")
    used: list[int] = []
    real = igzip_lib.compress

    def compress(data: bytes, level: int, form: int) -> bytes:
        used.append(level)
        encoded: bytes = real(data, level, form)
        return encoded

    monkeypatch.setattr(igzip_lib, "compress", compress)
    (provider,) = (one for one in codecs.providers(CODEC_DEFLATE) if one.name == "isal")
    data = bytes(range(256)) * 64
    for level in range(provider.levels[0], provider.levels[1] + 1):
        assert provider.decode(provider.encoder(level)(data), len(data)) == data
    # The known-answer test of the provider used one as well.
    assert set(used) == {0, 3}


# Providers that cannot be used


def broken(**changes: t.Any) -> t.Callable[[], codecs.Provider]:
    return lambda: replace(codecs._zlib_provider(), name="broken", **changes)


def not_there() -> codecs.Provider:
    raise ImportError("no such module")


def outdated() -> codecs.Provider:
    raise AttributeError("no such function in this version")


def raise_type_error(data: t.Any, length: int) -> bytes:
    raise TypeError("another signature in this version")


@pytest.mark.parametrize(
    "make",
    [
        not_there,
        outdated,
        broken(encoder=lambda level: lambda data: zlib.compress(bytes(data))),
        broken(encoder=lambda level: bytes),
        broken(decode=lambda data, length: bytes(length)),
        broken(decode=raise_type_error),
        broken(decode=lambda data, length: None),
    ],
    ids=["missing", "outdated", "wrapped", "raw", "zeros", "raising", "none"],
)
def test_a_provider_that_does_not_answer_correctly_is_passed_over(
    make: t.Callable[[], codecs.Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = codecs._MAKERS
    monkeypatch.setattr(codecs, "_MAKERS", {CODEC_DEFLATE: (make, *makers[CODEC_DEFLATE][-1:])})
    codecs.providers.cache_clear()
    try:
        assert [provider.name for provider in codecs.providers(CODEC_DEFLATE)] == ["zlib"]
    finally:
        codecs.providers.cache_clear()


def test_a_codec_without_provider_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_MAKERS", {CODEC_DEFLATE: codecs._MAKERS[CODEC_DEFLATE], CODEC_ZSTD: (not_there,)})
    codecs.providers.cache_clear()
    try:
        assert codecs.decodable() == {CODEC_RAW, CODEC_DEFLATE}
        with pytest.raises(UnsupportedCodec, match="zstd"):
            codecs.make_encoder(CODEC_ZSTD, 1)
        with pytest.raises(UnsupportedCodec, match="zstd"):
            codecs.decode(CODEC_ZSTD, b"x", 10)
    finally:
        codecs.providers.cache_clear()
