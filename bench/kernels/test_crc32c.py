# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""CRC-32C at each level, beside zlib's CRC-32 (another polynomial, the same work) and a plain copy."""

import random
import zlib

import pytest

from headrace.core._frames import LEVELS, crc32c, crc32c_copy


@pytest.fixture(params=[100, 1024, 65_536], ids="{} B".format)
def data(request):
    return random.Random(7).randbytes(request.param)


@pytest.mark.parametrize("simd", LEVELS)
def test_checksum(benchmark, data, simd):
    benchmark.group = f"checksum {len(data)} B"
    benchmark(crc32c, data, 0, simd)


def test_checksum_zlib(benchmark, data):
    benchmark.group = f"checksum {len(data)} B"
    benchmark(zlib.crc32, data)


@pytest.mark.parametrize("simd", LEVELS)
def test_copy(benchmark, data, simd):
    benchmark.group = f"copy and checksum {len(data)} B"
    benchmark(crc32c_copy, bytearray(len(data)), data, 0, simd)


def test_copy_zlib(benchmark, data):
    benchmark.group = f"copy and checksum {len(data)} B"
    target = memoryview(bytearray(len(data)))

    def copy_then_checksum():
        target[:] = data
        return zlib.crc32(target)

    benchmark(copy_then_checksum)
