# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""CRC-32C against a bit-by-bit model, at every SIMD level this processor has.

The model divides the message by the polynomial one bit at a time; published values of RFC 3720 (B.4)
check the model itself.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._frames import LEVELS, crc32c, crc32c_copy

POLYNOMIAL = 0x82F63B78
every_level = pytest.mark.parametrize("simd", [*LEVELS, None])


def model(data: bytes, seed: int = 0) -> int:
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@every_level
@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_values(data, crc, simd):
    assert model(data) == crc
    assert crc32c(data, simd=simd) == crc


@every_level
def test_every_length_to_seven_kibibytes(simd):
    data = random.Random(1).randbytes(7 * 1024)
    expected = 0
    for size in range(len(data)):
        assert crc32c(memoryview(data)[:size], simd=simd) == expected, size
        expected = model(data[size : size + 1], expected)


@every_level
@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 95, 96, 500, 511, 512, 513, 1000, 1024, 4099, 65_537])
def test_copy_copies_exactly_and_checksums(size, simd):
    data = random.Random(size).randbytes(size)
    for offset in range(9):
        target = bytearray(b"\xa5" * (size + 32))
        crc = crc32c_copy(memoryview(target)[offset:], data, 77, simd=simd)
        assert crc == crc32c(data, 77, simd="scalar")
        assert target == b"\xa5" * offset + data + b"\xa5" * (32 - offset)


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_checksum_of_parts_chains_to_the_whole(data, cut, seed):
    whole = model(data, seed)
    for simd in LEVELS:
        assert crc32c(data[cut:], crc32c(data[:cut], seed, simd=simd), simd=simd) == whole


def test_copy_refuses_a_target_too_small_or_read_only():
    with pytest.raises(ValueError, match="target has 3 bytes; the source has 4"):
        crc32c_copy(bytearray(3), b"four")
    with pytest.raises(BufferError):
        crc32c_copy(bytes(4), b"four")


def test_level_must_be_known():
    with pytest.raises(ValueError, match="simd is 'sse'"):
        crc32c(b"", simd="sse")


def test_every_alignment_gives_the_same_value():
    data = random.Random(3).randbytes(2000)
    for offset in range(64):
        part = memoryview(bytearray(offset) + data)[offset:]
        assert {crc32c(part, simd=simd) for simd in LEVELS} == {crc32c(data, simd="scalar")}
