# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`python -m headrace.bench`: the same as `headrace bench`."""

from __future__ import annotations

import argparse
import sys

from headrace.bench.command import add_arguments, run
from headrace.errors import Error


def main() -> int:
    parser = argparse.ArgumentParser(prog="headrace bench", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except Error as error:
        print(f"headrace bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
