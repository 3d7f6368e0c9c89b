# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the declared table says what the public service model says. Method: compare every name, requirement,
enumeration, pattern and limit with botocore's copy of the model. (What is done with each member of
CreateDeliveryStream: test_settings.py.)"""

import botocore.session
import pytest

from headrace.firehose import OPERATIONS
from headrace.streams.shapes import Blob, Boolean, Double, Integer, List, Map, String, Structure, Timestamp

MODEL = botocore.session.get_session().get_service_model("firehose")
KINDS = {
    "string": String,
    "integer": Integer,
    "long": Integer,
    "double": Double,
    "boolean": Boolean,
    "blob": Blob,
    "timestamp": Timestamp,
    "list": List,
    "map": Map,
    "structure": Structure,
}
# What our answers never hold because it cannot have been asked for.
NEVER_ANSWERED = (
    "DeliveryStreamEncryptionConfiguration",
    "RedshiftDestinationDescription",
    "ElasticsearchDestinationDescription",
    "AmazonopensearchserviceDestinationDescription",
    "SplunkDestinationDescription",
    "HttpEndpointDestinationDescription",
    "SnowflakeDestinationDescription",
    "AmazonOpenSearchServerlessDestinationDescription",
    "IcebergDestinationDescription",
    "DirectPutSourceDescription",
    "MSKSourceDescription",
    "DatabaseSourceDescription",
)
# Checked in operations.py (the pattern is beyond `re`), and never anything but what we write.
OTHER_PATTERN = ("TagKey", "TagValue", "DeliveryStreamFailureType", "PutResponseRecordId")


def differences(ours, theirs, path):
    """What our shape says otherwise than the model's, as texts."""
    raw = theirs._shape_model
    if not isinstance(ours, KINDS[raw["type"]]):
        yield f"{path}: {type(ours).__name__} for {raw['type']}"
        return
    for bound in ("min", "max"):
        if getattr(ours, bound, None) != raw.get(bound):
            yield f"{path}: {bound} {getattr(ours, bound, None)} for {raw.get(bound)}"
    if isinstance(ours, String) and theirs.name not in OTHER_PATTERN:
        if set(ours.enum) != set(raw.get("enum", ())):
            yield f"{path}: enum {ours.enum} for {raw.get('enum')}"
        if ours.pattern != raw.get("pattern"):
            yield f"{path}: pattern {ours.pattern} for {raw.get('pattern')}"
    elif isinstance(ours, List):
        yield from differences(ours.member, theirs.member, path + "[]")
    elif isinstance(ours, Map):
        yield from differences(ours.key, theirs.key, path + "{key}")
        yield from differences(ours.value, theirs.value, path + "{}")
    elif isinstance(ours, Structure):
        yield from structure_differences(ours, theirs, path)


def structure_differences(ours, theirs, path):
    if ours.name != theirs.name:
        yield f"{path}: name {ours.name} for {theirs.name}"
    if not ours.members and theirs.members:
        return  # refused by name whatever is in it; the walk in test_settings.py sees to that
    if set(ours.required) != set(theirs.required_members):
        yield f"{path}: required {ours.required} for {theirs.required_members}"
    missing = set(ours.members) ^ set(theirs.members)
    if path.startswith("out"):
        missing -= set(NEVER_ANSWERED)
    if missing:
        yield f"{path}: members {missing}"
    for name in set(ours.members) & set(theirs.members):
        yield from differences(ours.members[name], theirs.members[name], f"{path}.{name}")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_shapes_are_those_of_the_service_model(name):
    model, ours = MODEL.operation_model(name), OPERATIONS[name]
    assert list(differences(ours.input, model.input_shape, "in")) == []
    assert list(differences(ours.output, model.output_shape, "out")) == []
