# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from headrace.core._batch import RecordBatch

def decode_frames(
    data: bytes, salt: int, index: int, max_records: int, max_bytes: int, shard: int | None = None
) -> RecordBatch: ...
