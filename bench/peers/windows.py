# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""DuckDB and msgspec at the windows workload: the same records, in memory, no stream around them.

Both get the records before the clock starts, as a column of texts and as a list of bytes: reading them from a
log is work they are spared. DuckDB runs on one thread; msgspec decodes into a Struct with the three members,
which is its fastest way, and Python counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.bench._load import Plan
from headrace.bench.report import Run
from headrace.bench.windows import Event, Groups, expected, payloads

QUERY = """
    SELECT host, ts // 1000 AS second, COUNT(*) AS n, AVG(cpu) AS mean, MAX(cpu) AS peak FROM (
        SELECT data->>'host' AS host, (data->>'ts')::BIGINT AS ts, (data->>'cpu')::DOUBLE AS cpu FROM records
    ) GROUP BY host, second"""


def duckdb_windows(plan: Plan) -> Run:
    """The query in DuckDB, over texts in a table of its own."""
    import duckdb
    import pyarrow

    connection = duckdb.connect(":memory:", config={"threads": 1})
    texts = pyarrow.table({"data": [record.decode() for record in payloads(plan)]})
    connection.register("given", texts)
    connection.execute("CREATE TABLE records AS SELECT data FROM given")
    begin = time.process_time()
    rows = connection.execute(QUERY).fetchall()
    used = time.process_time() - begin
    run = Run({"events_per_cpu_s": plan.count * plan.records / used})
    if sorted((host, second, n) for host, second, n, _, _ in rows) != counts(expected(plan)):
        run.failures.append("the groups are not those of a plain count")
    return run


def msgspec_windows(plan: Plan) -> Run:
    """Records decoded by msgspec, counted by Python in one pass."""
    import msgspec

    records = payloads(plan)
    groups: dict[tuple[str, int], list[float]] = {}
    begin = time.process_time()
    decode = msgspec.json.Decoder(Event).decode
    for record in records:
        event = decode(record)
        key = (event.host, event.ts // 1000)
        group = groups.get(key)
        if group is None:
            groups[key] = [1, event.cpu, event.cpu]
        else:
            group[0] += 1
            group[1] += event.cpu
            if event.cpu > group[2]:
                group[2] = event.cpu
    result = {key: (int(n), total / n, peak) for key, (n, total, peak) in groups.items()}
    used = time.process_time() - begin
    run = Run({"events_per_cpu_s": len(records) / used})
    if counts(result) != counts(expected(plan)):
        run.failures.append("the groups are not those of a plain count")
    return run


def counts(groups: Groups) -> list[tuple[str, int, int]]:
    """COUNT by group, in order."""
    return sorted((host, second, n) for (host, second), (n, _, _) in groups.items())


WINDOWS: dict[str, Callable[[Plan], Run]] = {"duckdb": duckdb_windows, "msgspec": msgspec_windows}
