# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a bucket is only what the operator's file says. Method: configurations, and what clients may name."""

import pytest

from headrace import config as configuration
from headrace.errors import InvalidArgument
from headrace.firehose.buckets import Buckets
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.firehose.destinations.s3 import S3Destination


@pytest.fixture
def buckets(tmp_path):
    def make(text=None, environ=None):
        if text is None:
            return Buckets(configuration.Config(), tmp_path)
        file = tmp_path / "headrace.toml"
        file.write_text(text)
        return Buckets(configuration.load(file, environ=environ or {}), tmp_path)

    return make


def test_without_a_file_a_bucket_is_a_directory_of_the_store(buckets, tmp_path):
    found = buckets().find("logs")
    assert isinstance(found, DirectoryDestination)
    assert found.root == tmp_path / "buckets" / "logs"


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "-x", ""])
def test_without_a_file_odd_names_are_refused(buckets, name):
    with pytest.raises(InvalidArgument, match="is not mapped"):
        buckets().find(name)


def test_beyond_loopback_every_bucket_must_be_mapped(tmp_path):
    config = configuration.load(environ={"HEADRACE__SERVER__BIND": "0.0.0.0:4567"}, path=None)
    with pytest.raises(InvalidArgument, match="is not mapped"):
        Buckets(config, tmp_path).find("logs")


def test_listening_beyond_loopback_counts_whatever_the_configuration_says(tmp_path):
    with pytest.raises(InvalidArgument, match="is not mapped"):
        Buckets(configuration.Config(), tmp_path, lambda: [("0.0.0.0", 4567)]).find("logs")


def test_with_a_file_a_bucket_that_is_not_in_it_is_refused_with_the_section_to_add(buckets):
    with pytest.raises(InvalidArgument) as caught:
        buckets("").find("logs")
    assert '[buckets."logs"]' in caught.value.message


def test_a_file_url_is_a_directory(buckets, tmp_path):
    found = buckets(f'[buckets.logs]\nurl = "file://{tmp_path}/my%20archive"').find("logs")
    assert isinstance(found, DirectoryDestination)
    assert found.root == tmp_path / "my archive"


def test_an_s3_url_is_a_bucket_whose_secrets_never_show(buckets, tmp_path):
    (tmp_path / "secret").write_text("very-secret\n")
    found = buckets(
        '[buckets.logs]\nurl = "s3://real/raw/"\nendpoint = "http://127.0.0.1:9999"\n'
        f'access_key_id = "the-key"\nsecret_access_key = {{ file = "{tmp_path}/secret" }}\n'
    ).find("logs")
    assert isinstance(found, S3Destination)
    assert found.described == "s3://real/raw at http://127.0.0.1:9999"
    assert found._settings.secret_access_key == "very-secret"
    assert "secret" not in repr(found._settings) + found.described
    assert "the-key" not in repr(found._settings) + found.described


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('url = "gs://x"', "is neither s3://bucket/path nor file:///directory"),
        ('url = "s3://"', "is neither"),
        ('url = "file://host/x"', "is not file:///absolute/path"),
        ('url = "s3://x"', "access_key_id and secret_access_key are missing"),
        ('url = "s3://x"\naccess_key_id = "a"\nsecret_access_key = {env = "NOT_SET"}', "NOT_SET"),
        (
            'url = "s3://x"\naccess_key_id = "a"\nsecret_access_key = "b"\nendpoint = "ftp://x"',
            "is not http://",
        ),
    ],
)
def test_mappings_that_cannot_work_are_refused_by_name(buckets, text, message):
    with pytest.raises(InvalidArgument) as caught:
        buckets(f"[buckets.logs]\n{text}\n").find("logs")
    assert message in caught.value.message
