# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where a command works: a directory (--store) or a server (--endpoint), by option, variable or default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from headrace.config import default_directory
from headrace.errors import ConfigurationError


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command --store and --endpoint."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--store", metavar="DIR", help="the directory; HEADRACE_STORE or the default one")
    where.add_argument("--endpoint", metavar="URL", help="a server instead; HEADRACE_ENDPOINT")


def target(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Path | str:
    """A Path (work in the directory) or a str (the endpoint URL). An option wins over either variable."""
    if arguments.endpoint:
        return str(arguments.endpoint)
    if arguments.store:
        return Path(arguments.store).expanduser()
    if environ.get("HEADRACE_ENDPOINT"):
        if environ.get("HEADRACE_STORE"):
            raise ConfigurationError(
                "HEADRACE_STORE and HEADRACE_ENDPOINT are both set",
                hint="unset one, or use --store or --endpoint",
            )
        return environ["HEADRACE_ENDPOINT"]
    return default_directory(environ)
