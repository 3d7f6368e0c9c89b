# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: GetShardIterator and GetRecords: every type of iterator, every refusal, the end of a shard, lag."""

from base64 import b64decode

import pytest

from headrace.core._wire import sequence_number
from headrace.log.control import DIRTY, ControlFile

ACCOUNT = "000000000000"
NOW_S = 1_700_000_000.25
MUST = (
    "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
    "(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. "
)


@pytest.fixture
def filled(kinesis):
    """One shard with the records 0 … 9, a second apart."""
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    kinesis.numbers = []
    for i in range(10):
        kinesis.numbers += [answer["SequenceNumber"] for answer in kinesis.put("a", str(i))]
        kinesis.clock.advance(1_000)
    return kinesis


def got(kinesis, iterator, **members):
    answer = kinesis("GetRecords", ShardIterator=iterator, **members)
    answer["Records"] = [b64decode(record["Data"]).decode() for record in answer["Records"]]
    return answer


def test_each_type_starts_where_it_says(filled):
    assert filled.read("a", kind="TRIM_HORIZON") == list("0123456789")
    assert filled.read("a", kind="LATEST") == []
    assert filled.read("a", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=filled.numbers[7]) == list(
        "789"
    )
    assert filled.read("a", kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=filled.numbers[7]) == list(
        "89"
    )
    assert filled.read("a", kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=filled.numbers[9]) == []
    assert filled.read("a", kind="AT_TIMESTAMP", Timestamp=NOW_S + 7) == list("789")
    assert filled.read("a", kind="AT_TIMESTAMP", Timestamp=NOW_S + 7.001) == list("89")
    assert filled.read("a", kind="AT_TIMESTAMP", Timestamp=0) == list("0123456789")
    assert filled.read("a", kind="AT_TIMESTAMP", Timestamp=NOW_S + 10) == []


def test_the_first_sequence_number_of_a_shard_is_a_place_to_start(filled):
    shard = filled("ListShards", StreamName="a")["Shards"][0]
    first = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    assert filled.read("a", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=first) == list("0123456789")


def test_records_carry_what_was_put(filled):
    record = filled("GetRecords", ShardIterator=filled.iterator("a"))["Records"][3]
    assert record == {
        "SequenceNumber": filled.numbers[3],
        "ApproximateArrivalTimestamp": NOW_S + 3,
        "Data": "Mw==",
        "PartitionKey": "k",
    }


def test_reading_goes_on_from_iterator_to_iterator(filled):
    found, iterator = [], filled.iterator("a")
    while len(found) < 10:
        answer = got(filled, iterator, Limit=3)
        found += answer["Records"]
        iterator = answer["NextShardIterator"]
    assert found == list("0123456789")
    assert got(filled, iterator)["Records"] == []
    filled.put("a", "later")
    assert got(filled, iterator)["Records"] == ["later"]


def test_an_iterator_may_be_used_again(filled):
    iterator = filled.iterator("a")
    assert (
        got(filled, iterator, Limit=2)["Records"] == got(filled, iterator, Limit=2)["Records"] == ["0", "1"]
    )


def test_lag_is_zero_at_the_tip_and_truthful_behind_it(filled):
    answer = got(filled, filled.iterator("a"), Limit=3)
    assert answer["MillisBehindLatest"] == 8_000
    filled.clock.advance(500)
    answer = got(filled, answer["NextShardIterator"], Limit=6)
    assert answer["MillisBehindLatest"] == 2_500
    answer = got(filled, answer["NextShardIterator"])
    assert (answer["Records"], answer["MillisBehindLatest"]) == (["9"], 0)
    assert got(filled, answer["NextShardIterator"])["MillisBehindLatest"] == 0


def test_an_answer_has_at_most_ten_mebibytes_and_the_limit(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    for _ in range(3):
        records = [{"Data": bytes([65 + i]) * 1_000_000, "PartitionKey": "k"} for i in range(10)]
        kinesis("PutRecords", StreamName="a", Records=records)
    found, iterator = 0, kinesis.iterator("a")
    while found < 30:
        answer = kinesis("GetRecords", ShardIterator=iterator)
        size = sum(len(b64decode(record["Data"])) + 1 for record in answer["Records"])
        assert 0 < size <= 10 << 20
        found, iterator = found + len(answer["Records"]), answer["NextShardIterator"]
    code, message = kinesis.refused("GetRecords", ShardIterator=iterator, Limit=10_001)
    assert code == "ValidationException" and message.endswith("less than or equal to 10000")


def test_a_closed_shard_ends_with_its_children(filled):
    before = filled.iterator("a")
    filled("SplitShard", StreamName="a", ShardToSplit="shardId-000000000000", NewStartingHashKey="100")
    answer = got(filled, before, Limit=4)
    assert answer["Records"] == list("0123") and "ChildShards" not in answer
    answer = got(filled, answer["NextShardIterator"])
    assert answer["Records"] == list("456789")
    assert answer["NextShardIterator"] is None
    assert answer["MillisBehindLatest"] == 0
    parents = ["shardId-000000000000"]
    assert answer["ChildShards"] == [
        {
            "ShardId": "shardId-000000000001",
            "ParentShards": parents,
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "99"},
        },
        {
            "ShardId": "shardId-000000000002",
            "ParentShards": parents,
            "HashKeyRange": {"StartingHashKey": "100", "EndingHashKey": str((1 << 128) - 1)},
        },
    ]
    for kind in ("LATEST", "TRIM_HORIZON"):
        answer = got(filled, filled.iterator("a", kind=kind))
        assert (answer["NextShardIterator"], len(answer["ChildShards"])) == (None, 2)
    ending = filled("ListShards", StreamName="a")["Shards"][0]["SequenceNumberRange"]["EndingSequenceNumber"]
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        answer = got(filled, filled.iterator("a", kind=kind, StartingSequenceNumber=ending))
        assert (answer["Records"], answer["NextShardIterator"]) == ([], None)


def test_a_merged_shard_names_both_parents(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=2)
    kinesis("MergeShards", StreamName="a", ShardToMerge="0", AdjacentShardToMerge="1")
    for shard in (0, 1):
        (child,) = got(kinesis, kinesis.iterator("a", shard))["ChildShards"]
        assert child["ParentShards"] == ["shardId-000000000000", "shardId-000000000001"]


def test_an_iterator_outlives_a_restart_and_expires_after_five_minutes(filled):
    iterator = filled.iterator("a", kind="LATEST")
    filled.reopen()
    filled.put("a", "later")
    filled.clock.advance(300_000)
    assert got(filled, iterator)["Records"] == ["later"]
    filled.clock.advance(1)
    assert filled.refused("GetRecords", ShardIterator=iterator) == (
        "ExpiredIteratorException",
        "Iterator expired. The iterator was created at time Tue Nov 14 22:13:30 UTC 2023 while right now it is "
        "Tue Nov 14 22:18:30 UTC 2023 which is further in the future than the tolerated delay of "
        "300000 milliseconds.",
    )


def test_what_is_not_an_iterator_is_refused(filled):
    good = filled.iterator("a")
    assert len(good) <= 512
    invalid = ("InvalidArgumentException", "Invalid ShardIterator.")
    token = filled.streams.sealer.seal(2, filled.clock.now_ms(), b"x" * 30)
    for text in ("abc", "AAAA", good[:-4], good[4:], good + "AAAA", "é", good.swapcase(), token):
        assert filled.refused("GetRecords", ShardIterator=text) == invalid
    assert filled.refused("GetRecords", ShardIterator="a" * 513)[0] == "ValidationException"
    assert filled.refused("GetRecords", ShardIterator="")[0] == "ValidationException"
    assert filled.refused("GetRecords")[0] == "ValidationException"


def test_the_arn_beside_an_iterator_must_be_its_stream_s(filled):
    filled("CreateStream", StreamName="b", ShardCount=1)
    arn = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/"
    iterator = filled.iterator("a")
    assert len(got(filled, iterator, StreamARN=arn + "a")["Records"]) == 10
    assert filled.refused("GetRecords", ShardIterator=iterator, StreamARN=arn + "b") == (
        "InvalidArgumentException",
        f"ShardIterator is not of the stream {arn}b.",
    )


@pytest.mark.parametrize(
    ("kind", "members", "message"),
    [
        ("AT_SEQUENCE_NUMBER", {}, MUST + "Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."),
        ("AFTER_SEQUENCE_NUMBER", {}, MUST + "Request specified AFTER_SEQUENCE_NUMBER and no StartingSequenceNumber."),
        ("LATEST", {"StartingSequenceNumber": "5"}, MUST + "Request specified LATEST and also a StartingSequenceNumber."),
        (
            "TRIM_HORIZON",
            {"StartingSequenceNumber": "5"},
            MUST + "Request specified TRIM_HORIZON and also a StartingSequenceNumber.",
        ),
        (
            "AT_TIMESTAMP",
            {},
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. "
            "Current request has no timestamp parameter.",
        ),
        (
            "AT_TIMESTAMP",
            {"Timestamp": NOW_S + 10.001},
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            "timestampInMillis: 1700000010251, currentTimestampInMillis: 1700000010250",
        ),
    ],
)  # fmt: skip
def test_a_type_needs_its_own_starting_point(filled, kind, members, message):
    assert filled.refused(
        "GetShardIterator", StreamName="a", ShardId="shardId-000000000000", ShardIteratorType=kind, **members
    ) == ("InvalidArgumentException", message)


def at(kinesis, number, shard="shardId-000000000000", name="a"):
    return kinesis.refused(
        "GetShardIterator",
        StreamName=name,
        ShardId=shard,
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=number,
    )


def test_a_sequence_number_must_be_of_this_shard_and_this_stream(filled):
    used = f"used in GetShardIterator on shard shardId-000000000000 in stream a under account {ACCOUNT} is invalid"
    other_shard = sequence_number(1_700_000_000, 7, 3, 0)
    assert at(filled, other_shard) == (
        "InvalidArgumentException",
        "Invalid StartingSequenceNumber. It encodes shardId-000000000007, "
        "while it was used in a call to a shard with shardId-000000000000",
    )
    other_stream = sequence_number(1_600_000_000, 0, 3, 0)
    assert at(filled, other_stream) == (
        "InvalidArgumentException",
        f"StartingSequenceNumber {other_stream} {used} because it did not come from this stream.",
    )
    for digits in (
        "20000000000800000000000000000000000000000000002",
        "20000000000000000000000000000000000000800000002",
        "20000000000000000000000000000000000000000000003",
    ):
        number = str(int(digits, 16))
        assert at(filled, number) == ("InvalidArgumentException", f"StartingSequenceNumber {number} {used}.")


def test_numbers_of_the_service_s_first_form_are_told_apart(filled):
    used = f"used in GetShardIterator on shard shardId-000000000000 in stream a under account {ACCOUNT} is invalid"
    assert at(filled, "5") == (
        "InvalidArgumentException",
        "Invalid StartingSequenceNumber. It encodes shardId-000000000005, "
        "while it was used in a call to a shard with shardId-000000000000",
    )
    assert at(filled, "0") == (
        "InvalidArgumentException",
        f"StartingSequenceNumber 21267647932558653966460912964485513216 {used} "
        "because it did not come from this stream.",
    )
    dated = str(int("13bb2cc3d80000000000000000000000", 16))
    assert at(filled, dated) == (
        "InvalidArgumentException",
        f"StartingSequenceNumber 26227199374822427428162556223570313216 {used}.",
    )


def test_shards_that_are_not_there(filled):
    def refused(shard, name="a", **members):
        return filled.refused(
            "GetShardIterator", StreamName=name, ShardId=shard, ShardIteratorType="LATEST", **members
        )

    code = "ResourceNotFoundException"
    missing = f"Shard shardId-{{:012d}} in stream {{}} under account {ACCOUNT} does not exist"
    assert refused("shardId-000000000005") == (code, missing.format(5, "a"))
    assert refused("5", "nowhere") == (code, missing.format(5, "nowhere"))
    assert refused("x-2147483647") == (code, missing.format(2147483647, "a"))
    for shard in ("2147483648", "shardId-002147483648", "ABKLFD8", "2.14E4", "shardId-"):
        assert refused(shard) == (code, f"Could not find shard {shard} in stream a under account {ACCOUNT}.")
    assert filled.iterator("a") is not None
    any_prefix = filled("GetShardIterator", StreamName="a", ShardId="any-0", ShardIteratorType="LATEST")
    assert any_prefix["ShardIterator"]


def test_dry_runs_check_and_read_nothing(filled):
    would = ("DryRunOperationException", "Request would have succeeded, but DryRun flag is set.")
    place = {"StreamName": "a", "ShardIteratorType": "LATEST", "DryRun": True}
    assert filled.refused("GetShardIterator", ShardId="0", **place) == would
    assert filled.refused("GetShardIterator", ShardId="9", **place)[0] == "ResourceNotFoundException"
    assert filled.refused("GetRecords", ShardIterator=filled.iterator("a"), DryRun=True) == would
    assert filled.refused("GetRecords", ShardIterator="abc", DryRun=True)[0] == "InvalidArgumentException"


def test_reading_starts_at_the_first_kept_record(filled):
    early = filled.iterator("a")
    filled.reopen()  # ends the segment
    filled.put("a", "new")
    filled.clock.advance(24 * 3_600_000 - 500)
    old = early
    filled.streams.apply_retention()
    assert filled.read("a") == ["new"]
    assert filled.refused("GetRecords", ShardIterator=old)[0] == "ExpiredIteratorException"
    assert filled.read("a", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=filled.numbers[0]) == ["new"]


def test_what_is_older_than_the_retention_period_cannot_be_read_though_the_log_still_has_it(kinesis):
    hour = 3_600_000
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    for number in range(30):
        kinesis.put("a", f"hour {number}")
        kinesis.clock.advance(hour)
    kept = [f"hour {number}" for number in range(6, 30)]
    old = kinesis.iterator("a", kind="AT_TIMESTAMP", Timestamp=kinesis.clock.now_ms() / 1000 - 29 * 3600)
    first = kinesis.put("a", "now")[0]["SequenceNumber"]
    assert kinesis.read("a") == [*kept, "now"]
    answer = kinesis("GetRecords", ShardIterator=old)
    assert [b64decode(record["Data"]).decode() for record in answer["Records"]] == [*kept, "now"]
    assert kinesis.read("a", kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=first) == ["now"]
    # An iterator made while its record was there moves on to the first that still is.
    kinesis("IncreaseStreamRetentionPeriod", StreamName="a", RetentionPeriodHours=48)
    long_ago = kinesis.iterator("a")
    kinesis("DecreaseStreamRetentionPeriod", StreamName="a", RetentionPeriodHours=24)
    answer = kinesis("GetRecords", ShardIterator=long_ago)
    assert b64decode(answer["Records"][0]["Data"]) == b"hour 6"
    kinesis.clock.advance(100 * hour)
    answer = kinesis("GetRecords", ShardIterator=kinesis.iterator("a"))
    assert answer["Records"] == []
    assert answer["MillisBehindLatest"] == 0


def test_there_is_no_lag_where_only_the_numbers_moved_ahead(filled):
    filled.close()
    control = ControlFile(filled.directory / "control", writer=True, boot_id=bytes(16))
    control.mark(DIRTY, pid=0)  # as if the power had gone and taken nothing
    control.close()
    filled.open()
    answer = got(filled, filled.iterator("a"), Limit=9)
    assert answer["MillisBehindLatest"] == 2_000
    answer = got(filled, answer["NextShardIterator"], Limit=9)
    assert (answer["Records"], answer["MillisBehindLatest"]) == (["9"], 0)
    filled.put("a", "10", "11")
    assert got(filled, answer["NextShardIterator"])["Records"] == ["10", "11"]
    assert got(filled, filled.iterator("a"), Limit=10)["MillisBehindLatest"] == 1_000
