# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Runs one named query over a store until everything there was taken in; killed by the tests meanwhile.

With "reshard" one shard of the target is split and two others are merged while the query is at work.
"""

from __future__ import annotations

import sys
import time

from headrace import limits
from headrace.analytics import Query, open_query, sources
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams
from headrace.streams.stream import Stream


def main(directory: str, text: str, inline: str, reshards: str = "") -> None:
    """Arguments: the store, the query, the limit of inline state, and "reshard" if the target is to be."""
    limits.sql_state_inline_size_max = int(inline)
    sources.POLL_BYTES = 3000
    limits.sql_output_records_max = 7
    log = Log.open(directory)
    streams = Streams(log, defaults=StreamDefaults(cores=4))
    source, target = streams.stream("source"), streams.stream("target")
    query = open_query(text, streams, name="q", idle_micros=None).into(target).start()
    print("started", flush=True)
    if reshards:
        reshard(target)
    wait(query, source)
    time.sleep(0.02)
    query.stop()
    log.close()


def wait(query: Query, source: Stream) -> None:
    """Until the query took in all of the source."""
    while query.running:
        runner = query._runner
        opened = [shard.number for shard in source.table.open()]  # these are read last
        ends = {shard: source.lane_of(shard).bounds(shard)[1] for shard in opened}
        if runner is not None and all(runner.positions.get(shard, -1) >= end for shard, end in ends.items()):
            break
        time.sleep(0.002)


def reshard(stream: Stream) -> None:
    """A split and a merge of what is open."""
    time.sleep(0.01)
    first, second, third = stream.table.open()[:3]
    stream.split(first.number, (first.start + first.end) // 2)
    stream.merge(second.number, third.number)


if __name__ == "__main__":
    main(*sys.argv[1:])
