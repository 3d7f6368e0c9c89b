# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: every destination keeps the same promises. Method: the same calls on each kind: a directory, and a bucket
behind a small server here that keeps what it is sent. (A real S3 server: tests/integration.)"""

import html
import http.server
import re
import threading
from urllib.parse import unquote

import pytest

from headrace.errors import DeliveryError
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.firehose.destinations.s3 import S3Destination, S3Settings


class Bucket(http.server.BaseHTTPRequestHandler):
    """PutObject, HeadObject and DeleteObjects."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.server.objects[self.name] = self.rfile.read(int(self.headers["content-length"]))
        self.answer(200)

    def do_HEAD(self):
        self.answer(200 if self.name in self.server.objects else 404)

    def do_POST(self):
        assert self.path == "/real?delete", self.path
        for name in re.findall(
            rb"<Key>raw/([^<]+)</Key>", self.rfile.read(int(self.headers["content-length"]))
        ):
            self.server.objects.pop(html.unescape(name.decode()), None)
        self.answer(200, b"<DeleteResult></DeleteResult>")

    @property
    def name(self):
        return unquote(self.path.partition("?")[0]).removeprefix("/real/raw/")

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("ETag", '"x"')
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Directory:
    def __init__(self, tmp_path):
        self.destination = DirectoryDestination(tmp_path / "root")

    def objects(self):
        root = self.destination.root
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def close(self):
        pass


class S3:
    def __init__(self, _tmp_path):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
        self.server.objects = {}
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        url = f"http://127.0.0.1:{self.server.server_port}"
        self.destination = S3Destination(S3Settings("real", "raw", url, "us-east-1", "the-key", "the-secret"))

    def objects(self):
        return dict(self.server.objects)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(params=[Directory, S3])
def kind(request, tmp_path):
    found = request.param(tmp_path)
    yield found
    found.destination.close()
    found.close()


NAMES = ["x", "a/b/c.gz", "y=2024/m=01/d-1-2024-01-01-00-00-00-0.gz", "ä ö/%41+&?#/x", "a" * 240 + "/x"]


@pytest.mark.parametrize("key", NAMES)
def test_an_object_is_there_under_its_name_with_its_bytes_once_it_was_put(kind, key):
    destination = kind.destination
    destination.check(key)
    assert not destination.exists(key)
    assert destination.put(key, iter([b"one", b"", b"two"])) == 6
    assert destination.exists(key)
    destination.close()  # nothing that it held is needed to go on
    assert destination.exists(key)
    assert kind.objects() == {key: b"onetwo"}


def test_an_object_that_is_put_again_is_there_once(kind):
    for _ in range(2):
        kind.destination.put("a/x", iter([b"same"]))
    assert kind.objects() == {"a/x": b"same"}


def test_a_check_leaves_nothing(kind):
    kind.destination.check("a/x")
    assert kind.objects() == {}


def test_a_payload_that_fails_leaves_nothing_and_is_told_as_it_is(kind):
    def failing():
        yield b"half"
        raise DeliveryError("the log is damaged")

    with pytest.raises(DeliveryError, match=r"^the log is damaged$"):
        kind.destination.put("a/x", failing())
    assert not kind.destination.exists("a/x")
    assert kind.objects() == {}


def test_it_says_where_it_is_and_shows_no_secret(kind):
    assert kind.destination.described.split("://")[0] in ("file", "s3")
    assert "the-" not in kind.destination.described + repr(kind.destination)
    assert isinstance(kind.destination.local, bool)
