# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: deliveries go to no address that is a machine's own affair, ours, or far away in clear. Method:
numeric endpoints of each kind, and names whose addresses the test says."""

import socket

import pytest

from headrace.errors import ConfigurationError, DeliveryError
from headrace.firehose import outbound
from headrace.firehose.outbound import Endpoint, check


@pytest.fixture
def resolve(monkeypatch):
    """Let every name stand for the addresses given."""

    def to(*addresses):
        def answer(_host, port, **_options):
            return [(None, None, None, "", (address, port)) for address in addresses]

        monkeypatch.setattr(outbound.socket, "getaddrinfo", answer)

    return to


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://a", "a", 80),
        ("https://a", "a", 443),
        ("https://a:9000/minio", "a", 9000),
        ("http://[::1]:1", "::1", 1),
    ],
)
def test_an_endpoint_has_the_parts_of_its_url(url, host, port):
    found = Endpoint(url)
    assert (found.url, found.host, found.port) == (url, host, port)


@pytest.mark.parametrize(
    "url",
    ["", "a:9000", "ftp://a", "http://", "http://:9000", "http://a:0", "http://a:99999", "http://a:x",
     "http://[::1", "http://a?b", "http://a#b"],
)  # fmt: skip
def test_what_is_not_an_endpoint_is_refused(url):
    with pytest.raises(ConfigurationError, match="endpoint"):
        Endpoint(url)


def test_a_password_in_an_endpoint_is_refused_and_not_repeated():
    with pytest.raises(ConfigurationError, match="must not hold a user or password") as caught:
        Endpoint("https://me:very-secret@a")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "https://169.254.169.254",
        "http://169.254.0.1:8080",
        "http://[fe80::1]:9000",
        "http://[fd00:ec2::254]",
        "http://[::ffff:169.254.169.254]",
        "http://0.0.0.0:9000",
        "http://[::]:9000",
        "http://224.0.0.1",
        "http://0xa9fea9fe",
        "http://2852039166",
    ],
)
def test_link_local_and_metadata_addresses_are_refused(endpoint):
    with pytest.raises(DeliveryError, match="deliveries never go to"):
        check(Endpoint(endpoint), [])


def test_a_name_with_one_refused_address_among_others_is_refused(resolve):
    resolve("10.0.0.1", "169.254.169.254")
    with pytest.raises(DeliveryError, match=r"169\.254\.169\.254"):
        check(Endpoint("https://store.example"), [])


def test_a_name_is_resolved_anew_each_time(resolve):
    endpoint = Endpoint("https://store.example")
    resolve("10.0.0.1")
    check(endpoint, [])
    resolve("169.254.169.254")
    with pytest.raises(DeliveryError):
        check(endpoint, [])


def test_http_goes_to_private_addresses_only(resolve):
    for near in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "::1", "fd12::1", "100.64.0.1"):
        resolve(near)
        check(Endpoint("http://store.example"), [])
    for far in ("52.216.0.1", "2600:1fa0::1"):
        resolve(far)
        check(Endpoint("https://store.example"), [])
        with pytest.raises(DeliveryError, match="use https://"):
            check(Endpoint("http://store.example"), [])


@pytest.mark.parametrize(
    "own", [("127.0.0.1", 4567), ("0.0.0.0", 4567), ("::", 4567), ("::ffff:127.0.0.1", 4567)]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_our_own_listener_is_refused(own, host):
    with pytest.raises(DeliveryError, match="this very server"):
        check(Endpoint(f"http://{host}:4567"), [own])
    check(Endpoint(f"http://{host}:4568"), [own])


def test_our_own_listener_on_every_address_is_refused_by_each_name_of_this_machine(resolve):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outwards:
        try:
            outwards.connect(("192.0.2.1", 9))  # sends nothing; says which of our addresses it would use
            ours = outwards.getsockname()[0]
        except OSError:
            ours = "127.0.0.3"
    resolve(ours)
    with pytest.raises(DeliveryError, match="this very server"):
        check(Endpoint("http://store.example:4567"), [("0.0.0.0", 4567)])
    resolve("10.255.255.254")
    check(Endpoint("http://store.example:4567"), [("0.0.0.0", 4567)])


def test_another_listener_on_our_port_is_not_ours():
    check(Endpoint("http://127.0.0.2:4567"), [("127.0.0.1", 4567)])


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".example", "a..b"])
def test_a_name_that_does_not_resolve_is_told(host):
    with pytest.raises(DeliveryError, match="does not resolve"):
        check(Endpoint(f"http://{host}"), [])
