# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of operations of Firehose that are built, but for the two puts (service.py).

To add one: its structures in `model.py`, its function and its row here, its tests. What the model knows and
this table does not is answered UnknownOperationException.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from headrace import limits
from headrace.errors import InvalidArgument, LimitExceeded, ValidationError
from headrace.firehose import model
from headrace.firehose.deliveries import Deliveries
from headrace.firehose.document import ACTIVE, DELETING, STREAM_SOURCE, UNCOMPRESSED, Delivery
from headrace.firehose.settings import DEFAULT_HINTS
from headrace.streams.shapes import Structure, violation

Request = dict[str, Any]
DESTINATION_ID = "destinationId-000000000001"
NO_ENCRYPTION = {"NoEncryptionConfig": "NoEncryption"}


class Operation(NamedTuple):
    """One row. `run` takes the decoded input and returns the members of the output."""

    name: str
    input: Structure
    output: Structure
    run: Callable[[Deliveries, Request], dict[str, Any]] | None


# --- a delivery stream's life ---


def create_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    name = request["DeliveryStreamName"]
    tags = request.get("Tags", [])
    _check_tags(tags, "tags")
    deliveries.create(name, request, {tag["Key"]: tag.get("Value", "") for tag in tags})
    return {"DeliveryStreamARN": deliveries.arn(name)}


def delete_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    """What is open is delivered first; see deliveries.py for what AllowForceDelete does."""
    deliveries.delete(request["DeliveryStreamName"], force=request.get("AllowForceDelete", False))
    return {}


# --- what is there ---


def describe_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    name = request["DeliveryStreamName"]
    delivery = deliveries.get(name)
    shown = request.get("ExclusiveStartDestinationId", "") < DESTINATION_ID
    description = {
        "DeliveryStreamName": name,
        "DeliveryStreamARN": deliveries.arn(name),
        "DeliveryStreamStatus": delivery.status,
        "DeliveryStreamType": delivery.type,
        "VersionId": str(delivery.version),
        "CreateTimestamp": delivery.created_ms,
        "LastUpdateTimestamp": delivery.updated_ms,
        "Destinations": [_destination(delivery)] if shown else [],
        "HasMoreDestinations": False,
    }
    failure = delivery.failure
    if delivery.status in (ACTIVE, DELETING):
        failure = deliveries.failures.get(name, "")
    if failure:
        details = failure[: limits.firehose_failure_characters_max]
        description["FailureDescription"] = {"Type": "UNKNOWN_ERROR", "Details": details}
    if delivery.type == STREAM_SOURCE:
        description["Source"] = {
            "KinesisStreamSourceDescription": {
                "KinesisStreamARN": delivery.source.arn,
                "RoleARN": delivery.source.role,
                "DeliveryStartTimestamp": delivery.created_ms,
            }
        }
    return {"DeliveryStreamDescription": description}


def list_delivery_streams(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    after = request.get("ExclusiveStartDeliveryStreamName", "")
    kind = request.get("DeliveryStreamType")
    limit = request.get("Limit", limits.firehose_list_default)
    names = [name for name, found in deliveries.list() if name > after and kind in (None, found.type)]
    return {"DeliveryStreamNames": names[:limit], "HasMoreDeliveryStreams": len(names) > limit}


def _destination(delivery: Delivery) -> dict[str, Any]:
    """The destination as the client wrote it, with what it left open filled in."""
    settings = delivery.destination
    common = _described({name: settings.given[name] for name in settings.given if name in _COMMON})
    described: dict[str, Any] = {"DestinationId": DESTINATION_ID, "S3DestinationDescription": common}
    if settings.extended:
        more = {**settings.given, **common, "S3BackupMode": "Disabled"}
        if "S3BackupConfiguration" in more:  # it is off, and described
            more["S3BackupDescription"] = _described(more.pop("S3BackupConfiguration"))
        described["ExtendedS3DestinationDescription"] = more
    return described


_COMMON = model.S3_DESCRIPTION.members


def _described(given: dict[str, Any]) -> dict[str, Any]:
    """A configuration of S3 with the service's defaults for what it leaves open."""
    return {
        "CompressionFormat": UNCOMPRESSED,
        "CloudWatchLoggingOptions": {"Enabled": False},
        **given,
        "BufferingHints": given.get("BufferingHints") or DEFAULT_HINTS,
        "EncryptionConfiguration": given.get("EncryptionConfiguration") or NO_ENCRYPTION,
    }


# --- tags ---


def tag_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    tags = request["Tags"]
    _check_tags(tags, "tags")
    with deliveries.lock:
        name = request["DeliveryStreamName"]
        together = {**deliveries.get(name).tags, **{tag["Key"]: tag.get("Value", "") for tag in tags}}
        if len(together) > limits.tags_max:
            raise LimitExceeded(f"Firehose {name} cannot have more than {limits.tags_max} tags.")
        deliveries.update(name, tags=together)
    return {}


def untag_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    """A key that is not there is passed over."""
    with deliveries.lock:
        name = request["DeliveryStreamName"]
        gone = set(request["TagKeys"])
        left = {key: value for key, value in deliveries.get(name).tags.items() if key not in gone}
        deliveries.update(name, tags=left)
    return {}


def list_tags_for_delivery_stream(deliveries: Deliveries, request: Request) -> dict[str, Any]:
    after = request.get("ExclusiveStartTagKey", "")
    limit = request.get("Limit", limits.tags_max)
    tags = sorted(deliveries.get(request["DeliveryStreamName"]).tags.items())
    shown = [{"Key": key, "Value": value} for key, value in tags if key > after]
    return {"Tags": shown[:limit], "HasMoreTags": len(shown) > limit}


_TAG_KEY_PATTERN = r"^(?!aws:)[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$"
_TAG_VALUE_PATTERN = r"^[\p{L}\p{Z}\p{N}_.:\/=+\-@%]*$"


def _check_tags(tags: Iterable[dict[str, str]], path: str) -> None:
    """The model's patterns for keys and values, which `re` cannot say. Raises ValidationError."""
    found: list[str] = []
    keys: set[str] = set()
    for number, tag in enumerate(tags, 1):
        key, value = tag["Key"], tag.get("Value", "")
        place = f"{path}.{number}.member"
        constraint = "Member must satisfy regular expression pattern: "
        if key.startswith("aws:") or not _tag_text(key):
            found.append(violation(key, model.TAG_KEY, f"{place}.key", constraint + _TAG_KEY_PATTERN))
        if not _tag_text(value):
            found.append(violation(value, model.TAG_VALUE, f"{place}.value", constraint + _TAG_VALUE_PATTERN))
        if key in keys:
            raise InvalidArgument(f"Tag keys must be unique; {key} is given twice.")
        keys.add(key)
    if found:
        shown = found[: limits.validation_errors_max]
        plural = "s" if len(shown) > 1 else ""
        raise ValidationError(f"{len(shown)} validation error{plural} detected: {'; '.join(shown)}")


def _tag_text(text: str) -> bool:
    """Letters, separators, numbers and a few marks."""
    return all(unicodedata.category(c)[0] in "LZN" or c in "_.:/=+-@%" for c in text)


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("CreateDeliveryStream", model.CREATE, model.CREATE_ANSWER, create_delivery_stream),
        Operation("DeleteDeliveryStream", model.DELETE, model.DELETE_ANSWER, delete_delivery_stream),
        Operation("DescribeDeliveryStream", model.DESCRIBE, model.DESCRIBE_ANSWER, describe_delivery_stream),
        Operation("ListDeliveryStreams", model.LIST, model.LIST_ANSWER, list_delivery_streams),
        Operation("PutRecord", model.PUT_RECORD, model.PUT_RECORD_ANSWER, None),  # see service.py
        Operation("PutRecordBatch", model.PUT_RECORD_BATCH, model.PUT_RECORD_BATCH_ANSWER, None),
        Operation("TagDeliveryStream", model.TAG_STREAM, model.TAG_STREAM_ANSWER, tag_delivery_stream),
        Operation(
            "UntagDeliveryStream", model.UNTAG_STREAM, model.UNTAG_STREAM_ANSWER, untag_delivery_stream
        ),
        Operation(
            "ListTagsForDeliveryStream",
            model.LIST_TAGS,
            model.LIST_TAGS_ANSWER,
            list_tags_for_delivery_stream,
        ),
    )
}
