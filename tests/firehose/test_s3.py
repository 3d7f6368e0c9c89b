# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a bucket is written as the operator's file says and in no other way. Method: what needs no server
here; a real one (versitygw) in tests/integration."""

import os

import pytest

from headrace.errors import DeliveryError
from headrace.firehose.destinations.s3 import S3Destination, S3Settings, check_address, open_store, words


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


def test_variables_of_the_environment_do_not_reach_the_store(monkeypatch):
    before = {"AWS_ENDPOINT_URL": "http://203.0.113.1", "AWS_SESSION_TOKEN": "t", "AWS_REGION": "eu-west-1"}
    before |= {"aws_bucket": "wrong", "AWS_SKIP_SIGNATURE": "true"}
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    shown = {str(name).lower(): value for name, value in open_store(settings()).config.items()}
    assert "203.0.113.1" not in str(shown)
    assert shown.get("aws_region", shown.get("region")) == "us-east-1"
    assert not any("token" in name or "skip" in name for name in shown)
    assert {name: os.environ[name] for name in before} == before


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "http://169.254.0.1:8080",
        "http://[fe80::1]:9000",
        "http://[fd00:ec2::254]",
        "http://[::ffff:169.254.169.254]",
        "http://0.0.0.0:9000",
    ],
)
def test_link_local_and_metadata_addresses_are_refused(endpoint):
    with pytest.raises(DeliveryError, match="deliveries never go to"):
        check_address(settings(endpoint), [])


@pytest.mark.parametrize("own", [("127.0.0.1", 4567), ("0.0.0.0", 4567)])
def test_our_own_listener_is_refused(own):
    with pytest.raises(DeliveryError, match="this very server"):
        check_address(settings("http://127.0.0.1:4567"), [own])
    with pytest.raises(DeliveryError, match="this very server"):
        check_address(settings("http://localhost:4567"), [own])
    check_address(settings("http://127.0.0.1:4568"), [own])


def test_a_name_that_does_not_resolve_is_told():
    with pytest.raises(DeliveryError, match="does not resolve"):
        check_address(settings("http://nowhere.invalid"), [])


def test_an_endpoint_that_is_down_is_a_delivery_error_without_secrets():
    destination = S3Destination(settings())
    for call in (
        lambda: destination.check("a/x"),
        lambda: destination.exists("a/x"),
        lambda: destination.put("a/x", iter([b"x"])),
    ):
        with pytest.raises(DeliveryError) as caught:
            call()
        assert "s3://real at http://127.0.0.1:1" in caught.value.message
        assert "the-secret" not in caught.value.message
        assert "the-key" not in caught.value.message


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
        ("plain\nmore", "plain"),
    ],
)
def test_failures_are_told_in_the_stores_words(text, expected):
    assert words(Exception(text)) == expected
