# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""base64 both ways, 500 payloads a round, beside Python's binascii."""

import binascii
import random

import pytest

from headrace.core._wire import LEVELS, base64_decode, base64_encode

COUNT = 500


@pytest.fixture(params=[100, 1024])
def payloads(request):
    seeded = random.Random(7)
    return [seeded.randbytes(request.param) for _ in range(COUNT)]


def group(benchmark, name, payloads):
    benchmark.group = f"{name} {COUNT} x {len(payloads[0])} B"


@pytest.mark.parametrize("simd", LEVELS)
def test_encode(benchmark, payloads, simd):
    group(benchmark, "base64 encode", payloads)
    benchmark(lambda: [base64_encode(item, simd) for item in payloads])


def test_encode_binascii(benchmark, payloads):
    group(benchmark, "base64 encode", payloads)
    benchmark(lambda: [binascii.b2a_base64(item, newline=False) for item in payloads])


@pytest.mark.parametrize("simd", LEVELS)
def test_decode(benchmark, payloads, simd):
    group(benchmark, "base64 decode", payloads)
    texts = [base64_encode(item) for item in payloads]
    assert benchmark(lambda: [base64_decode(item, simd) for item in texts]) == payloads


def test_decode_binascii(benchmark, payloads):
    group(benchmark, "base64 decode", payloads)
    texts = [base64_encode(item) for item in payloads]
    assert benchmark(lambda: [binascii.a2b_base64(item, strict_mode=True) for item in texts]) == payloads
