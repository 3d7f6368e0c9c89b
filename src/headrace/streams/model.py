# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The declared table of the shapes of Data Streams: what each operation takes and answers.

The facts are those of the public service model (version 2013-12-02); `tests/streams/test_model.py` compares
every name, requirement, enumeration and limit with botocore's copy of it. A new operation adds its two
structures here. The order of members is the order in which the real service reports violations, where that
is known.
"""

from __future__ import annotations

from headrace.streams.shapes import (
    Blob,
    Boolean,
    Integer,
    List,
    Map,
    Shape,
    String,
    Structure,
    Timestamp,
)

# --- members ---
STREAM_NAME = String(1, 128, r"[a-zA-Z0-9_.-]+")
STREAM_ARN = String(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+")
STREAM_ID = String(1, 24, r"[a-z0-9]{20}-[a-z0-9]{3}")
RESOURCE_ARN = String(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+")
SHARD_ID = String(1, 128, r"[a-zA-Z0-9_.-]+")
HASH_KEY = String(pattern=r"^(0|([1-9]\d{0,38}))$")
SEQUENCE_NUMBER = String(pattern=r"^(0|([1-9]\d{0,128}))$")
PARTITION_KEY = String(1, 256)
DATA = Blob(0, 10_485_760)
SHARD_ITERATOR = String(1, 512)
NEXT_TOKEN = String(1, 1_048_576)
POSITIVE = Integer(1)
NATURAL = Integer(0)
COUNT = Integer(0, 1_000_000)
RETENTION_HOURS = Integer()
MAX_RECORD_SIZE = Integer(1024, 10_240)
TAG_KEY = String(1, 128)
TAG_VALUE = String(0, 256)
TAG_MAP = Map(TAG_KEY, TAG_VALUE, 1, 200)
TAG_KEYS = List(TAG_KEY, 1, 50)
TAG_LIST = List(Structure("Tag", {"Key": TAG_KEY, "Value": TAG_VALUE}, ("Key",)), 0, 200)
STREAM_MODE = String(enum=("PROVISIONED", "ON_DEMAND"))
STREAM_MODE_DETAILS = Structure("StreamModeDetails", {"StreamMode": STREAM_MODE}, ("StreamMode",))
STREAM_STATUS = String(enum=("CREATING", "DELETING", "ACTIVE", "UPDATING"))
DISTRIBUTION = String(enum=("AUTO", "USER_PARTITION_KEY"))
ENCRYPTION_TYPE = String(enum=("NONE", "KMS"))
KEY_ID = String(1, 2048)
METRICS = String(
    enum=(
        "IncomingBytes",
        "IncomingRecords",
        "OutgoingBytes",
        "OutgoingRecords",
        "WriteProvisionedThroughputExceeded",
        "ReadProvisionedThroughputExceeded",
        "IteratorAgeMilliseconds",
        "ALL",
    )
)
MONITORING = List(Structure("EnhancedMetrics", {"ShardLevelMetrics": List(METRICS, 1, 7)}))
HASH_KEY_RANGE = Structure(
    "HashKeyRange",
    {"StartingHashKey": HASH_KEY, "EndingHashKey": HASH_KEY},
    ("StartingHashKey", "EndingHashKey"),
)
SEQUENCE_RANGE = Structure(
    "SequenceNumberRange",
    {"StartingSequenceNumber": SEQUENCE_NUMBER, "EndingSequenceNumber": SEQUENCE_NUMBER},
    ("StartingSequenceNumber",),
)
SHARD = Structure(
    "Shard",
    {
        "ShardId": SHARD_ID,
        "ParentShardId": SHARD_ID,
        "AdjacentParentShardId": SHARD_ID,
        "HashKeyRange": HASH_KEY_RANGE,
        "SequenceNumberRange": SEQUENCE_RANGE,
    },
    ("ShardId", "HashKeyRange", "SequenceNumberRange"),
)
CHILD_SHARD = Structure(
    "ChildShard",
    {"ShardId": SHARD_ID, "ParentShards": List(SHARD_ID), "HashKeyRange": HASH_KEY_RANGE},
    ("ShardId", "ParentShards", "HashKeyRange"),
)
RECORD = Structure(
    "Record",
    {
        "SequenceNumber": SEQUENCE_NUMBER,
        "ApproximateArrivalTimestamp": Timestamp(),
        "Data": DATA,
        "PartitionKey": PARTITION_KEY,
        "EncryptionType": ENCRYPTION_TYPE,
    },
    ("SequenceNumber", "Data"),
)

# Every operation on one stream takes these three; the real service reports them last.
ADDRESS: dict[str, Shape] = {"StreamName": STREAM_NAME, "StreamARN": STREAM_ARN, "StreamId": STREAM_ID}

# --- a stream's life ---
CREATE_STREAM = Structure(
    "CreateStreamInput",
    {
        "ShardCount": POSITIVE,
        "StreamName": STREAM_NAME,
        "StreamModeDetails": STREAM_MODE_DETAILS,
        "Tags": TAG_MAP,
        "WarmThroughputMiBps": NATURAL,
        "MaxRecordSizeInKiB": MAX_RECORD_SIZE,
        "RecordDistributionStrategy": DISTRIBUTION,
    },
    ("StreamName",),
)
DELETE_STREAM = Structure("DeleteStreamInput", {"EnforceConsumerDeletion": Boolean(), **ADDRESS})

# --- what is there ---
DESCRIBE_STREAM = Structure(
    "DescribeStreamInput", {"Limit": Integer(1, 10_000), "ExclusiveStartShardId": SHARD_ID, **ADDRESS}
)
DESCRIBE_STREAM_ANSWER = Structure(
    "DescribeStreamOutput",
    {
        "StreamDescription": Structure(
            "StreamDescription",
            {
                "StreamName": STREAM_NAME,
                "StreamARN": STREAM_ARN,
                "StreamStatus": STREAM_STATUS,
                "StreamModeDetails": STREAM_MODE_DETAILS,
                "Shards": List(SHARD),
                "HasMoreShards": Boolean(),
                "RetentionPeriodHours": RETENTION_HOURS,
                "StreamCreationTimestamp": Timestamp(),
                "EnhancedMonitoring": MONITORING,
                "EncryptionType": ENCRYPTION_TYPE,
                "KeyId": KEY_ID,
            },
            (
                "StreamName",
                "StreamARN",
                "StreamStatus",
                "Shards",
                "HasMoreShards",
                "RetentionPeriodHours",
                "StreamCreationTimestamp",
                "EnhancedMonitoring",
            ),
        )
    },
    ("StreamDescription",),
)
DESCRIBE_STREAM_SUMMARY = Structure("DescribeStreamSummaryInput", ADDRESS)
DESCRIBE_STREAM_SUMMARY_ANSWER = Structure(
    "DescribeStreamSummaryOutput",
    {
        "StreamDescriptionSummary": Structure(
            "StreamDescriptionSummary",
            {
                "StreamName": STREAM_NAME,
                "StreamARN": STREAM_ARN,
                "StreamId": STREAM_ID,
                "StreamStatus": STREAM_STATUS,
                "StreamModeDetails": STREAM_MODE_DETAILS,
                "RetentionPeriodHours": RETENTION_HOURS,
                "StreamCreationTimestamp": Timestamp(),
                "EnhancedMonitoring": MONITORING,
                "EncryptionType": ENCRYPTION_TYPE,
                "KeyId": KEY_ID,
                "OpenShardCount": COUNT,
                "ConsumerCount": COUNT,
                "WarmThroughput": Structure(
                    "WarmThroughputObject", {"TargetMiBps": NATURAL, "CurrentMiBps": NATURAL}
                ),
                "MaxRecordSizeInKiB": MAX_RECORD_SIZE,
                "ChannelCount": COUNT,
                "RecordDistributionStrategy": DISTRIBUTION,
                "QueueCount": COUNT,
            },
            (
                "StreamName",
                "StreamARN",
                "StreamStatus",
                "RetentionPeriodHours",
                "StreamCreationTimestamp",
                "EnhancedMonitoring",
                "OpenShardCount",
            ),
        )
    },
    ("StreamDescriptionSummary",),
)
LIST_STREAMS = Structure(
    "ListStreamsInput",
    {"Limit": Integer(1, 10_000), "ExclusiveStartStreamName": STREAM_NAME, "NextToken": NEXT_TOKEN},
)
LIST_STREAMS_ANSWER = Structure(
    "ListStreamsOutput",
    {
        "StreamNames": List(STREAM_NAME),
        "HasMoreStreams": Boolean(),
        "NextToken": NEXT_TOKEN,
        "StreamSummaries": List(
            Structure(
                "StreamSummary",
                {
                    "StreamName": STREAM_NAME,
                    "StreamARN": STREAM_ARN,
                    "StreamStatus": STREAM_STATUS,
                    "StreamModeDetails": STREAM_MODE_DETAILS,
                    "StreamCreationTimestamp": Timestamp(),
                },
                ("StreamName", "StreamARN", "StreamStatus"),
            )
        ),
    },
    ("StreamNames", "HasMoreStreams"),
)
SHARD_FILTER = Structure(
    "ShardFilter",
    {
        "Type": String(
            enum=(
                "AFTER_SHARD_ID",
                "AT_TRIM_HORIZON",
                "FROM_TRIM_HORIZON",
                "AT_LATEST",
                "AT_TIMESTAMP",
                "FROM_TIMESTAMP",
            )
        ),
        "ShardId": SHARD_ID,
        "Timestamp": Timestamp(),
    },
    ("Type",),
)
LIST_SHARDS = Structure(
    "ListShardsInput",
    {
        "NextToken": NEXT_TOKEN,
        "MaxResults": Integer(1, 10_000),
        "ExclusiveStartShardId": SHARD_ID,
        "StreamCreationTimestamp": Timestamp(),
        "ShardFilter": SHARD_FILTER,
        **ADDRESS,
    },
)
LIST_SHARDS_ANSWER = Structure("ListShardsOutput", {"Shards": List(SHARD), "NextToken": NEXT_TOKEN})

# --- records in ---
PUT_RECORD = Structure(
    "PutRecordInput",
    {
        "SequenceNumberForOrdering": SEQUENCE_NUMBER,
        "PartitionKey": PARTITION_KEY,
        "ExplicitHashKey": HASH_KEY,
        "Data": DATA,
        **ADDRESS,
        "DryRun": Boolean(),
    },
    ("Data",),
)
PUT_RECORD_ANSWER = Structure(
    "PutRecordOutput",
    {"ShardId": SHARD_ID, "SequenceNumber": SEQUENCE_NUMBER, "EncryptionType": ENCRYPTION_TYPE},
    ("ShardId", "SequenceNumber"),
)
PUT_RECORDS = Structure(
    "PutRecordsInput",
    {
        "Records": List(
            Structure(
                "PutRecordsRequestEntry",
                {"PartitionKey": PARTITION_KEY, "ExplicitHashKey": HASH_KEY, "Data": DATA},
                ("Data",),
            ),
            1,
            500,
        ),
        **ADDRESS,
        "DryRun": Boolean(),
    },
    ("Records",),
)
PUT_RECORDS_ANSWER = Structure(
    "PutRecordsOutput",
    {
        "FailedRecordCount": POSITIVE,
        "Records": List(
            Structure(
                "PutRecordsResultEntry",
                {
                    "SequenceNumber": SEQUENCE_NUMBER,
                    "ShardId": SHARD_ID,
                    "ErrorCode": String(),
                    "ErrorMessage": String(),
                },
            ),
            1,
            500,
        ),
        "EncryptionType": ENCRYPTION_TYPE,
    },
    ("Records",),
)

# --- records out ---
GET_SHARD_ITERATOR = Structure(
    "GetShardIteratorInput",
    {
        "ShardId": SHARD_ID,
        "ShardIteratorType": String(
            enum=("AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON")
        ),
        "StartingSequenceNumber": SEQUENCE_NUMBER,
        "Timestamp": Timestamp(),
        **ADDRESS,
        "DryRun": Boolean(),
    },
    ("ShardId", "ShardIteratorType"),
)
GET_SHARD_ITERATOR_ANSWER = Structure("GetShardIteratorOutput", {"ShardIterator": SHARD_ITERATOR})
GET_RECORDS = Structure(
    "GetRecordsInput",
    {
        "Limit": Integer(1, 10_000),
        "ShardIterator": SHARD_ITERATOR,
        "StreamARN": STREAM_ARN,
        "StreamId": STREAM_ID,
        "DryRun": Boolean(),
    },
    ("ShardIterator",),
)
GET_RECORDS_ANSWER = Structure(
    "GetRecordsOutput",
    {
        "Records": List(RECORD),
        "NextShardIterator": SHARD_ITERATOR,
        "MillisBehindLatest": Integer(0, bits=64),
        "ChildShards": List(CHILD_SHARD),
    },
    ("Records",),
)

# --- shards ---
SPLIT_SHARD = Structure(
    "SplitShardInput",
    {
        "NewStartingHashKey": HASH_KEY,
        "StreamName": STREAM_NAME,
        "ShardToSplit": SHARD_ID,
        "StreamARN": STREAM_ARN,
        "StreamId": STREAM_ID,
    },
    ("ShardToSplit", "NewStartingHashKey"),
)
MERGE_SHARDS = Structure(
    "MergeShardsInput",
    {"ShardToMerge": SHARD_ID, "AdjacentShardToMerge": SHARD_ID, **ADDRESS},
    ("ShardToMerge", "AdjacentShardToMerge"),
)
UPDATE_SHARD_COUNT = Structure(
    "UpdateShardCountInput",
    {"ScalingType": String(enum=("UNIFORM_SCALING",)), "TargetShardCount": POSITIVE, **ADDRESS},
    ("TargetShardCount", "ScalingType"),
)
UPDATE_SHARD_COUNT_ANSWER = Structure(
    "UpdateShardCountOutput",
    {
        "StreamName": STREAM_NAME,
        "CurrentShardCount": POSITIVE,
        "TargetShardCount": POSITIVE,
        "StreamARN": STREAM_ARN,
    },
)

# --- retention ---
INCREASE_RETENTION = Structure(
    "IncreaseStreamRetentionPeriodInput",
    {"RetentionPeriodHours": RETENTION_HOURS, **ADDRESS},
    ("RetentionPeriodHours",),
)
DECREASE_RETENTION = Structure(
    "DecreaseStreamRetentionPeriodInput",
    {"RetentionPeriodHours": RETENTION_HOURS, **ADDRESS},
    ("RetentionPeriodHours",),
)

# --- tags ---
ADD_TAGS = Structure("AddTagsToStreamInput", {"Tags": TAG_MAP, **ADDRESS}, ("Tags",))
REMOVE_TAGS = Structure("RemoveTagsFromStreamInput", {"TagKeys": TAG_KEYS, **ADDRESS}, ("TagKeys",))
LIST_TAGS = Structure(
    "ListTagsForStreamInput", {"Limit": Integer(1, 50), "ExclusiveStartTagKey": TAG_KEY, **ADDRESS}
)
LIST_TAGS_ANSWER = Structure(
    "ListTagsForStreamOutput", {"Tags": TAG_LIST, "HasMoreTags": Boolean()}, ("Tags", "HasMoreTags")
)
_RESOURCE: dict[str, Shape] = {"ResourceARN": RESOURCE_ARN, "StreamId": STREAM_ID}
TAG_RESOURCE = Structure("TagResourceInput", {"Tags": TAG_MAP, **_RESOURCE}, ("Tags", "ResourceARN"))
UNTAG_RESOURCE = Structure(
    "UntagResourceInput", {"TagKeys": TAG_KEYS, **_RESOURCE}, ("TagKeys", "ResourceARN")
)
LIST_RESOURCE_TAGS = Structure("ListTagsForResourceInput", _RESOURCE, ("ResourceARN",))
LIST_RESOURCE_TAGS_ANSWER = Structure("ListTagsForResourceOutput", {"Tags": TAG_LIST})
