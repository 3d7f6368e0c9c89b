# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What callers ask of a store or a stream: checked, and in the terms of the rooms below. Nothing is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from headrace import limits
from headrace.config import check_choice, check_count, parse_duration, parse_size
from headrace.errors import InvalidArgument
from headrace.log import CODECS

if TYPE_CHECKING:
    from headrace.streams import Stream as InnerStream

Durability = Literal["process", "disk"]
OnFull = Literal["throttle", "drop_oldest"]
Mode = Literal["auto", "write", "read"]


class Unsaid(str):
    """A default that can be told from the same word when a caller says it."""


ZSTD: Any = Unsaid("zstd")


def store_options(
    *, max_bytes: int | str | None, durability: str, compression: str | None, mode: str, allow_network_fs: bool
) -> dict[str, Any]:  # fmt: skip
    """What the caller of `headrace.open` said; a pickled handle says it again.

    That a process is to write holds for that process alone, so "write" is not among it; neither is a clock.
    """
    check_choice("durability", durability, get_args(Durability))
    check_choice("mode", mode, get_args(Mode))
    said: dict[str, Any] = {}
    if max_bytes is not None:
        said["max_bytes"] = check_count("max_bytes", parse_size(max_bytes), limits.store_size_least)
    if durability != "process":
        said["durability"] = durability
    if not isinstance(compression, Unsaid):
        check_choice("compression", compression, CODECS)
        said["compression"] = compression
    if mode == "read":
        said["mode"] = mode
    if allow_network_fs:
        said["allow_network_fs"] = True
    return said


def check_joined(said: Mapping[str, Any], max_bytes: int, writer: Mapping[str, Any] | None) -> None:
    """Refuse what was said of the store as a whole where this process does not write it, unless it is so anyway.

    max_bytes: the store's limit. writer: what the process that writes says of itself; None: it is not asked.
    """
    where = (
        "with mode='read'" if writer is None else f"beside process {writer['pid']}, which writes the store"
    )
    if said.get("max_bytes", max_bytes) != max_bytes:
        raise InvalidArgument(
            f"max_bytes is {said['max_bytes']}, and cannot be changed {where}: it is {max_bytes}",
            hint="leave out max_bytes, or say it where the store is written",
        )
    if "compression" in said and (writer is None or said["compression"] != writer["compression"]):
        raise InvalidArgument(
            f"compression is {said['compression']!r}, and cannot be chosen {where}"
            + (f": it is {writer['compression']!r}" if writer is not None else ""),
            hint="leave out compression, or say it where the store is written",
        )


def stream_options(
    *, shards: int | None, retention: timedelta | str | None, max_bytes: int | str | None, on_full: str | None,
    durability: str | None, record_size_max: int | str | None,
) -> dict[str, Any]:  # fmt: skip
    """What a call asks for, in the terms of Streams.create."""
    options: dict[str, Any] = {}
    if shards is not None:
        options["shards"] = check_count("shards", shards, 1)
    if retention is not None:
        hours = seconds(retention) / 3600
        if hours != int(hours) or not 1 <= hours <= limits.retention_hours_max:
            raise InvalidArgument(
                f"retention is {retention}; allowed are whole hours from 1 to {limits.retention_hours_max}"
            )
        options["retention_hours"] = int(hours)
    if max_bytes is not None:
        options["max_bytes"] = parse_size(max_bytes)
    if on_full is not None:
        check_choice("on_full", on_full, get_args(OnFull))
        options["on_full"] = on_full
    if durability is not None:
        check_choice("durability", durability, get_args(Durability))
        options["durability"] = durability
    if record_size_max is not None:
        options["record_size_max"] = parse_size(record_size_max)
    return options


def check_same(inner: InnerStream, options: Mapping[str, Any]) -> None:
    """Refuse what was asked of a stream that exists and is otherwise."""
    for name, value in options.items():
        if name == "shards":
            if value != inner.table.open_count:
                raise InvalidArgument(
                    f"stream {inner.name} exists with {inner.table.open_count} open shards, not {value}",
                    hint="leave out shards, or change it with stream.scale()",
                )
        elif (present := getattr(inner.document, name)) != value:
            raise InvalidArgument(
                f"stream {inner.name} exists with {name} = {present!r}, not {value!r}",
                hint=f"leave out {name}, or delete the stream",
            )


def seconds(duration: timedelta | str) -> float:
    """Of a timedelta or a text such as "24h"."""
    return duration.total_seconds() if isinstance(duration, timedelta) else parse_duration(duration)


def check_timeout(name: str, value: object) -> None:
    """InvalidArgument where a time to wait is neither a number of seconds nor None, which is for ever."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidArgument(f"{name} is {value!r}; expected a number of seconds")
