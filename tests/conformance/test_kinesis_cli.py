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

from headrace.streams import OPERATIONS

pytestmark = [pytest.mark.integration]

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/"


@pytest.fixture
def aws(endpoint):
    """Run `aws kinesis …`; the parsed output, or (code, message) with `fails`."""
    places = [Path(sys.executable).parent, os.environ["PATH"]]
    if "HEADRACE_COMPONENTS" in os.environ:
        places.insert(0, Path(os.environ["HEADRACE_COMPONENTS"]) / "awscli" / "bin")
    program = shutil.which("aws", path=os.pathsep.join(map(str, places)))
    assert program, (
        "the AWS CLI is not installed: `. .ci/components.sh && install_awscli`, or pip install awscli"
    )
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


def test_pages(aws):
    """The CLI follows pages by itself."""
    for number in range(3):
        aws("create-stream", "--stream-name", f"page-{number}", "--shard-count", "2")
    listed = aws("list-streams", "--page-size", "1")["StreamNames"]
    assert [name for name in listed if name.startswith("page-")] == ["page-0", "page-1", "page-2"]
    after = aws("list-streams", "--exclusive-start-stream-name", "page-0", "--limit", "2")["StreamNames"]
    assert after == ["page-1", "page-2"]
    described = aws("describe-stream", "--stream-name", "page-0", "--page-size", "1")["StreamDescription"]
    assert len(described["Shards"]) == 2
    first = aws("list-shards", "--stream-name", "page-0", "--max-results", "1", "--no-paginate")
    last = aws("list-shards", "--next-token", first["NextToken"])
    assert [shard["ShardId"][-1] for shard in first["Shards"] + last["Shards"]] == ["0", "1"]


def test_on_demand_streams_and_waiters(aws):
    name = ("--stream-name", "demand")
    aws(
        "create-stream",
        *name,
        "--stream-mode-details",
        "StreamMode=ON_DEMAND",
        "--max-record-size-in-ki-b",
        "2048",
    )
    aws("wait", "stream-exists", *name)
    summary = aws("describe-stream-summary", *name)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["MaxRecordSizeInKiB"]) == (4, 2048)
    aws("delete-stream", *name)
    aws("wait", "stream-not-exists", *name)


# One error of each operation: the words of the command line, and the code that it prints.
ERRORS = {
    "CreateStream": ("create-stream --stream-name errors --shard-count 1", "ResourceInUseException"),
    "DeleteStream": ("delete-stream --stream-name nowhere", "ResourceNotFoundException"),
    "DescribeStream": ("describe-stream --stream-name nowhere", "ResourceNotFoundException"),
    "DescribeStreamSummary": (
        f"describe-stream-summary --stream-arn {ARN}nowhere",
        "ResourceNotFoundException",
    ),
    "ListStreams": ("list-streams --next-token made-up", "InvalidArgumentException"),
    "ListShards": (
        "list-shards --stream-name errors --shard-filter Type=AT_TIMESTAMP",
        "InvalidArgumentException",
    ),
    "PutRecord": ("put-record --stream-name nowhere --data x --partition-key k", "ResourceNotFoundException"),
    "PutRecords": (
        "put-records --stream-name errors --records Data=x,PartitionKey=k,ExplicitHashKey=01",
        "ValidationException",
    ),
    "GetShardIterator": (
        "get-shard-iterator --stream-name errors --shard-id shardId-000000000009 --shard-iterator-type LATEST",
        "ResourceNotFoundException",
    ),
    "GetRecords": ("get-records --shard-iterator abc", "InvalidArgumentException"),
    "SplitShard": (
        "split-shard --stream-name errors --shard-to-split 0 --new-starting-hash-key 0",
        "InvalidArgumentException",
    ),
    "MergeShards": (
        "merge-shards --stream-name errors --shard-to-merge 0 --adjacent-shard-to-merge 9",
        "ResourceNotFoundException",
    ),
    "UpdateShardCount": (
        "update-shard-count --stream-name errors --target-shard-count 9 --scaling-type UNIFORM_SCALING",
        "LimitExceededException",
    ),
    "IncreaseStreamRetentionPeriod": (
        "increase-stream-retention-period --stream-name errors --retention-period-hours 9000",
        "InvalidArgumentException",
    ),
    "DecreaseStreamRetentionPeriod": (
        "decrease-stream-retention-period --stream-name errors --retention-period-hours 1",
        "InvalidArgumentException",
    ),
    "AddTagsToStream": (
        'add-tags-to-stream --stream-name errors --tags {"a*":"1"}',
        "InvalidArgumentException",
    ),
    "RemoveTagsFromStream": (
        "remove-tags-from-stream --stream-name nowhere --tag-keys k",
        "ResourceNotFoundException",
    ),
    "ListTagsForStream": ("list-tags-for-stream --stream-name nowhere", "ResourceNotFoundException"),
    "TagResource": (f"tag-resource --resource-arn {ARN}nowhere --tags k=v", "ResourceNotFoundException"),
    "UntagResource": (
        f"untag-resource --resource-arn {ARN}nowhere --tag-keys k",
        "ResourceNotFoundException",
    ),
    "ListTagsForResource": (
        f"list-tags-for-resource --resource-arn {ARN}nowhere",
        "ResourceNotFoundException",
    ),
}


def test_each_operation_has_an_error_that_the_cli_shows_by_its_code(aws):
    assert set(ERRORS) == set(OPERATIONS)
    aws("create-stream", "--stream-name", "errors", "--shard-count", "1")
    found = {name: aws(*words.split(), fails=True)[0] for name, (words, _) in ERRORS.items()}
    assert found == {name: code for name, (_, code) in ERRORS.items()}
