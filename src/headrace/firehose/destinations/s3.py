# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A bucket behind any S3 endpoint, through obstore.

Small objects go in one request, larger ones as multipart uploads whose parts are made while others are on
their way; either is there whole or not at all. (A multipart upload that a crash cut off is never completed:
a lifecycle rule of the bucket may remove its parts.)

`open_store` is the one place where a store is built, so that nothing but the operator's file says where data
and credentials go. Left alone, obstore obeys AWS_* variables even beside explicit options, sends through
HTTP_PROXY, and follows redirects of requests without a body. The last would be the end of records: whether
an object is there decides whether its records may be dropped, and behind a redirect (a page to log in, say)
stands 200 for anything. So we ask that question ourselves, with a request that obstore signs.

Memory of a put: SINGLE_SIZE, or (CONCURRENT + 2) parts.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace import limits
from headrace.errors import ConfigurationError, DeliveryError
from headrace.firehose import outbound
from headrace.firehose.outbound import Address, Endpoint

SINGLE_SIZE = 8 * limits.MIB
CONCURRENT = 2
_CONNECT_TIMEOUT = timedelta(seconds=5)
_PUT_TIMEOUT = timedelta(seconds=30)  # of SINGLE_SIZE: 280 KB/s at least
_ASK_TIMEOUT = timedelta(seconds=10)  # of requests without a body
_NO_PROXY_LISTENS_HERE = "http://127.0.0.1:0"  # nobody can listen on port 0

_environment_lock = threading.Lock()


class S3Settings(msgspec.Struct, frozen=True):
    """One bucket of the operator's file, its secrets read."""

    bucket: str
    path: str  # below which all objects go, "" for none
    endpoint: str | None
    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"S3Settings(s3://{self.bucket}/{self.path})"


class S3Destination:
    """Objects in a bucket.

    own: the addresses on which this process listens; a bucket behind one of them is refused, since a
        delivery into ourselves would feed itself.
    """

    local = False

    def __init__(self, settings: S3Settings, own: Callable[[], Iterable[Address]] = tuple) -> None:
        self._settings = settings
        self._endpoint = endpoint_of(settings)
        self._own = own
        self._store: Any = None
        place = f"s3://{settings.bucket}" + (f"/{settings.path}" if settings.path else "")
        self.described = f"{place} at {settings.endpoint}" if settings.endpoint else place

    def check(self, key: str) -> None:
        """Write an empty object beside where the first will be, and remove it again if we may.

        Its name begins with a dot, which query engines take for hidden.
        """
        import obstore

        head, slash, _ = key.rpartition("/")
        probe = f"{head}{slash}.headrace-check-{uuid.uuid4()}"
        self._check_address()
        store = open_store(self._settings, _ASK_TIMEOUT)
        try:
            obstore.put(store, probe, b"", use_multipart=False)
        except Exception as problem:
            raise self._failure("cannot write", problem) from None
        try:
            obstore.delete(store, probe)
        except Exception:
            return  # writing is enough; a policy may well forbid to delete

    def exists(self, key: str) -> bool:
        try:
            status, reason, tag = self._head(key)
        except (OSError, http.client.HTTPException) as problem:
            raise self._failure(f"cannot look for {key}", problem) from None
        if status == 200 and tag:
            return True
        if status in (403, 404):
            return False  # without the right to list, S3 says 403 for what is not there: write it again
        note = " (redirects are not followed)" if 300 <= status < 400 else ""
        answer = f"{status} {reason}{note}" if status != 200 else "200 without an ETag: no store of objects"
        raise DeliveryError(f"{self.described}: cannot look for {key}: {answer}")

    def _head(self, key: str) -> tuple[int, str, str | None]:
        """Status, reason and ETag of HeadObject."""
        import obstore

        url = urlsplit(obstore.sign(self._open(), "HEAD", key, timedelta(minutes=1)))
        endpoint, seconds = self._endpoint, _ASK_TIMEOUT.total_seconds()
        connection = (
            http.client.HTTPSConnection(
                endpoint.host, endpoint.port, timeout=seconds, context=ssl.create_default_context()
            )
            if endpoint.scheme == "https"
            else http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)
        )
        try:
            # The signature is of the Host as it stands in the URL.
            connection.request("HEAD", f"{url.path}?{url.query}", headers={"Host": url.netloc})
            answer = connection.getresponse()
            return answer.status, answer.reason, answer.getheader("ETag")
        finally:
            connection.close()

    def put(self, key: str, chunks: Iterator[bytes]) -> int:
        import obstore

        store = self._open()
        counted = _Counted(chunks)
        try:
            head = [_up_to(counted, SINGLE_SIZE)]
            if len(head[0]) < SINGLE_SIZE:
                obstore.put(store, key, head[0], use_multipart=False)
            else:
                obstore.put(
                    store,
                    key,
                    _then(head, counted),
                    use_multipart=True,
                    chunk_size=SINGLE_SIZE,
                    max_concurrency=CONCURRENT,
                )
        except Exception as problem:
            if counted.failure is not None:
                raise counted.failure from None
            raise self._failure(f"cannot write {key}", problem) from None
        return counted.size

    def close(self) -> None:
        self._store = None

    def _open(self) -> Any:
        self._check_address()
        if self._store is None:
            self._store = open_store(self._settings, _PUT_TIMEOUT)
        return self._store

    def _check_address(self) -> None:
        try:
            outbound.check(self._endpoint, self._own())
        except DeliveryError as problem:
            raise DeliveryError(f"{self.described}: {problem.message}") from None

    def _failure(self, what: str, problem: Exception) -> DeliveryError:
        text = words(problem)
        for secret in (
            self._settings.secret_access_key,
            self._settings.session_token,
            self._settings.access_key_id,
        ):
            if secret:
                text = text.replace(secret, "****")
        return DeliveryError(f"{self.described}: {what}: {text}")


class _Counted:
    """Chunks, with their bytes counted and the reason why they ended, if it was one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0
        self.failure: Exception | None = None

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except Exception as failure:
            self.failure = failure
            raise
        self.size += len(chunk)
        return chunk


def _up_to(chunks: Iterator[bytes], size: int) -> bytes:
    """Chunks joined until there are `size` bytes or no more."""
    parts: list[bytes] = []
    total = 0
    for chunk in chunks:
        parts.append(chunk)
        total += len(chunk)
        if total >= size:
            break
    return b"".join(parts)


def _then(head: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """The head, which is not kept, and then the rest."""
    yield head.pop()
    yield from rest


def endpoint_of(settings: S3Settings) -> Endpoint:
    """Where a bucket's requests go: what the operator says, or AWS. Raises ConfigurationError."""
    if settings.endpoint:
        return Endpoint(settings.endpoint.rstrip("/"))
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", settings.region):
        raise ConfigurationError(f"region {settings.region} is not the name of an AWS region")
    end = ".cn" if settings.region.startswith("cn-") else ""
    return Endpoint(f"https://s3.{settings.region}.amazonaws.com{end}")


def open_store(settings: S3Settings, timeout: timedelta = _PUT_TIMEOUT) -> Any:
    """The one place where an obstore store is built. timeout: of each request."""
    from obstore.store import S3Store

    endpoint = endpoint_of(settings)
    config: dict[str, Any] = {
        "bucket": settings.bucket,
        "region": settings.region,
        "endpoint": endpoint.url,
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
    }
    if settings.session_token:
        config["session_token"] = settings.session_token
    with _environment_lock:
        hidden = {name: value for name, value in os.environ.items() if name.upper().startswith("AWS_")}
        try:
            for name in hidden:
                del os.environ[name]
            return S3Store(
                prefix=settings.path or None,
                config=config,  # type: ignore[arg-type]
                client_options={
                    "allow_http": endpoint.scheme == "http",
                    "connect_timeout": _CONNECT_TIMEOUT,
                    "timeout": timeout,
                    # An explicit proxy makes it forget the environment's; a dead one for every host but the
                    # endpoint's keeps redirects from leading elsewhere.
                    "proxy_url": _NO_PROXY_LISTENS_HERE,
                    "proxy_excludes": endpoint.host,
                },
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},  # we do, and say so
            )
        finally:
            os.environ.update(hidden)


_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_STATUS = re.compile(r"status (?:code: )?(\d{3}[^,:\n]{0,40})")


_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CAUSE = re.compile(r'(?:message|error): "([^"\n]{1,200})"')


def words(problem: Exception) -> str:
    """What a failure says, on one line: the store's code and message, or the deepest cause."""
    text = str(problem) or type(problem).__name__
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    status = _STATUS.search(text)
    if status:
        return status[1].strip()
    certificate = _CERTIFICATE.search(text)
    if certificate:
        return f"its certificate is not accepted: {certificate[1]}"
    if "kind: Timeout" in text or "TimedOut" in text:
        return "no answer in time"
    causes = _CAUSE.findall(text)
    return (causes[-1] if causes else text.split("\n", 1)[0])[:300]
