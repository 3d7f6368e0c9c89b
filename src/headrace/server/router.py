# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where a request goes: from X-Amz-Target to a service, from a path to a page, and who may ask.

A service is any object with `call(operation: str, body: memoryview) -> Answer | Pending | awaitable` that names
in `operations` what it takes: other names do not reach it, and get no metrics of their own. It may
name in `blocking` (a set of operations) those that wait for the world: they run in a thread and get bytes.
The body is valid during the call only. Errors of headrace.errors may be raised instead of answered.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from headrace.server._answers import Route

Page = tuple[int, bytes, bytes, bytes | None]  # status, content type, body, further header lines
METRICS = b"/-/metrics"
JSON = b"application/json"
JSON_TYPES = (b"application/x-amz-json-1.1", b"application/x-amz-json-1.0", JSON)
_BEARER = re.compile(rb"\nauthorization:[ \t]*bearer[ \t]+([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)


class Service(Protocol):
    """What answers the operations of one X-Amz-Target prefix."""

    @property
    def operations(self) -> Collection[str]: ...

    def call(self, operation: str, body: Any) -> Any: ...


class Router:
    """Decides for the connections of one server; every method is cheap and most answers are remembered there.

    services: X-Amz-Target prefix -> service.
    pages: path -> a function that makes the page; GET and HEAD only.
    allowed_hosts: names beyond loopback under which clients may ask (DNS rebinding is kept out).
    beyond_loopback: the server listens on other addresses, unauthenticated, because it was told to: then
        addresses and names without a dot are taken too, which no attacker can own in the public DNS.
    metrics_token: what opens the metrics beyond loopback; None: nothing does.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        pages: Mapping[bytes, Callable[[], Page]],
        *,
        allowed_hosts: tuple[str, ...] = (),
        beyond_loopback: bool = False,
        metrics_token: str | None = None,
    ) -> None:
        self.services = dict(services)
        self.pages = dict(pages)
        self._allowed = frozenset(host.lower().rstrip(".") for host in allowed_hosts)
        self._beyond_loopback = beyond_loopback
        self._metrics_token = metrics_token

    def resolve(self, target: bytes) -> Route | tuple[int, str, str]:
        """The route of an X-Amz-Target, or status, code and message of the refusal."""
        text = target.decode("latin-1")
        prefix, dot, operation = text.partition(".")
        service = self.services.get(prefix)
        if not target:
            message = "The header X-Amz-Target is missing: it names service and operation"
        elif not dot or not operation or len(text) > 256:
            message = f"The X-Amz-Target {text[:256]!r} does not name a service and an operation"
        elif service is None:
            message = f"The service {prefix!r} is not one of this server: {', '.join(sorted(self.services))}"
        elif operation not in service.operations:
            message = f"{operation} is not an operation of this version of headrace."
        else:
            blocking = operation in getattr(service, "blocking", ())
            return Route(service.call, prefix, operation, blocking)
        return 400, "UnknownOperationException", message

    def host_allowed(self, host: bytes) -> bool:
        """May a client have reached us by this Host header (API: security defaults, browser attacks)?"""
        name = _host_name(host.decode("latin-1")).lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._allowed:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return self._beyond_loopback and bool(name) and "." not in name
        return address.is_loopback or self._beyond_loopback

    def origin_allowed(self, origin: bytes, host: bytes) -> bool:
        """Does the Origin header, which browsers send, name this very server?"""
        return origin.lower() in (b"http://" + host.lower(), b"https://" + host.lower())

    def content_type(self, content_type: bytes) -> bytes | None:
        """The type to answer with (the request's own), or None where it is not understood."""
        name = content_type.split(b";", 1)[0].strip().lower()
        return name if name in JSON_TYPES else None

    def page(self, method: str, path: bytes, head: bytes = b"") -> Page:
        """The answer to everything that is not an operation. head: all of it, where it has an Authorization."""
        page = self.pages.get(path)
        if page is None:
            if path == b"/":
                return _error(
                    405, "MethodNotAllowedException", "Operations are asked for by POST", b"Allow: POST\r\n"
                )
            return _error(
                404, "UnknownOperationException", f"There is nothing at {path.decode('latin-1')[:256]!r}"
            )
        if method not in ("GET", "HEAD"):
            return _error(
                405, "MethodNotAllowedException", "This page is read by GET", b"Allow: GET, HEAD\r\n"
            )
        if path == METRICS and not self._metrics_allowed(head):
            return _error(
                403,
                "AccessDeniedException",
                "Beyond loopback the metrics are for those who send Authorization: Bearer TOKEN, with the "
                "metrics_token of [server]",
            )
        return page()

    def _metrics_allowed(self, head: bytes) -> bool:
        if not self._beyond_loopback:
            return True
        found = _BEARER.search(head)
        if found is None or self._metrics_token is None:
            return False
        return hmac.compare_digest(found[1], self._metrics_token.encode())


def _host_name(host: str) -> str:
    """The name in "name", "name:port", "[::1]" or "[::1]:port"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def _error(status: int, code: str, message: str, extra: bytes | None = None) -> Page:
    return status, JSON, json.dumps({"__type": code, "message": message}).encode(), extra
