# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The native parser of request heads agrees with a slow, plain reading of RFC 9112, made strict.

Method: Hypothesis builds heads from good and bad parts; the model below splits them with Python's own
string methods. Both must give the same verdict, the same status and the same values.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core import _http

TOKEN = set(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
HOST = set(b"-._~:[]%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
ONCE = (
    b"host",
    b"origin",
    b"content-type",
    b"x-amz-target",
    b"expect",
    b"transfer-encoding",
    b"content-length",
)


class Refused(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


def require(truth: bool, status: int = 400) -> None:
    if not truth:
        raise Refused(status)


def model(data: bytes) -> dict | None:
    """The head as a dict, None if incomplete; Refused otherwise."""
    start = 2 if data[:2] == b"\r\n" else 0
    if len(data) > start and data != b"\r":
        require(data[start] in TOKEN)
    position = start
    while True:
        newline = data.find(b"\n", position)
        if newline < 0:
            require(len(data) < 16384, 431)
            return None
        require(newline < 16384, 431)
        require(newline > 0 and data[newline - 1 : newline] == b"\r")
        position = newline + 1
        if data[newline - 3 : newline] == b"\r\n\r":
            break
    lines = data[start : position - 4].split(b"\r\n")
    head = request_line(lines[0])
    headers: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(lines[1:]):
        require(number < 100, 431)
        name, value = header(line)
        headers.setdefault(name, []).append(value)
        check_header(headers, name, value)
    whole = conclude(head, headers)
    return {**head, **whole, "head_size": position, "header_count": len(lines) - 1}


def request_line(line: bytes) -> dict:
    method, space, rest = line.partition(b" ")
    require(bool(method) and set(method) <= TOKEN and bool(space))
    target, version = rest[:-9], rest[-9:]
    require(len(rest) >= 9 and version[:6] == b" HTTP/" and version[7:8] == b".")
    require(version[6:7] == b"1" and version[8:] in (b"0", b"1"), 400 if line == b"PRI * HTTP/2.0" else 505)
    require(bool(target) and all(0x20 < c < 0x7F and c != 0x23 for c in target))
    host = None
    if target.lower().startswith(b"http://") and len(target) > 7:
        rest = target[7:]
        cut = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        host, target = rest[:cut], rest[cut:]
        require(bool(host) and set(host) <= HOST)
    else:
        require(target.startswith(b"/") or target == b"*")
    name = method.decode() if method in (b"GET", b"HEAD", b"POST") else "other"
    return {"method": name, "path": target.partition(b"?")[0], "minor": int(version[8:]), "in_target": host}


def header(line: bytes) -> tuple[bytes, bytes]:
    require(line[:1] not in (b" ", b"\t"))
    name, colon, value = line.partition(b":")
    require(bool(colon) and bool(name) and set(name) <= TOKEN)
    value = value.strip(b" \t")
    require(not any((c < 0x20 and c != 9) or c == 0x7F for c in value))
    return name.lower(), value


def check_header(headers: dict[bytes, list[bytes]], name: bytes, value: bytes) -> None:
    if name in ONCE:
        require(len(headers[name]) == 1)
    if name == b"content-length":
        require(bool(value) and set(value) <= set(b"0123456789"))
    if name == b"transfer-encoding":
        require(value.lower() == b"chunked", 501)
    if name == b"host":
        require(set(value) <= HOST)
    if name == b"expect":
        require(value.lower() == b"100-continue", 417)


def conclude(head: dict, headers: dict[bytes, list[bytes]]) -> dict:
    chunked = b"transfer-encoding" in headers
    require(not (chunked and b"content-length" in headers))
    require(not (chunked and head["minor"] == 0))
    require(head["minor"] == 0 or b"host" in headers)
    words = {
        word.strip(b" \t").lower() for value in headers.get(b"connection", []) for word in value.split(b",")
    }
    keep = b"close" not in words and (head["minor"] == 1 or b"keep-alive" in words)
    length = headers.get(b"content-length", [None])[0]

    def one(name: bytes) -> bytes | None:
        return headers.get(name, [None])[0]

    return {
        "keep_alive": keep,
        "chunked": chunked,
        "continue_": b"expect" in headers and head["minor"] == 1,
        "authorization": b"authorization" in headers,
        "content_length": None if length is None else min(int(length), 2**64 - 1),
        "host": head.pop("in_target") or one(b"host"),
        "origin": one(b"origin"),
        "content_type": one(b"content-type"),
        "amz_target": one(b"x-amz-target"),
    }


def verdict(data: bytes) -> object:
    try:
        return model(data)
    except Refused as refused:
        return refused.status


def native(data: bytes) -> object:
    try:
        head = _http.parse(data)
    except _http.BadHead as bad:
        assert str(bad)
        return bad.status
    return None if head is None else {name: getattr(head, name) for name in head.__slots__}


names = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Type",
        b"X-Amz-Target",
        b"Origin",
        b"Connection",
        b"Expect",
        b"Authorization",
        b"User-Agent",
        b"X-Y",
        b"",
        b"Bad Name",
        b"Host ",
        b" Folded",
    ]
)
values = st.sampled_from(
    [
        b"localhost:4567",
        b"0",
        b"5",
        b"18446744073709551616",
        b"-1",
        b"5, 5",
        b"chunked",
        b"gzip, chunked",
        b"close",
        b"keep-alive , x",
        b"100-continue",
        b"a\tb",
        b"a\x00b",
        b"\x7f",
        b"Kinesis_20131202.PutRecord",
        b"",
        b"\xff",
    ]
) | st.binary(max_size=40)
lines = st.builds(
    lambda n, c, v: n + c + v, names, st.sampled_from([b": ", b":", b" : ", b":\t", b""]), values
)
requests = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"GET /-/health?x=1 HTTP/1.1",
        b"HEAD / HTTP/1.0",
        b"PRI * HTTP/2.0",
        b"POST  / HTTP/1.1",
        b"POST http://a:1/b?c HTTP/1.1",
        b"POST http:///b HTTP/1.1",
        b"post / HTTP/1.1",
        b"POST / HTTP/1.2",
        b"POST /",
        b"OPTIONS * HTTP/1.1",
        b"GET /\x80 HTTP/1.1",
        b"GET /#a HTTP/1.1",
        b"G",
        b"\x16\x03\x01",
        b"",
        b"GET x HTTP/1.1",
    ]
)
ends = st.sampled_from(
    [b"\r\n\r\n", b"\r\n\r\n", b"\r\n\r\nbody", b"\r\n", b"\n\n", b"", b"\r\n\n", b"\r\r\n"]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    parts = [draw(requests)]
    if draw(st.booleans()):
        parts.append(b"Host: localhost")
    parts += draw(st.lists(lines, max_size=5))
    separator = draw(st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r"]))
    return draw(st.sampled_from([b""] * 5 + [b"\r\n"])) + separator.join(parts) + draw(ends)


@settings(max_examples=1000)
@given(heads())
def test_the_parser_agrees_with_the_plain_model(data):
    assert native(data) == verdict(data)


@given(st.binary(max_size=200))
def test_any_bytes_get_the_verdict_of_the_plain_model(data):
    assert native(data) == verdict(data)


def test_every_byte_is_judged_alike_in_each_place():
    for byte in (bytes([value]) for value in range(256)):
        for data in (
            b"P%sST / HTTP/1.1\r\nHost: a\r\n\r\n" % byte,
            b"POST /%s HTTP/1.1\r\nHost: a\r\n\r\n" % byte,
            b"POST / HTTP/1.1\r\nHost: a%sb\r\n\r\n" % byte,
            b"POST / HTTP/1.1\r\nHost: a\r\nX%s: b\r\n\r\n" % byte,
            b"POST / HTTP/1.1\r\nHost: a\r\nX: 0123456%s89\r\n\r\n" % byte,
        ):
            assert native(data) == verdict(data), data


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        (b"Content-Length: 5\r\nContent-Length: 5", 400),
        (b"Content-Length: 5, 5", 400),
        (b"Content-Length: +5", 400),
        (b"Content-Length: 0x5", 400),
        (b"Content-Length:", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: xchunked", 501),
        (b"Transfer-Encoding: identity", 501),
        (b"Transfer-Encoding : chunked", 400),
        (b"X: a\r\n Transfer-Encoding: chunked", 400),
        (b"X: a\nTransfer-Encoding: chunked", 400),
        (b"X: a\rTransfer-Encoding: chunked", 400),
        (b"Host: b", 400),
        (b"Expect: 200-ok", 417),
    ],
)
def test_shapes_that_smuggle_are_refused(lines, status):
    assert native(b"POST / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n") == status


def test_a_head_beyond_its_limits_is_refused_complete_or_not():
    long = b"POST / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17000
    assert native(long) == native(long + b"\r\n\r\n") == 431
    exact = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    exact += b"y" * (16384 - len(exact) - 4) + b"\r\n\r\n"
    assert native(exact)["head_size"] == 16384
    many = b"POST / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n"
    assert native(many) == 431
    assert native(many.replace(b"X: y\r\n", b"", 1))["header_count"] == 100


@given(
    st.integers(0, 2**70),
    st.sampled_from([b"", b";a", b";a=b", b" ", b"\t", b"g"]),
    st.sampled_from([b"\r\n", b"\n"]),
)
def test_chunk_lines_agree_with_int(number, extension, end):
    line = b"%x" % number + extension + end
    good = end == b"\r\n" and (not extension or extension[:1] == b";")
    if good:
        assert _http.chunk_line(line + b"data") == (min(number, 2**64 - 1), len(line))
    else:
        with pytest.raises(_http.BadHead):
            _http.chunk_line(line)
    assert not good or _http.chunk_line(line[:-1]) is None


def test_chunk_and_trailer_lines_have_bounds():
    with pytest.raises(_http.BadHead):
        _http.chunk_line(b"1;" + b"a" * 300)
    with pytest.raises(_http.BadHead):
        _http.trailer_line(b"a" * 20000)
    assert _http.trailer_line(b"X: y\r\n\r\n") == 6
    assert _http.trailer_line(b"\r\n") == 2
    assert _http.trailer_line(b"X: y") is None
    with pytest.raises(_http.BadHead):
        _http.trailer_line(b"X: \x00\r\n")
