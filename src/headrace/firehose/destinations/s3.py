# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A bucket behind any S3 endpoint, through obstore.

Small objects go in one request, larger ones as multipart uploads whose parts are made while others are on
their way; either is there whole or not at all. (A multipart upload that a crash cut off is never completed:
a lifecycle rule of the bucket may remove its parts.)

`open_store` is the one place where a store is built: obstore obeys AWS_* variables even beside explicit
options, so they are hidden from it, and nothing but the operator's file says where data and credentials go.

Memory of a put: SINGLE_SIZE, or (CONCURRENT + 2) parts.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace import limits
from headrace.errors import DeliveryError

SINGLE_SIZE = 8 * limits.MIB
CONCURRENT = 2
_CONNECT_TIMEOUT = timedelta(seconds=5)
_REQUEST_TIMEOUT = timedelta(seconds=30)

Address = tuple[str, int]  # of an IP address and a port

_METADATA = ipaddress.ip_address("fd00:ec2::254")
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
        store = self._open()
        try:
            obstore.put(store, probe, b"", use_multipart=False)
        except Exception as problem:
            raise self._failure("cannot write", problem) from None
        try:
            obstore.delete(store, probe)
        except Exception:
            return  # writing is enough; a policy may well forbid to delete

    def exists(self, key: str) -> bool:
        import obstore
        from obstore.exceptions import NotFoundError

        try:
            obstore.head(self._open(), key)
        except (FileNotFoundError, NotFoundError):
            return False
        except PermissionError:
            return False  # without the right to list, S3 says 403 for what is not there: write it again
        except Exception as problem:
            raise self._failure(f"cannot look for {key}", problem) from None
        return True

    def put(self, key: str, chunks: Iterator[bytes]) -> int:
        import obstore

        store = self._open()
        counted = _Counted(chunks)
        try:
            first = _up_to(counted, SINGLE_SIZE)
            if len(first) < SINGLE_SIZE:
                obstore.put(store, key, first, use_multipart=False)
            else:
                obstore.put(
                    store,
                    key,
                    itertools.chain((first,), counted),
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
        if self._store is None:
            check_address(self._settings, self._own())
            self._store = open_store(self._settings)
        return self._store

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


def open_store(settings: S3Settings) -> Any:
    """The one place where an obstore store is built."""
    from obstore.store import S3Store

    config: dict[str, Any] = {
        "bucket": settings.bucket,
        "region": settings.region,
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
    }
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
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
                    "allow_http": (settings.endpoint or "").startswith("http://"),
                    "connect_timeout": _CONNECT_TIMEOUT,
                    "timeout": _REQUEST_TIMEOUT,
                },
                retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},  # we do, and say so
            )
        finally:
            os.environ.update(hidden)


def check_address(settings: S3Settings, own: Iterable[Address]) -> None:
    """Refuse endpoints that are machines' own affairs: link-local, metadata, and ourselves."""
    if not settings.endpoint:
        return
    parts = urlsplit(settings.endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = f"endpoint {settings.endpoint} of bucket {settings.bucket}"
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise DeliveryError(f"{place} does not resolve: {problem.strerror or problem}") from None
    listening = set(own)
    for *_, target in found:
        address = ipaddress.ip_address(str(target[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified or mapped == _METADATA:
            raise DeliveryError(f"{place} is {mapped}, an address that deliveries never go to")
        if any(_is_ours(mapped, port, host, number) for host, number in listening):
            raise DeliveryError(f"{place} is this very server; deliver to another one")


def _is_ours(address: Any, port: int, host: str, number: int) -> bool:
    """Whether an address reaches the listener on host:number."""
    listening = ipaddress.ip_address(host)
    return port == number and (address == listening or (listening.is_unspecified and address.is_loopback))


_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_STATUS = re.compile(r"status (?:code: )?(\d{3}[^,:\n]{0,40})")


def words(problem: Exception) -> str:
    """What a failure of obstore says, on one line: the store's code and message, or the deepest cause."""
    text = str(problem)
    code, message = _CODE.search(text), _MESSAGE.search(text)
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    status = _STATUS.search(text)
    if status:
        return status[1].strip()
    causes = re.findall(r"(?:source: |: )([A-Za-z][^{}\"\n]{3,120})", text)
    first = text.split("\n", 1)[0]
    return (causes[-1] if len(first) > 300 and causes else first)[:300]
