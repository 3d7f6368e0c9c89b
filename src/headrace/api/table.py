# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Tables into a stream: a row becomes a record of JSON, written natively, a chunk of the table at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.api.position import Positions
from headrace.core._rows import json_chunks
from headrace.errors import RemoteError

if TYPE_CHECKING:
    from headrace.api.stream import Stream


def put_table(stream: Stream, table: Any, key: str | None, timeout: float | None) -> Positions:
    """See Stream.put_table. A row without a key is spread."""
    chunks = json_chunks(table, key=key)
    found = [stream.put_many([])]
    taken = 0
    for buffer, offsets, keys in chunks:
        text, ends = buffer.tobytes(), offsets.tolist()
        data = [text[start:end] for start, end in pairwise(ends)]
        try:
            found.append(stream.put_many(data, keys, timeout=timeout))
        except RemoteError as error:
            if error.accepted is not None:  # as long as the table, not only as this chunk
                rest = sum(len(offsets) - 1 for _, offsets, _ in chunks)
                error.accepted = np.concatenate([np.ones(taken, bool), error.accepted, np.zeros(rest, bool)])
            raise
        taken += len(data)
    return Positions.concat(found)
