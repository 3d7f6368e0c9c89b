# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the declared table says what the public service model says. Method: compare it, shape by shape, with
botocore's copy of the model, for the input and output of every operation that is built."""

import botocore.session
import pytest

from headrace.streams import OPERATIONS
from headrace.streams.shapes import Blob, Boolean, Double, Integer, List, Map, String, Structure, Timestamp

MODEL = botocore.session.get_session().get_service_model("kinesis")
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


def differences(ours, theirs, path):
    """What our shape says otherwise than the model's, as texts."""
    raw = theirs._shape_model
    if not isinstance(ours, KINDS[raw["type"]]):
        yield f"{path}: {type(ours).__name__} for {raw['type']}"
        return
    if isinstance(ours, Integer) and ours.bits != (64 if raw["type"] == "long" else 32):
        yield f"{path}: {ours.bits} bits for {raw['type']}"
    for bound in ("min", "max"):
        if getattr(ours, bound, None) != raw.get(bound):
            yield f"{path}: {bound} {getattr(ours, bound, None)} for {raw.get(bound)}"
    if isinstance(ours, String):
        if set(ours.enum) != set(raw.get("enum", ())):
            yield f"{path}: enum {ours.enum} for {raw.get('enum')}"
        if ours.pattern != raw.get("pattern"):
            yield f"{path}: pattern {ours.pattern} for {raw.get('pattern')}"
    elif isinstance(ours, List):
        yield from differences(ours.member, theirs.member, path + "[]")
    elif isinstance(ours, Map):
        yield from differences(ours.key, theirs.key, path + "{}")
        yield from differences(ours.value, theirs.value, path + "{}=")
    elif isinstance(ours, Structure):
        if ours.name != theirs.name:
            yield f"{path}: name {ours.name} for {theirs.name}"
        if set(ours.required) != set(theirs.required_members):
            yield f"{path}: required {ours.required} for {theirs.required_members}"
        if set(ours.members) != set(theirs.members):
            yield f"{path}: members {set(ours.members) ^ set(theirs.members)}"
        for name in set(ours.members) & set(theirs.members):
            yield from differences(ours.members[name], theirs.members[name], f"{path}.{name}")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_shapes_are_those_of_the_service_model(name):
    operation, model = OPERATIONS[name], MODEL.operation_model(name)
    assert list(differences(operation.input, model.input_shape, name)) == []
    if model.output_shape is None:
        assert operation.output is None
    else:
        assert list(differences(operation.output, model.output_shape, name)) == []


def test_every_operation_of_the_issue_is_built():
    built = """CreateStream DeleteStream DescribeStream DescribeStreamSummary ListStreams ListShards PutRecord
    PutRecords GetShardIterator GetRecords SplitShard MergeShards UpdateShardCount
    IncreaseStreamRetentionPeriod DecreaseStreamRetentionPeriod AddTagsToStream ListTagsForStream
    RemoveTagsFromStream TagResource UntagResource ListTagsForResource"""
    assert set(OPERATIONS) == set(built.split())
    assert set(OPERATIONS) <= set(MODEL.operation_names)
