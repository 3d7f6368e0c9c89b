# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a bucket is written as the operator's file says and in no other way, and "it is there" is never said
of what is not. Method: small HTTP servers here that answer as told, a hostile environment; a real store
(versitygw) in tests/integration."""

import contextlib
import http.server
import os
import socket
import threading
import time
import traceback
from datetime import timedelta

import pytest

from headrace.errors import ConfigurationError, DeliveryError
from headrace.firehose.destinations import s3
from headrace.firehose.destinations.s3 import S3Destination, S3Settings, endpoint_of, open_store, words

SECRETS = ("the-key", "the-secret", "the-token")


def settings(endpoint="http://127.0.0.1:1", **members):
    return S3Settings(
        **{
            "bucket": "real",
            "path": "",
            "endpoint": endpoint,
            "region": "us-east-1",
            "access_key_id": "the-key",
            "secret_access_key": "the-secret",
            **members,
        }
    )


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with what the server holds, and notes it."""

    protocol_version = "HTTP/1.1"

    def _answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append((self.command, self.path, self.headers))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value.replace("{path}", self.path))
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(self.server.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    running = []

    def make(status=200, headers=(), body=b"", host="127.0.0.1"):
        server = http.server.ThreadingHTTPServer((host, 0), Handler)
        server.status, server.headers, server.body, server.requests = status, dict(headers), body, []
        server.url = f"http://{host}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield make
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def everything(destination):
    """Each thing that a destination does, by name."""
    return {
        "check": lambda: destination.check("a/x"),
        "exists": lambda: destination.exists("a/x"),
        "put": lambda: destination.put("a/x", iter([b"x"])),
        "parts": lambda: destination.put("a/x", iter([b"x" * (s3.SINGLE_SIZE + 1)])),
    }


HOSTILE = {
    "AWS_ENDPOINT": "http://127.0.0.1:2",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:2",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:2",
    "AWS_ACCESS_KEY_ID": "hostile",
    "AWS_SECRET_ACCESS_KEY": "hostile",
    "AWS_SESSION_TOKEN": "hostile",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_BUCKET": "hostile",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
    "AWS_SSE_KMS_KEY_ID": "hostile",
    "AWS_REQUEST_PAYER": "true",
    "AWS_UNSIGNED_PAYLOAD": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_ROLE_ARN": "arn:aws:iam::1:role/hostile",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere",
    "aws_bucket": "hostile",
}


def test_variables_of_the_environment_change_no_request(monkeypatch, serve):
    server = serve(headers={"ETag": '"x"'})
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    destination = S3Destination(settings(server.url))
    for call in everything(destination).values():
        with contextlib.suppress(DeliveryError):  # "parts": this server does not say an upload's id
            call()
    assert {command for command, *_ in server.requests} >= {"PUT", "HEAD", "POST"}
    for command, path, headers in server.requests:
        assert path.startswith("/real"), path
        if command == "HEAD":
            assert "X-Amz-Credential=the-key%2F" in path
            assert "us-east-1" in path
        else:
            assert "Credential=the-key/" in headers["authorization"]
            assert "us-east-1" in headers["authorization"]
            assert headers["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD"
        assert "hostile" not in path + str(headers).lower()
        assert "encryption" not in str(headers).lower()
        assert "request-payer" not in str(headers).lower()
    assert {name: os.environ[name] for name in HOSTILE} == HOSTILE


def test_without_variables_none_appear(monkeypatch):
    for name in HOSTILE:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    open_store(settings())
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"])
def test_no_request_goes_through_a_proxy_of_the_environment(monkeypatch, serve, name):
    store, proxy = serve(headers={"ETag": '"x"'}), serve(headers={"ETag": '"x"'}, host="127.0.0.2")
    monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    destination = S3Destination(settings(store.url))
    assert destination.put("a/x", iter([b"abc"])) == 3
    assert destination.exists("a/x")
    destination.check("a/x")
    assert proxy.requests == []
    assert len(store.requests) >= 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("what", ["check", "exists", "put", "parts"])
def test_redirects_to_other_hosts_are_not_followed(serve, status, what):
    elsewhere = serve(headers={"ETag": '"x"'}, host="127.0.0.2")
    store = serve(status, {"Location": elsewhere.url + "{path}"})
    with pytest.raises(DeliveryError):
        everything(S3Destination(settings(store.url)))[what]()
    assert elsewhere.requests == []
    assert store.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_does_not_make_an_object_exist(serve, status):
    page = serve(headers={"ETag": '"a page to log in"'})
    store = serve(status, {"Location": page.url + "/login"})  # the same host
    with pytest.raises(DeliveryError, match=rf"{status} .*redirects are not followed"):
        S3Destination(settings(store.url)).exists("a/x")
    assert page.requests == []


def test_an_answer_without_an_etag_does_not_make_an_object_exist(serve):
    with pytest.raises(DeliveryError, match="no store of objects"):
        S3Destination(settings(serve().url)).exists("a/x")


@pytest.mark.parametrize("status", [403, 404])
def test_what_may_not_be_there_is_said_not_to_be(serve, status):
    assert not S3Destination(settings(serve(status).url)).exists("a/x")


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_a_store_that_does_not_say_whether_an_object_is_there_is_an_error(serve, status):
    with pytest.raises(DeliveryError, match=f"cannot look for a/x: {status} "):
        S3Destination(settings(serve(status).url)).exists("a/x")


def test_the_store_is_told_the_session_token_and_nobody_else(serve):
    server = serve(
        500, body=b"<Error><Code>Odd</Code><Message>the-token of the-key the-secret</Message></Error>"
    )
    destination = S3Destination(settings(server.url, session_token="the-token"))
    for call in everything(destination).values():
        with pytest.raises(DeliveryError) as caught:
            call()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert not any(secret in shown for secret in SECRETS), shown
    assert all(
        headers.get("x-amz-security-token") == "the-token" or "X-Amz-Security-Token=the-token" in path
        for _, path, headers in server.requests
    )


def test_secrets_are_not_shown():
    found = settings(session_token="the-token")
    destination = S3Destination(found)
    shown = repr(found) + str(found) + repr(destination) + repr(open_store(found)) + destination.described
    assert not any(secret in shown for secret in SECRETS)


def test_our_own_listener_is_refused_though_it_came_later(serve):
    server = serve(headers={"ETag": '"x"'})
    listening = []
    destination = S3Destination(settings(server.url), lambda: listening)
    destination.put("a/x", iter([b"x"]))
    listening.append(("127.0.0.1", server.server_port))
    before = len(server.requests)
    for call in everything(destination).values():
        with pytest.raises(DeliveryError, match="this very server"):
            call()
    assert len(server.requests) == before


def test_metadata_addresses_are_refused_with_the_bucket_named():
    for call in everything(S3Destination(settings("http://169.254.169.254"))).values():
        with pytest.raises(DeliveryError, match=r"^s3://real at http://169.*deliveries never go to"):
            call()


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
        ("cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_without_an_endpoint_a_bucket_is_at_aws(region, url):
    found = settings(None, region=region)
    assert endpoint_of(found).url == url
    assert S3Destination(found).described == "s3://real"


@pytest.mark.parametrize("region", ["", "evil.example/", "us-east-1@x", "US-EAST-1", "us--east"])
def test_a_region_that_would_change_the_host_is_refused(region):
    with pytest.raises(ConfigurationError, match="is not the name of an AWS region"):
        S3Destination(settings(None, region=region))


def test_an_endpoint_that_is_down_is_a_delivery_error_without_secrets():
    for call in everything(S3Destination(settings())).values():
        with pytest.raises(DeliveryError) as caught:
            call()
        assert caught.value.message.startswith("s3://real at http://127.0.0.1:1: cannot ")
        assert caught.value.message.endswith("Connection refused")
        assert "the-secret" not in caught.value.message
        assert "the-key" not in caught.value.message


def test_an_endpoint_that_does_not_answer_is_an_error_in_bounded_time(monkeypatch):
    monkeypatch.setattr(s3, "_ASK_TIMEOUT", timedelta(seconds=0.3))
    monkeypatch.setattr(s3, "_PUT_TIMEOUT", timedelta(seconds=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        destination = S3Destination(settings(f"http://127.0.0.1:{silent.getsockname()[1]}"))
        for what, call in everything(destination).items():
            start = time.monotonic()
            with pytest.raises(DeliveryError, match=r"no answer in time|timed out"):
                call()
            assert time.monotonic() - start < 5, what


@pytest.mark.parametrize(
    "answer", [b"", b"not http\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-", b"SSH-2.0-x\r\n"]
)
def test_an_endpoint_that_speaks_otherwise_is_an_error(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        destination = S3Destination(settings(f"http://127.0.0.1:{server.getsockname()[1]}"))
        for what in ("check", "exists", "put"):
            with pytest.raises(DeliveryError, match=r"^s3://real at "):
                everything(destination)[what]()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_failure_of_the_payload_is_told_as_it_is():
    def chunks():
        yield b"x"
        raise DeliveryError("the log is damaged")

    with pytest.raises(DeliveryError, match=r"^the log is damaged$"):
        S3Destination(settings()).put("a/x", chunks())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>", "NoSuchBucket: gone"),
        ("a <Code>AccessDenied</Code>", "AccessDenied"),
        ("Server returned non-2xx status code: 503 Service Unavailable: ", "503 Service Unavailable"),
        ("x\n InvalidCertificate(\n    UnknownIssuer,", "its certificate is not accepted: UnknownIssuer"),
        ('x\n message: "Connection refused",', "Connection refused"),
        ('x\n error: "failed to lookup"\n', "failed to lookup"),
        ("x\n kind: Timeout,\n", "no answer in time"),
        ("plain\nmore", "plain"),
        ("", "Exception"),
    ],
)
def test_failures_are_told_in_the_stores_words(text, expected):
    assert words(Exception(text)) == expected
