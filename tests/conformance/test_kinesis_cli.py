# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the AWS CLI uses Data Streams unchanged, each operation and an error of it. Method: the real `aws` as a
process, against a server in its own process."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration]

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/"


@pytest.fixture
def aws(endpoint):
    """Run `aws kinesis …`; the parsed output, or (code, message) with `fails`."""
    program = shutil.which("aws", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "the AWS CLI is not installed: pip install awscli"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
    }

    def run(command, *arguments, fails=False):
        call = [program, "kinesis", command, "--endpoint-url", endpoint, "--output", "json", *arguments]
        done = subprocess.run(call, capture_output=True, text=True, env=environment, timeout=120, check=False)
        if not fails:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout) if done.stdout.strip() else None
        assert done.returncode != 0
        head, _, message = done.stderr.strip().partition(" operation: ")
        return head.partition("(")[2].partition(")")[0], message

    return run


def decoded(answer):
    return [base64.b64decode(record["Data"]) for record in answer["Records"]]


def test_a_stream_s_life_and_descriptions(aws):
    aws("create-stream", "--stream-name", "life", "--shard-count", "1", "--tags", "k=v")
    assert aws("create-stream", "--stream-name", "life", "--shard-count", "1", fails=True) == (
        "ResourceInUseException",
        f"Stream life under account {ACCOUNT} already exists.",
    )
    found = aws("describe-stream", "--stream-name", "life")["StreamDescription"]
    assert (found["StreamARN"], found["StreamStatus"], len(found["Shards"])) == (ARN + "life", "ACTIVE", 1)
    summary = aws("describe-stream-summary", "--stream-arn", ARN + "life")["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 1
    assert "life" in aws("list-streams")["StreamNames"]
    assert len(aws("list-shards", "--stream-name", "life")["Shards"]) == 1
    aws("delete-stream", "--stream-name", "life", "--enforce-consumer-deletion")
    gone = ("ResourceNotFoundException", f"Stream life under account {ACCOUNT} not found.")
    for command in ("describe-stream", "describe-stream-summary", "list-shards", "delete-stream"):
        assert aws(command, "--stream-name", "life", fails=True) == gone
    assert aws("list-streams", "--next-token", "made-up", fails=True)[0] == "InvalidArgumentException"


def test_records(aws):
    aws("create-stream", "--stream-name", "records", "--shard-count", "1")
    name = ("--stream-name", "records")
    put = aws("put-record", *name, "--data", "one", "--partition-key", "k")
    assert put["ShardId"] == "shardId-000000000000"
    answer = aws("put-records", *name, "--records", "Data=two,PartitionKey=a", "Data=three,PartitionKey=b")
    assert answer["FailedRecordCount"] == 0
    shard = ("--shard-id", "shardId-000000000000")
    start = aws("get-shard-iterator", *name, *shard, "--shard-iterator-type", "TRIM_HORIZON")["ShardIterator"]
    found = aws("get-records", "--shard-iterator", start)
    assert decoded(found) == [b"one", b"two", b"three"]
    assert aws(
        "put-record", "--stream-name", "nowhere", "--data", "x", "--partition-key", "k", fails=True
    ) == (
        "ResourceNotFoundException",
        f"Stream nowhere under account {ACCOUNT} not found.",
    )
    assert aws("put-records", *name, "--records", "Data=x,PartitionKey=k,ExplicitHashKey=01", fails=True)[
        0
    ] == ("ValidationException")
    wrong = aws(
        "get-shard-iterator", *name, *shard, "--shard-iterator-type", "AT_SEQUENCE_NUMBER", fails=True
    )
    assert wrong[0] == "InvalidArgumentException"
    assert aws("get-records", "--shard-iterator", "abc", fails=True) == (
        "InvalidArgumentException",
        "Invalid ShardIterator.",
    )


def test_shards(aws):
    aws("create-stream", "--stream-name", "shards", "--shard-count", "2")
    name = ("--stream-name", "shards")
    aws("split-shard", *name, "--shard-to-split", "shardId-000000000000", "--new-starting-hash-key", "1000")
    merge = ("merge-shards", *name, "--shard-to-merge")
    aws(*merge, "shardId-000000000002", "--adjacent-shard-to-merge", "shardId-000000000003")
    scaling = ("--scaling-type", "UNIFORM_SCALING", "--target-shard-count")
    assert aws("update-shard-count", *name, *scaling, "3")["CurrentShardCount"] == 2
    assert len(aws("list-shards", *name, "--shard-filter", "Type=AT_LATEST")["Shards"]) == 3
    split = ("split-shard", *name, "--shard-to-split", "0", "--new-starting-hash-key", "5")
    assert aws(*split, fails=True)[0] == "InvalidArgumentException"
    absent = aws(*merge, "0", "--adjacent-shard-to-merge", "99", fails=True)
    assert absent[0] == "InvalidArgumentException"  # shard 0 was split before
    assert aws("update-shard-count", *name, *scaling, "99", fails=True)[0] == "LimitExceededException"


def test_retention_and_tags(aws):
    aws("create-stream", "--stream-name", "kept", "--shard-count", "1")
    name, resource = ("--stream-name", "kept"), ("--resource-arn", ARN + "kept")
    hours = "--retention-period-hours"
    aws("increase-stream-retention-period", *name, hours, "48")
    aws("decrease-stream-retention-period", *name, hours, "24")
    assert aws("increase-stream-retention-period", *name, hours, "9000", fails=True) == (
        "InvalidArgumentException",
        "Maximum allowed retention period is 8760 hours. Requested retention period (9000 hours) is too long.",
    )
    wrong = aws("decrease-stream-retention-period", *name, hours, "25", fails=True)
    assert wrong[0] == "InvalidArgumentException"
    aws("add-tags-to-stream", *name, "--tags", "a=1,b=2")
    aws("tag-resource", *resource, "--tags", "c=3")
    aws("remove-tags-from-stream", *name, "--tag-keys", "a")
    aws("untag-resource", *resource, "--tag-keys", "b")
    expected = [{"Key": "c", "Value": "3"}]
    assert aws("list-tags-for-stream", *name)["Tags"] == expected
    assert aws("list-tags-for-resource", *resource)["Tags"] == expected
    assert (
        aws("add-tags-to-stream", *name, "--tags", '{"a*":"1"}', fails=True)[0] == "InvalidArgumentException"
    )
    nowhere = ("--resource-arn", ARN + "nowhere")
    for command, more in (
        ("tag-resource", ("--tags", "k=v")),
        ("untag-resource", ("--tag-keys", "k")),
        ("list-tags-for-resource", ()),
    ):
        assert aws(command, *nowhere, *more, fails=True)[0] == "ResourceNotFoundException"
