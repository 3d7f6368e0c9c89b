# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Runs one named query over a store until everything there was taken in; killed by the tests meanwhile."""

from __future__ import annotations

import sys
import time

from headrace import limits
from headrace.analytics import open_query, sources
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams


def main(directory: str, text: str, inline: str) -> None:
    """Arguments: the store, the query, the limit of inline state."""
    limits.sql_state_inline_size_max = int(inline)
    sources.POLL_BYTES = 3000
    limits.sql_output_records_max = 7
    log = Log.open(directory)
    streams = Streams(log, defaults=StreamDefaults(cores=4))
    source = streams.stream("source")
    query = open_query(text, streams, name="q", idle_micros=None).into(streams.stream("target")).start()
    print("started", flush=True)
    while query.running:
        runner = query._runner
        ends = {shard.number: source.lane_of(shard.number).bounds(shard.number)[1] for shard in source.shards}
        if runner is not None and all(runner.positions.get(shard, 0) >= end for shard, end in ends.items()):
            break
        time.sleep(0.005)
    time.sleep(0.02)
    query.stop()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
