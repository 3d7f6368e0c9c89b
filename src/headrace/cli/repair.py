# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Repair a damaged directory offline. What is damaged is set aside, never deleted.

example:
  headrace verify data
  headrace repair data --skip --dry-run
  headrace repair data --skip
"""

from __future__ import annotations

import argparse
from pathlib import Path

from headrace.cli.offline import offline
from headrace.cli.output import add_output_arguments, note, show

CHECK_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace repair`."""
    parser.add_argument("directory", metavar="DIR", help="the store")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--skip", action="store_true", help="keep what follows the damage, behind a visible gap")
    how.add_argument("--cut", action="store_true", help="end each damaged lane before the damage")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Repair, show what was changed, and check again."""
    from headrace.log.repair import repair
    from headrace.log.verify import verify

    directory = Path(arguments.directory).expanduser().absolute()
    with offline(directory):
        before, changes = repair(directory, "cut" if arguments.cut else "skip", dry_run=arguments.dry_run)
    if not before.findings:
        note("nothing is damaged")
        return 0
    show([{"file": str(c.path), "change": c.what} for c in changes], arguments, title="changes")
    if arguments.dry_run:
        return 0
    after = verify(directory)
    note(
        f"{len(before.findings)} places were damaged, {len(after.findings)} are now; {after.records:,} records kept"
    )
    return CHECK_FAILED if after.findings else 0
