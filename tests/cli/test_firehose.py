# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: deliveries are listed, described and watched, from a directory and from a server. Method: the command
in this process, against a store with one delivery into a directory and one whose source is a stream."""

import io
import json

import pytest
from rich.console import Console

from headrace.cli import firehose, main
from headrace.log import Log
from headrace.server.app import ServerThread, Site

ROLE = "arn:aws:iam::000000000000:role/firehose"
HINTS = {"SizeInMBs": 1, "IntervalInSeconds": 0}


def call(service, operation, **members):
    answer = service.call(operation, json.dumps(members).encode())
    for lane, ticket in getattr(answer, "offsets", ()):
        lane.commit(ticket)
    assert getattr(answer, "status", 200) == 200, answer.body
    return answer


@pytest.fixture
def site(tmp_path):
    log = Log.open(tmp_path / "store", background=False)
    site = Site(log)
    site.streams.create("s")
    firehose = site.services["Firehose_20150804"]
    destination = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::logs", "BufferingHints": HINTS}
    call(
        firehose,
        "CreateDeliveryStream",
        DeliveryStreamName="direct",
        S3DestinationConfiguration={**destination, "CompressionFormat": "GZIP", "Prefix": "a/"},
    )
    call(
        firehose,
        "CreateDeliveryStream",
        DeliveryStreamName="from-stream",
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": site.streams.stream("s").arn, "RoleARN": ROLE},
        ExtendedS3DestinationConfiguration=destination,
    )
    yield site
    log.close()


def rows(capsys, *words):
    assert main(["firehose", *words, "-o", "json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(params=["store", "endpoint"])
def where(request, site):
    if request.param == "store":
        yield ["--store", str(site.log.directory)]
        return
    with ServerThread(site) as server:
        yield ["--endpoint", server.url]


def test_deliveries_are_listed_with_source_and_destination(capsys, where):
    direct, other = rows(capsys, *where)
    if "--store" in where:  # it knows of no failure, and does not say that there is none
        assert "error" not in direct
        direct["error"] = ""
    assert direct == {
        "delivery": "direct", "status": "ACTIVE", "source": "DirectPut", "bucket": "logs", "prefix": "a/",
        "compression": "GZIP", "size_mb": 1, "interval_s": 0, "error": "",
    }  # fmt: skip
    assert (other["delivery"], other["source"]) == ("from-stream", "s")


def test_one_delivery_is_described_by_its_name(capsys, where):
    for words in (["describe", "direct"], ["direct"]):
        (found,) = rows(capsys, *words, *where)
        assert found["arn"] == "arn:aws:firehose:us-east-1:000000000000:deliverystream/direct"
        assert found["role"] == ROLE


def test_a_directory_says_who_knows_of_failures_and_an_endpoint_tells_them(capsys, site):
    deliveries = site.services["Firehose_20150804"].deliveries
    deliveries.failures["direct"] = "no space left"
    assert main(["firehose", "--store", str(site.log.directory)]) == 0
    assert "ask --endpoint URL" in capsys.readouterr().err
    with ServerThread(site) as server:
        deliveries.failures["direct"] = "no space left"
        found = rows(capsys, "--endpoint", server.url)
        said = capsys.readouterr().err
    assert found[0]["error"] == "no space left"
    assert said == ""


def test_a_delivery_that_is_not_there_is_an_error_with_the_names_there_are(capsys, where):
    assert main(["firehose", "describe", "none", *where]) == 1
    assert "direct, from-stream" in capsys.readouterr().err


def test_what_an_endpoint_does_not_have_is_looked_for_among_deliveries(capsys, site):
    with ServerThread(site) as server:
        assert main(["firehose", "watch", "none", "--endpoint", server.url]) == 1
    assert "headrace firehose lists what is there" in capsys.readouterr().err


def test_a_server_is_watched(capsys, site):
    with ServerThread(site) as server:
        call(
            site.services["Firehose_20150804"],
            "PutRecord",
            DeliveryStreamName="direct",
            Record={"Data": "eHh4eHh4eHh4eHh4"},
        )
        found = rows(
            capsys, "watch", "direct", "--endpoint", server.url, "--every", "0.1", "--seconds", "1.5"
        )
    assert len(found) > 3
    assert {row["delivery"] for row in found} == {"direct"}
    assert found[-1]["objects"] >= 1
    assert found[-1]["status"] == "ACTIVE"
    assert found[-1]["error"] == ""


def test_csv_that_is_watched_has_one_header(capsys, site):
    with ServerThread(site) as server:
        words = ["watch", "--endpoint", server.url, "--every", "0.05", "--seconds", "0.5", "-o", "csv"]
        assert main(["firehose", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 4
    assert [line for line in lines if line.startswith("delivery,status,")] == lines[:1]


@pytest.mark.parametrize("width", [80, 120])
def test_what_is_watched_fits_without_a_broken_word(width):
    error = "connecting to the destination failed: no space left on the device that holds it"
    row = {
        "delivery": "telemetry-archive", "status": "ACTIVE", "records_per_s": 12_345.0, "bytes_per_s": 1_234_567.0,
        "objects": 12_345, "compression": 12.3, "buffered_records": 5, "buffered_bytes": 123_456_789,
        "flush_s": 299.0, "retries": 123, "error": error,
    }  # fmt: skip
    console = Console(width=width, file=io.StringIO())
    console.print(firehose._table([row, row | {"delivery": "d", "error": ""}], width))
    shown = console.file.getvalue()
    for word in ("telemetry-archive", "ACTIVE", "records/s", "12,345", "1.2 MiB/s", "117.7 MiB", "299 s"):
        assert word in shown
    assert ("retries" in shown) == (width == 120)
    assert error in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["describe"], "wants a NAME"),
        (["watch", "--store", "x"], "asks a running server"),
        (["fly", "x"], "'fly' is no action"),
        (["list", "x"], "firehose list takes no name"),
        (["watch", "--endpoint", "http://127.0.0.1:1", "--every", "0"], "--every 0.0 is not a time"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(capsys, words, message):
    assert main(["firehose", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_told(capsys):
    assert main(["firehose", "--endpoint", "http://127.0.0.1:1"]) == 4
    assert "does not answer" in capsys.readouterr().err
