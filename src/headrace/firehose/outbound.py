# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Which addresses deliveries may go to: not machines' own affairs, not ourselves, and nothing in clear far away.

    endpoint = Endpoint("https://minio.example:9000")    # ConfigurationError for what is not one
    check(endpoint, own)                                 # before each request; DeliveryError says why not

Link-local and metadata addresses hand out a machine's credentials; a delivery into our own listener would
feed itself. Names are resolved anew each time, since both what a name means and where we listen may change.

Cost of a check: one getaddrinfo (50 µs for a numeric address or one in /etc/hosts).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, DeliveryError

Address = tuple[str, int]  # of an IP address and a port
_IP = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = ipaddress.ip_address("fd00:ec2::254")
_PORTS = {"http": 80, "https": 443}


class Endpoint:
    """A parsed http:// or https:// URL.

    Attributes:
        url: as it was given. scheme, host, port: its parts; the port is the scheme's where none is given.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as problem:
            raise ConfigurationError(f"endpoint {url} is not a URL: {problem}") from None
        if "@" in parts.netloc:  # not shown: what stands before the @ is a secret
            raise ConfigurationError("endpoint must not hold a user or password: use the keys for these")
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or port == 0:
            raise ConfigurationError(f"endpoint {url} is not http://… or https://… with a host")
        self.url = url
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = port or _PORTS[parts.scheme]


def check(endpoint: Endpoint, own: Iterable[Address]) -> None:
    """Refuse an endpoint by what its name stands for at this moment. Raises DeliveryError.

    own: addresses on which this process listens.
    """
    place = f"endpoint {endpoint.url}"
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise DeliveryError(f"{place} does not resolve: {reason}") from None
    listening = set(own)
    for *_, target in found:
        address = _address(str(target[0]))
        if address.is_link_local or address.is_multicast or address.is_unspecified or address == _METADATA:
            raise DeliveryError(f"{place} is {address}, an address that deliveries never go to")
        if any(_is_ours(address, endpoint.port, host, port) for host, port in listening):
            raise DeliveryError(f"{place} is this very server; deliver to another one")
        if endpoint.scheme == "http" and address.is_global:
            raise DeliveryError(f"{place} is {address}, beyond the private network: use https://")


def _address(text: str) -> _IP:
    """The address that a text stands for; an IPv4 address in IPv6's clothes is one of IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_ours(address: _IP, port: int, host: str, number: int) -> bool:
    """Whether an address reaches the listener on host:number."""
    if port != number:
        return False
    listening = _address(host)
    return address == listening or (listening.is_unspecified and _is_of_this_machine(address))


def _is_of_this_machine(address: _IP) -> bool:
    """Whether one of our interfaces has it: then, and only then, may a socket be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
