# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From a CreateDeliveryStream request to settings that will be carried out, or a refusal by name.

Nothing is accepted and then ignored: a member that asks for something this version does not do is answered
InvalidArgumentException with the member's name. A member that asks for nothing (`Enabled` false,
`NoEncryptionConfig`, backup `Disabled`) is accepted and described as it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.errors import InvalidArgument
from headrace.firehose import java_time
from headrace.firehose.document import DIRECT_PUT, GZIP, STREAM_SOURCE, UNCOMPRESSED, Destination
from headrace.firehose.object_name import ObjectName, Prefix

Request = dict[str, Any]

_DESTINATIONS = (
    "S3DestinationConfiguration",
    "ExtendedS3DestinationConfiguration",
    "RedshiftDestinationConfiguration",
    "ElasticsearchDestinationConfiguration",
    "AmazonopensearchserviceDestinationConfiguration",
    "SplunkDestinationConfiguration",
    "HttpEndpointDestinationConfiguration",
    "AmazonOpenSearchServerlessDestinationConfiguration",
    "SnowflakeDestinationConfiguration",
    "IcebergDestinationConfiguration",
)
_S3 = _DESTINATIONS[:2]
_NEVER = (
    "MSKSourceConfiguration",
    "DatabaseSourceConfiguration",
    "DirectPutSourceConfiguration",
    "DeliveryStreamEncryptionConfigurationInput",
)
DEFAULT_HINTS = {"SizeInMBs": 5, "IntervalInSeconds": 300}
_EXTENSIONS = {GZIP: ".gz", UNCOMPRESSED: ""}
_BUCKET = ":s3:::"


def source_type(request: Request) -> str:
    """DirectPut or KinesisStreamAsSource. Raises InvalidArgument for other sources and contradictions."""
    kind: str = request.get("DeliveryStreamType", DIRECT_PUT)
    if kind not in (DIRECT_PUT, STREAM_SOURCE):
        raise _unsupported(f"DeliveryStreamType {kind}")
    for member in _NEVER:
        if member in request:
            raise _unsupported(member)
    configured = "KinesisStreamSourceConfiguration" in request
    if kind == DIRECT_PUT and configured:
        raise InvalidArgument(
            "KinesisStreamSourceConfig is only applicable for KinesisStreamAsSource stream type"
        )
    if kind == STREAM_SOURCE and not configured:
        raise InvalidArgument("KinesisStreamSourceConfig is required for KinesisStreamAsSource stream type")
    return kind


def destination(request: Request) -> Destination:
    """The one destination of a request. Raises InvalidArgument."""
    found = [member for member in _DESTINATIONS if member in request]
    for member in found:
        if member not in _S3:
            raise _unsupported(member)
    if len(found) != 1:
        raise InvalidArgument("Exactly one destination configuration is supported for a Firehose")
    member = found[0]
    given = request[member]
    for name in _asking(given):
        raise _unsupported(f"{member}.{name}")
    size_mb, interval_s = _hints(given.get("BufferingHints") or DEFAULT_HINTS)
    settings = Destination(
        bucket=bucket_name(given["BucketARN"]),
        prefix=given.get("Prefix", ""),
        size_mb=size_mb,
        interval_s=interval_s,
        codec=given.get("CompressionFormat", UNCOMPRESSED),
        extension=given.get("FileExtension") or None,
        zone=given.get("CustomTimeZone", ""),
        extended=member == _S3[1],
        given=given,
    )
    _check_names(settings, given.get("ErrorOutputPrefix", ""), request["DeliveryStreamName"])
    return settings


def bucket_name(arn: str) -> str:
    """The bucket that an ARN names. Raises InvalidArgument where no bucket can have the name."""
    name = arn.rpartition(_BUCKET)[2]
    if name.startswith(".") or name.endswith("."):
        raise InvalidArgument(f"{name} in BucketARN {arn} is not a bucket's name")
    return name


def namer(settings: Destination, delivery: str, version: int) -> ObjectName:
    """What makes the names of the objects. Raises InvalidArgument."""
    try:
        zone = java_time.zone(settings.zone)
    except ValueError:
        raise InvalidArgument(
            f"CustomTimeZone {settings.zone} is not a time zone that is supported"
        ) from None
    extension = settings.extension if settings.extension is not None else _EXTENSIONS[settings.codec]
    return ObjectName(Prefix(settings.prefix, zone), delivery, str(version), extension, zone)


def _check_names(settings: Destination, errors: str, delivery: str) -> None:
    namer(settings, delivery, 1)
    prefix = Prefix(settings.prefix)
    if prefix.expressions and not errors:
        raise InvalidArgument(
            "Ths supplied prefix(es) do not satisfy the following constraint: ErrorOutputPrefix cannot be null "
            "or empty when Prefix contains expressions"
        )
    Prefix(errors, java_time.zone(settings.zone), member="ErrorOutputPrefix")


def _hints(hints: Request) -> tuple[int, int]:
    """(MiB, seconds). Both or neither, as the service demands."""
    size, interval = hints.get("SizeInMBs"), hints.get("IntervalInSeconds")
    if size is None or interval is None:
        raise InvalidArgument(
            "If you specify a value for one of BufferingHints.SizeInMBs and BufferingHints.IntervalInSeconds, "
            "you must also specify a value for the other."
        )
    return size, interval


def _asking(given: Request) -> Iterator[str]:
    """Names of the members that ask for what is not done."""
    if given.get("CompressionFormat", UNCOMPRESSED) not in _EXTENSIONS:
        yield f"CompressionFormat {given['CompressionFormat']}"
    if "KMSEncryptionConfig" in given.get("EncryptionConfiguration", {}):
        yield "EncryptionConfiguration.KMSEncryptionConfig"
    for name in ("CloudWatchLoggingOptions", "ProcessingConfiguration"):
        # Without Enabled these are off, but then their other members would stand there for nothing.
        part = given.get(name, {})
        if part.get("Enabled") or ("Enabled" not in part and any(part.values())):
            yield f"{name}.{next(key for key, value in part.items() if value)}"
    for name in ("DataFormatConversionConfiguration", "DynamicPartitioningConfiguration"):
        # Without Enabled these are on.
        if name in given and given[name].get("Enabled") is not False:
            yield name
    # The mode alone says whether there is a backup; without one, its configuration would stand for nothing.
    if given.get("S3BackupMode") == "Enabled":
        yield "S3BackupMode Enabled"
    if "S3BackupConfiguration" in given and "S3BackupMode" not in given:
        yield "S3BackupConfiguration"


def _unsupported(what: str) -> InvalidArgument:
    return InvalidArgument(f"{what} is not supported by this version of headrace.")
