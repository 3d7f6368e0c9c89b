# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where a command works: a directory (--store) or a server (--endpoint), by option, variable or default; and how
it is opened."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headrace.config import default_directory
from headrace.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from headrace.api import Store, Stream


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


def open_store(directory: Path, *, create: bool = False, mode: Literal["auto", "read"] = "auto") -> Store:
    """The store in a directory, here or beside the process that writes it. NotFound says how to make one."""
    from headrace.api import open as open_directory

    try:
        return open_directory(directory, create=create, mode=mode)
    except NotFound:
        raise no_store(directory) from None


def no_store(directory: Path) -> NotFound:
    """What to say where a store was expected."""
    return NotFound(
        f"there is no store in {directory}",
        hint="make one: headrace serve, headrace put STREAM --create 1; or name another with --store DIR",
    )


def open_stream(store: Store, name: str) -> Stream:
    """A stream that must be there. NotFound says how to find or make it."""
    try:
        return store.stream(name, create=False)
    except NotFound as error:
        near = f"{error.hint}; " if error.hint else ""
        raise NotFound(
            f"there is no stream {name} in {store.path}",
            hint=f"{near}headrace streams lists them, headrace streams create {name} makes it",
        ) from None
