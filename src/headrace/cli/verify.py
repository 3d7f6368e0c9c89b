# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Check a directory offline: every byte that it keeps. Changes nothing; exit code 3 where something is damaged.
What a repair or a loss of power left out is listed as gaps in the indexes, which are no damage.

example:
  headrace verify data && echo sound
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.offline import offline
from headrace.cli.output import Row, add_output_arguments, note, progress, show
from headrace.config import default_directory

if TYPE_CHECKING:
    from headrace.log.gaps import Gap

CHECK_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace verify`."""
    parser.add_argument("directory", nargs="?", metavar="DIR", help="the store; the default one if not given")
    add_output_arguments(parser)


def row_of(gap: Gap) -> Row:
    """Indexes that no record has. How many records they stand for is not known where the index moved ahead."""
    return {
        "lane": gap.lane, "shard": f"shardId-{gap.shard:012d}", "from": gap.first, "to": gap.last,
        "records": None if gap.stepped else gap.last - gap.first + 1,
    }  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Check, and show what is wrong."""
    from headrace.log.verify import store_size, verify

    directory = Path(arguments.directory or default_directory()).expanduser().absolute()
    size = store_size(directory) if (directory / "lanes").exists() else None
    with offline(directory), progress(size) as advance:
        report = verify(directory, advance=advance)
    rows = [
        {"file": str(f.path), "byte": f.byte if f.byte >= 0 else None, "what": f.message}
        for f in report.findings
    ]
    if rows:
        show(rows, arguments, title="damage")
    if report.gaps:
        show([row_of(gap) for gap in report.gaps], arguments, title="gaps")
    if report.gap_count > len(report.gaps):
        note(f"note: {report.gap_count - len(report.gaps):,} more gaps are not listed")
    for text in report.notes:
        note(f"note: {text}")
    verdict = f"{len(rows)} places are damaged" if rows else "sound"
    if report.gap_count:
        verdict += f", with {report.gap_count:,} gaps that a repair or a loss of power left"
    note(f"{verdict}: {report.files:,} files, {report.bytes:,} bytes, {report.records:,} records read")
    if rows:
        note("headrace repair DIR --skip keeps what is whole on both sides; --cut ends the lane before it")
    return CHECK_FAILED if rows else 0
