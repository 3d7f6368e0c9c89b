# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The declared table of the shapes of Firehose: what each operation takes and answers.

The facts are those of the public service model (version 2015-08-04); `tests/firehose/test_model.py` compares
every name, requirement, enumeration and limit with botocore's copy of it. Members that are declared as EMPTY
belong to what is refused by name (`settings.py`): that they are there is all that needs to be seen.
"""

from __future__ import annotations

from headrace.streams.shapes import (
    Blob,
    Boolean,
    Double,
    Integer,
    List,
    Map,
    Shape,
    String,
    Structure,
    Timestamp,
)

# --- members ---
NAME = String(1, 64, r"[a-zA-Z0-9_.-]+")
ARN = String(1, 512, r"arn:.*:firehose:[a-zA-Z0-9\-]+:\d{12}:deliverystream/[a-zA-Z0-9._-]+")
TYPE = String(enum=("DirectPut", "KinesisStreamAsSource", "MSKAsSource", "DatabaseAsSource"))
STATUS = String(
    enum=("CREATING", "CREATING_FAILED", "DELETING", "DELETING_FAILED", "ACTIVE"),
)
ROLE_ARN = String(1, 512, r"arn:.*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+")
BUCKET_ARN = String(1, 2048, r"arn:.*:s3:::[\w\.\-]{1,255}")
STREAM_ARN = String(1, 512, r"arn:.*:kinesis:[a-zA-Z0-9\-]+:\d{12}:stream/[a-zA-Z0-9_.-]+")
KMS_KEY_ARN = String(1, 512, r"arn:.*:kms:[a-zA-Z0-9\-]+:\d{12}:(key|alias)/[a-zA-Z_0-9+=,.@\-_/]+")
PREFIX = String(0, 1024, r".*")
VERSION_ID = String(1, 50, r"[0-9]+")
DESTINATION_ID = String(1, 100, r"[a-zA-Z0-9-]+")
TAG_KEY = String(1, 128)  # the pattern, beyond what `re` can say, is checked in operations.py
TAG_VALUE = String(0, 256)
TAG = Structure("Tag", {"Key": TAG_KEY, "Value": TAG_VALUE}, ("Key",))
TAGS = List(TAG, 1, 50)
DATA = Blob(0, 1_024_000)
RECORD = Structure("Record", {"Data": DATA}, ("Data",))
COMPRESSION = String(enum=("UNCOMPRESSED", "GZIP", "ZIP", "Snappy", "HADOOP_SNAPPY"))
BUFFERING_HINTS = Structure(
    "BufferingHints", {"SizeInMBs": Integer(1, 128), "IntervalInSeconds": Integer(0, 900)}
)
ENCRYPTION = Structure(
    "EncryptionConfiguration",
    {
        "NoEncryptionConfig": String(enum=("NoEncryption",)),
        "KMSEncryptionConfig": Structure(
            "KMSEncryptionConfig", {"AWSKMSKeyARN": KMS_KEY_ARN}, ("AWSKMSKeyARN",)
        ),
    },
)
LOGGING = Structure(
    "CloudWatchLoggingOptions",
    {
        "Enabled": Boolean(),
        "LogGroupName": String(0, 512, r"[\.\-_/#A-Za-z0-9]*"),
        "LogStreamName": String(0, 512, r"[^:*]*"),
    },
)
PROCESSOR_PARAMETER = Structure(
    "ProcessorParameter",
    {
        "ParameterName": String(
            enum=(
                "LambdaArn",
                "NumberOfRetries",
                "MetadataExtractionQuery",
                "JsonParsingEngine",
                "RoleArn",
                "BufferSizeInMBs",
                "BufferIntervalInSeconds",
                "SubRecordType",
                "Delimiter",
                "CompressionFormat",
                "DataMessageExtraction",
            )
        ),
        "ParameterValue": String(1, 5120, r"^(?!\s*$).+"),
    },
    ("ParameterName", "ParameterValue"),
)
PROCESSOR = Structure(
    "Processor",
    {
        "Type": String(
            enum=(
                "RecordDeAggregation",
                "Decompression",
                "CloudWatchLogProcessing",
                "Lambda",
                "MetadataExtraction",
                "AppendDelimiterToRecord",
            )
        ),
        "Parameters": List(PROCESSOR_PARAMETER),
    },
    ("Type",),
)
PROCESSING = Structure("ProcessingConfiguration", {"Enabled": Boolean(), "Processors": List(PROCESSOR)})


def refused(name: str) -> Structure:
    """A member of which only the presence is seen; it is refused by name."""
    return Structure(name)


# --- the conversion of formats: refused where it is on, described where it is off ---
WORD = String(1, 1024, r"^\S+$")
NOT_EMPTY = String(1, 1024, r"^(?!\s*$).+")
PROPORTION = Double(0, 1)
BLOCK_SIZE = Integer(67_108_864)
SCHEMA = Structure(
    "SchemaConfiguration",
    dict.fromkeys(("RoleARN", "CatalogId", "DatabaseName", "TableName", "Region", "VersionId"), WORD),
)
OPENX = Structure(
    "OpenXJsonSerDe",
    {
        "ConvertDotsInJsonKeysToUnderscores": Boolean(),
        "CaseInsensitive": Boolean(),
        "ColumnToJsonKeyMappings": Map(WORD, NOT_EMPTY),
    },
)
HIVE = Structure("HiveJsonSerDe", {"TimestampFormats": List(NOT_EMPTY)})
PARQUET = Structure(
    "ParquetSerDe",
    {
        "BlockSizeBytes": BLOCK_SIZE,
        "PageSizeBytes": Integer(65_536),
        "Compression": String(enum=("UNCOMPRESSED", "GZIP", "SNAPPY")),
        "EnableDictionaryCompression": Boolean(),
        "MaxPaddingBytes": Integer(0),
        "WriterVersion": String(enum=("V1", "V2")),
    },
)
ORC = Structure(
    "OrcSerDe",
    {
        "StripeSizeBytes": Integer(8_388_608),
        "BlockSizeBytes": BLOCK_SIZE,
        "RowIndexStride": Integer(1_000),
        "EnablePadding": Boolean(),
        "PaddingTolerance": PROPORTION,
        "Compression": String(enum=("NONE", "ZLIB", "SNAPPY")),
        "BloomFilterColumns": List(WORD),
        "BloomFilterFalsePositiveProbability": PROPORTION,
        "DictionaryKeyThreshold": PROPORTION,
        "FormatVersion": String(enum=("V0_11", "V0_12")),
    },
)
INPUT_FORMAT = Structure(
    "InputFormatConfiguration",
    {"Deserializer": Structure("Deserializer", {"OpenXJsonSerDe": OPENX, "HiveJsonSerDe": HIVE})},
)
OUTPUT_FORMAT = Structure(
    "OutputFormatConfiguration",
    {"Serializer": Structure("Serializer", {"ParquetSerDe": PARQUET, "OrcSerDe": ORC})},
)
CONVERSION = Structure(
    "DataFormatConversionConfiguration",
    {
        "SchemaConfiguration": SCHEMA,
        "InputFormatConfiguration": INPUT_FORMAT,
        "OutputFormatConfiguration": OUTPUT_FORMAT,
        "Enabled": Boolean(),
    },
)

# --- destinations ---
_S3: dict[str, Shape] = {
    "RoleARN": ROLE_ARN,
    "BucketARN": BUCKET_ARN,
    "Prefix": PREFIX,
    "ErrorOutputPrefix": PREFIX,
    "BufferingHints": BUFFERING_HINTS,
    "CompressionFormat": COMPRESSION,
    "EncryptionConfiguration": ENCRYPTION,
    "CloudWatchLoggingOptions": LOGGING,
}
_S3_MORE: dict[str, Shape] = {
    "ProcessingConfiguration": PROCESSING,
    "S3BackupMode": String(enum=("Disabled", "Enabled")),
    "DataFormatConversionConfiguration": CONVERSION,
    "DynamicPartitioningConfiguration": Structure(
        "DynamicPartitioningConfiguration",
        {
            "RetryOptions": Structure("RetryOptions", {"DurationInSeconds": Integer(0, 7200)}),
            "Enabled": Boolean(),
        },
    ),
    "FileExtension": String(0, 128, r"^$|\.[0-9a-z!\-_.*'()]+"),
    "CustomTimeZone": String(0, 50, r"^$|[a-zA-Z/_]+"),
}
S3_DESTINATION = Structure("S3DestinationConfiguration", _S3, ("RoleARN", "BucketARN"))
EXTENDED_S3_DESTINATION = Structure(
    "ExtendedS3DestinationConfiguration",
    {**_S3, **_S3_MORE, "S3BackupConfiguration": S3_DESTINATION},
    ("RoleARN", "BucketARN"),
)
_DESCRIBED = ("RoleARN", "BucketARN", "BufferingHints", "CompressionFormat", "EncryptionConfiguration")
S3_DESCRIPTION = Structure("S3DestinationDescription", _S3, _DESCRIBED)
EXTENDED_S3_DESCRIPTION = Structure(
    "ExtendedS3DestinationDescription",
    {**_S3, **_S3_MORE, "S3BackupDescription": S3_DESCRIPTION},
    _DESCRIBED,
)
DESTINATION_DESCRIPTION = Structure(
    "DestinationDescription",
    {
        "DestinationId": DESTINATION_ID,
        "S3DestinationDescription": S3_DESCRIPTION,
        "ExtendedS3DestinationDescription": EXTENDED_S3_DESCRIPTION,
    },
    ("DestinationId",),
)

# --- a delivery stream's life ---
CREATE = Structure(
    "CreateDeliveryStreamInput",
    {
        "DeliveryStreamName": NAME,
        "DeliveryStreamType": TYPE,
        "DirectPutSourceConfiguration": refused("DirectPutSourceConfiguration"),
        "KinesisStreamSourceConfiguration": Structure(
            "KinesisStreamSourceConfiguration",
            {"KinesisStreamARN": STREAM_ARN, "RoleARN": ROLE_ARN},
            ("KinesisStreamARN", "RoleARN"),
        ),
        "DeliveryStreamEncryptionConfigurationInput": refused("DeliveryStreamEncryptionConfigurationInput"),
        "S3DestinationConfiguration": S3_DESTINATION,
        "ExtendedS3DestinationConfiguration": EXTENDED_S3_DESTINATION,
        "RedshiftDestinationConfiguration": refused("RedshiftDestinationConfiguration"),
        "ElasticsearchDestinationConfiguration": refused("ElasticsearchDestinationConfiguration"),
        "AmazonopensearchserviceDestinationConfiguration": refused(
            "AmazonopensearchserviceDestinationConfiguration"
        ),
        "SplunkDestinationConfiguration": refused("SplunkDestinationConfiguration"),
        "HttpEndpointDestinationConfiguration": refused("HttpEndpointDestinationConfiguration"),
        "Tags": TAGS,
        "AmazonOpenSearchServerlessDestinationConfiguration": refused(
            "AmazonOpenSearchServerlessDestinationConfiguration"
        ),
        "MSKSourceConfiguration": refused("MSKSourceConfiguration"),
        "SnowflakeDestinationConfiguration": refused("SnowflakeDestinationConfiguration"),
        "IcebergDestinationConfiguration": refused("IcebergDestinationConfiguration"),
        "DatabaseSourceConfiguration": refused("DatabaseSourceConfiguration"),
    },
    ("DeliveryStreamName",),
)
CREATE_ANSWER = Structure("CreateDeliveryStreamOutput", {"DeliveryStreamARN": ARN})
DELETE = Structure(
    "DeleteDeliveryStreamInput",
    {"DeliveryStreamName": NAME, "AllowForceDelete": Boolean()},
    ("DeliveryStreamName",),
)
DELETE_ANSWER = Structure("DeleteDeliveryStreamOutput")

# --- what is there ---
DESCRIBE = Structure(
    "DescribeDeliveryStreamInput",
    {
        "DeliveryStreamName": NAME,
        "Limit": Integer(1, 10_000),
        "ExclusiveStartDestinationId": DESTINATION_ID,
    },
    ("DeliveryStreamName",),
)
FAILURE = Structure(
    "FailureDescription",
    {"Type": String(), "Details": String(1, 1024, r"^(?!\s*$).+")},
    ("Type", "Details"),
)
DESCRIBE_ANSWER = Structure(
    "DescribeDeliveryStreamOutput",
    {
        "DeliveryStreamDescription": Structure(
            "DeliveryStreamDescription",
            {
                "DeliveryStreamName": NAME,
                "DeliveryStreamARN": ARN,
                "DeliveryStreamStatus": STATUS,
                "FailureDescription": FAILURE,
                "DeliveryStreamType": TYPE,
                "VersionId": VERSION_ID,
                "CreateTimestamp": Timestamp(),
                "LastUpdateTimestamp": Timestamp(),
                "Source": Structure(
                    "SourceDescription",
                    {
                        "KinesisStreamSourceDescription": Structure(
                            "KinesisStreamSourceDescription",
                            {
                                "KinesisStreamARN": STREAM_ARN,
                                "RoleARN": ROLE_ARN,
                                "DeliveryStartTimestamp": Timestamp(),
                            },
                        ),
                    },
                ),
                "Destinations": List(DESTINATION_DESCRIPTION),
                "HasMoreDestinations": Boolean(),
            },
            (
                "DeliveryStreamName",
                "DeliveryStreamARN",
                "DeliveryStreamStatus",
                "DeliveryStreamType",
                "VersionId",
                "Destinations",
                "HasMoreDestinations",
            ),
        )
    },
    ("DeliveryStreamDescription",),
)
LIST = Structure(
    "ListDeliveryStreamsInput",
    {
        "Limit": Integer(1, 10_000),
        "DeliveryStreamType": TYPE,
        "ExclusiveStartDeliveryStreamName": NAME,
    },
)
LIST_ANSWER = Structure(
    "ListDeliveryStreamsOutput",
    {"DeliveryStreamNames": List(NAME), "HasMoreDeliveryStreams": Boolean()},
    ("DeliveryStreamNames", "HasMoreDeliveryStreams"),
)

# --- records in ---
PUT_RECORD = Structure(
    "PutRecordInput", {"DeliveryStreamName": NAME, "Record": RECORD}, ("DeliveryStreamName", "Record")
)
PUT_RECORD_ANSWER = Structure(
    "PutRecordOutput", {"RecordId": String(1), "Encrypted": Boolean()}, ("RecordId",)
)
PUT_RECORD_BATCH = Structure(
    "PutRecordBatchInput",
    {"DeliveryStreamName": NAME, "Records": List(RECORD, 1, 500)},
    ("DeliveryStreamName", "Records"),
)
PUT_RECORD_BATCH_ANSWER = Structure(
    "PutRecordBatchOutput",
    {
        "FailedPutCount": Integer(0),
        "Encrypted": Boolean(),
        "RequestResponses": List(
            Structure(
                "PutRecordBatchResponseEntry",
                {"RecordId": String(1), "ErrorCode": String(), "ErrorMessage": String()},
            ),
            1,
            500,
        ),
    },
    ("FailedPutCount", "RequestResponses"),
)

# --- tags ---
TAG_STREAM = Structure(
    "TagDeliveryStreamInput",
    {"DeliveryStreamName": NAME, "Tags": TAGS},
    ("DeliveryStreamName", "Tags"),
)
TAG_STREAM_ANSWER = Structure("TagDeliveryStreamOutput")
UNTAG_STREAM = Structure(
    "UntagDeliveryStreamInput",
    {"DeliveryStreamName": NAME, "TagKeys": List(TAG_KEY, 1, 50)},
    ("DeliveryStreamName", "TagKeys"),
)
UNTAG_STREAM_ANSWER = Structure("UntagDeliveryStreamOutput")
LIST_TAGS = Structure(
    "ListTagsForDeliveryStreamInput",
    {"DeliveryStreamName": NAME, "ExclusiveStartTagKey": TAG_KEY, "Limit": Integer(1, 50)},
    ("DeliveryStreamName",),
)
LIST_TAGS_ANSWER = Structure(
    "ListTagsForDeliveryStreamOutput",
    {"Tags": List(TAG, 0, 50), "HasMoreTags": Boolean()},
    ("Tags", "HasMoreTags"),
)
