# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of operations of Data Streams that are built.

To add one: its two structures in `streams/model.py`, its function in the module of its family here, its row
below, and its tests. What the model knows and this table does not is answered UnknownOperationException.
"""

from __future__ import annotations

from headrace.streams import model
from headrace.streams.operations import describe, lifecycle, read, reshard, retention, tags
from headrace.streams.operations.operation import Operation

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        # a stream's life
        Operation("CreateStream", model.CREATE_STREAM, None, lifecycle.create_stream),
        Operation("DeleteStream", model.DELETE_STREAM, None, lifecycle.delete_stream),
        # what is there
        Operation(
            "DescribeStream", model.DESCRIBE_STREAM, model.DESCRIBE_STREAM_ANSWER, describe.describe_stream
        ),
        Operation(
            "DescribeStreamSummary",
            model.DESCRIBE_STREAM_SUMMARY,
            model.DESCRIBE_STREAM_SUMMARY_ANSWER,
            describe.describe_stream_summary,
        ),
        Operation("ListStreams", model.LIST_STREAMS, model.LIST_STREAMS_ANSWER, describe.list_streams),
        Operation("ListShards", model.LIST_SHARDS, model.LIST_SHARDS_ANSWER, describe.list_shards),
        # records in
        Operation("PutRecord", model.PUT_RECORD, model.PUT_RECORD_ANSWER, None),  # see service.py
        Operation("PutRecords", model.PUT_RECORDS, model.PUT_RECORDS_ANSWER, None),
        # records out
        Operation(
            "GetShardIterator",
            model.GET_SHARD_ITERATOR,
            model.GET_SHARD_ITERATOR_ANSWER,
            read.get_shard_iterator,
        ),
        Operation("GetRecords", model.GET_RECORDS, model.GET_RECORDS_ANSWER, read.get_records),
        # shards
        Operation("SplitShard", model.SPLIT_SHARD, None, reshard.split_shard),
        Operation("MergeShards", model.MERGE_SHARDS, None, reshard.merge_shards),
        Operation(
            "UpdateShardCount",
            model.UPDATE_SHARD_COUNT,
            model.UPDATE_SHARD_COUNT_ANSWER,
            reshard.update_shard_count,
        ),
        # retention
        Operation(
            "IncreaseStreamRetentionPeriod", model.INCREASE_RETENTION, None, retention.increase_retention
        ),
        Operation(
            "DecreaseStreamRetentionPeriod", model.DECREASE_RETENTION, None, retention.decrease_retention
        ),
        # tags
        Operation("AddTagsToStream", model.ADD_TAGS, None, tags.add_tags_to_stream),
        Operation("RemoveTagsFromStream", model.REMOVE_TAGS, None, tags.remove_tags_from_stream),
        Operation("ListTagsForStream", model.LIST_TAGS, model.LIST_TAGS_ANSWER, tags.list_tags_for_stream),
        Operation("TagResource", model.TAG_RESOURCE, None, tags.tag_resource),
        Operation("UntagResource", model.UNTAG_RESOURCE, None, tags.untag_resource),
        Operation(
            "ListTagsForResource",
            model.LIST_RESOURCE_TAGS,
            model.LIST_RESOURCE_TAGS_ANSWER,
            tags.list_tags_for_resource,
        ),
    )
}
