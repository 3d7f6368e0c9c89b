# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""base64 against Python's own, in both directions, at every SIMD level this processor has.

The model of the decoder is binascii in strict mode with the length checked, of a text that encoding gives back;
texts are made by encoding and then damaging, so that both accepted and refused ones are frequent.
"""

import base64
import binascii
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._wire import LEVELS, base64_decode, base64_encode

every_level = pytest.mark.parametrize("simd", [*LEVELS, None])


def model_decode(text: bytes) -> bytes | None:
    if len(text) % 4:
        return None
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data) == text else None


@every_level
def test_every_length_to_four_hundred_encodes_as_python_does_and_comes_back(simd):
    data = random.Random(1).randbytes(400)
    for size in range(401):
        text = base64_encode(data[:size], simd=simd)
        assert text == base64.b64encode(data[:size]), size
        assert base64_decode(text, simd=simd) == data[:size], size


@every_level
def test_every_byte_at_every_place_of_a_long_text_is_judged_as_python_does(simd):
    whole = base64.b64encode(random.Random(2).randbytes(99))
    for place in (*range(8), 31, 32, 33, 63, 64, 65, 127, 128, 129, 130, 131):
        for byte in range(256):
            text = whole[:place] + bytes([byte]) + whole[place + 1 :]
            assert base64_decode(text, simd=simd) == model_decode(text), (place, byte)


@every_level
@pytest.mark.parametrize(
    "text",
    [
        b"=",
        b"==",
        b"===",
        b"====",
        b"Q===",
        b"QQ=",
        b"QQ",
        b"Q",
        b"QUI",
        b"QUI==",
        b"QQ==QQ==",
        b"QQ==\n",
        b" QUJD",
    ],
)
def test_missing_wrong_or_early_padding_and_space_are_refused(text, simd):
    assert base64_decode(text, simd=simd) is None


@every_level
@pytest.mark.parametrize("before", [0, 60, 64, 124, 128])
def test_bits_behind_the_last_byte_must_be_zero(simd, before):
    front = b"A" * before
    assert base64_decode(front + b"QQ==", simd=simd) == bytes(before // 4 * 3) + b"A"
    assert base64_decode(front + b"QUI=", simd=simd) == bytes(before // 4 * 3) + b"AB"
    for text in (b"QR==", b"QY==", b"QUJ=", b"QUK="):
        assert base64_decode(front + text, simd=simd) is None


@given(st.binary(max_size=300), st.data())
def test_damaged_texts_are_judged_as_python_does(data, draw):
    text = bytearray(base64.b64encode(data))
    for _ in range(draw.draw(st.integers(0, 3))):
        if text:
            place = draw.draw(st.integers(0, len(text) - 1))
            text[place : place + draw.draw(st.integers(0, 2))] = draw.draw(
                st.binary(max_size=2)
                | st.sampled_from([b"=", b"/", b"+", b"-", b"_", b'"', b"\xff", b"AAAA"])
            )
    expected = model_decode(bytes(text))
    for simd in LEVELS:
        assert base64_decode(bytes(text), simd=simd) == expected


@given(st.text(max_size=40))
def test_text_is_decoded_like_its_bytes(text):
    expected = model_decode(text.encode()) if text.isascii() else None
    assert base64_decode(text) == expected


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_contiguous_buffer_will_do(kind):
    assert base64_encode(kind(b"abc")) == b"YWJj"
    assert base64_decode(kind(b"YWJj")) == b"abc"


def test_a_level_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="'sse9'"):
        base64_encode(b"", simd="sse9")
    with pytest.raises(ValueError, match="'sse9'"):
        base64_decode(b"", simd="sse9")
