# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Every bound on what comes from outside or may grow, in one place, with how the bounds relate."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- records and requests (Data Streams) ---
record_size_max = 10 * MIB  # data and key, the most a stream may allow
record_size_default = 1 * MIB
put_records_count_max = 500
put_records_size_max = 10 * MIB  # decoded data and keys
partition_key_characters_max = 256
partition_key_size_max = 4 * partition_key_characters_max  # bytes of UTF-8
shards_max = 10_000  # open shards a stream
shard_number_max = (1 << 31) - 1
tags_max = 50  # a stream
describe_shards_max = 100  # an answer of DescribeStream
list_shards_max = 1_000  # an answer of ListShards
list_streams_max = 100  # an answer of ListStreams
get_records_count_max = 10_000
get_records_size_max = 10 * MIB
stream_size_least = 1 * MIB  # of the limit that a stream may be given
retention_hours_min = 24
retention_hours_max = 8_760
token_age_ms_max = 300_000  # shard iterators and NextToken
control_body_size_max = 2 * MIB  # a request that carries no records
validation_errors_max = 10  # named in one answer
error_value_characters_max = 4_096  # of a value shown in an error text

# --- records and requests (Firehose) ---
firehose_record_size_max = 1_024_000
firehose_batch_count_max = 500
firehose_batch_size_max = 4 * MIB
firehose_streams_max = 5_000
firehose_prefix_characters_max = 512  # evaluated
firehose_segment_size_max = 240  # bytes of a name between slashes: file systems take 255, and we add six
firehose_failure_characters_max = 1_024
firehose_list_default = 10  # names in an answer of ListDeliveryStreams
firehose_poll_size_max = 8 * MIB  # read at once for one delivery
firehose_readers_max = 2  # threads that read for all deliveries
firehose_uploads_max = 8  # objects under way at once, of all deliveries; others wait
firehose_backoff_ms_first = 250  # before the second attempt; doubles from there
firehose_backoff_ms_max = 30_000
firehose_check_attempts_max = 3  # before creating a delivery stream fails
firehose_delete_ms_max = 300_000  # for delivering what is open, before deleting fails

# --- the log ---
frame_body_size_max = 256 * KIB  # more than one record in a frame
frame_record_size_max = 16 * MIB  # a frame of one record
lanes_max = 8  # a stream
segment_size_first = 1 * MIB
segment_size_max = 64 * MIB
segment_size_least = 64 * KIB  # however small a stream's limit is
store_size_least = 64 * KIB  # of the limit that a store may be given: one such segment
segment_idle_ns = 60 * 1_000_000_000
segment_ahead_s = 2  # the next file of a `disk` lane is made this long before it may be wanted
compression_intake_max = 128 * MIB  # a second; a `disk` lane that takes in more is compressed later
ring_size_first = 2 * MIB
ring_size_direct = 32 * MIB  # of a `disk` lane that large groups keep busy
direct_write_least = 64 * KIB  # a `disk` lane writes that much and more past the page cache…
direct_speed_min = (
    500 * MIB
)  # …where the device takes so much a second; else the copy is not what a write waits for
group_size_max = 1 * GIB  # of one lane; offsets within a segment are 32 bits wide
disk_free_least = 64 * MIB  # kept free of records, so that deletes, positions and compression go on
disk_free_urgent = 1 * MIB  # below it, these draw on the ballast
ballast_size = 8 * MIB

# --- the embedded library ---
producer_batch_count_max = 32_768
producer_batch_size_max = 4 * MIB
put_group_count_max = 65_536  # records of one put_many that are framed as one group
put_group_size_max = 1 * MIB  # framed while it is in the processor's second cache
local_message_size_max = 64 * MIB
local_connections_max = 64

# --- HTTP ---
http_head_size_max = 16 * KIB
http_body_size_max = 16 * MIB
http_bodies_size_max = 256 * MIB  # being received at one time; beyond it connections wait
http_buffers_kept_max = 32 * MIB  # free receive buffers kept for the next requests
answers_kept_size_max = (
    64 * MIB
)  # memory of large answers kept for the next ones, until it is not needed for 5 s
json_depth_max = 64

# --- columns ---
columns_max = 1024  # wanted fields of one scan

# --- SQL ---
sql_text_size_max = 100 * KIB
sql_depth_max = 24  # parentheses, CASE and signs within one another; sqlglot recurses about 20 calls for each
sql_terms_max = 100  # operators in a row, as in 1 + 1 + 1 + …
sql_columns_max = 1000  # of a table or result
sql_discovery_records_max = 1000  # looked at for a schema
sql_groups_max = 4_000_000  # open groups of a query: all windows and keys together
sql_texts_size_max = 512 * MIB  # characters of keys, MIN and MAX in the open groups of a query
sql_errors_kept_max = 1000  # error rows and late rows kept to be looked at, each
sql_output_records_max = 10_000  # in one group of an output
sql_state_inline_size_max = 64 * KIB  # open windows kept with a position; beyond, they are read again

assert record_size_max + partition_key_size_max <= frame_record_size_max
assert put_records_size_max <= http_body_size_max
assert segment_size_least <= store_size_least <= stream_size_least
assert disk_free_urgent < ballast_size < disk_free_least
assert http_body_size_max <= http_bodies_size_max
assert firehose_batch_count_max <= put_records_count_max
