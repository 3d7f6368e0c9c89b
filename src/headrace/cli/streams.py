# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""List, create, describe and change streams.

example:
  headrace streams
  headrace streams create metrics --shards 4 --durability disk --max-bytes 2GiB --on-full drop_oldest
  headrace streams scale metrics 8
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import limits
from headrace.cli.output import add_output_arguments, human_age, human_size, note, show, show_one
from headrace.cli.target import add_target_arguments, open_store, open_stream, target
from headrace.errors import AlreadyExists, ConfigurationError, NotFound, Unsupported

if TYPE_CHECKING:
    from headrace.api import Stream
    from headrace.cli.remote import RemoteStreams

Row = dict[str, Any]

RATE_S = 10  # over which rates are taken
RATE_SAMPLE_SIZE = 64 * limits.KIB
WIDE = 100  # columns of a terminal that has room for everything
ACTIONS = ("list", "describe", "create", "delete", "scale", "split", "merge")
CREATE_ONLY = ("shards", "durability", "max_bytes", "on_full", "retention", "record_size_max")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace streams`."""
    parser.add_argument(
        "action", nargs="?", default="list", metavar="ACTION", help=", ".join(ACTIONS) + " (list)"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the stream")
    parser.add_argument(
        "rest", nargs="*", metavar="ARG", help="scale: shards; split: shard; merge: two shards"
    )
    parser.add_argument("--shards", type=int, metavar="N", help="create: open shards (1)")
    parser.add_argument("--durability", choices=("process", "disk"), help="create: what an answer promises")
    parser.add_argument("--max-bytes", metavar="SIZE", help="create: most that it may take, as in 2GiB")
    parser.add_argument(
        "--on-full", choices=("throttle", "drop_oldest"), help="create: refuse, or drop the oldest"
    )
    parser.add_argument("--retention", metavar="TIME", help="create: how long records are kept (24h)")
    parser.add_argument("--record-size-max", metavar="SIZE", help="create: data and key of a record (1MiB)")
    parser.add_argument("--yes", action="store_true", help="delete: do not ask")
    parser.add_argument("--dry-run", action="store_true", help="delete: say what would be deleted")
    add_target_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    if arguments.action not in ACTIONS:  # `headrace streams NAME` describes it
        if arguments.name is not None:
            raise ConfigurationError(
                f"{arguments.action!r} is no action", hint=f"there are {', '.join(ACTIONS)}"
            )
        arguments.action, arguments.name = "describe", arguments.action
    if arguments.action != "list" and arguments.name is None:
        raise ConfigurationError(f"streams {arguments.action} wants a NAME")
    check_words(arguments)
    where = target(arguments)
    if isinstance(where, str):
        return on_endpoint(where, arguments)
    return on_directory(where, arguments)


def check_words(arguments: argparse.Namespace) -> None:
    """Refuse what the action does not take, so that nothing that was said is passed over."""
    action = arguments.action
    if action == "list" and arguments.name is not None:
        raise ConfigurationError(
            "streams list takes no name", hint=f"headrace streams describe {arguments.name}"
        )
    if action in ("describe", "create", "delete") and arguments.rest:
        raise ConfigurationError(
            f"streams {action} takes one name; there is {' '.join(arguments.rest)!r}, too",
            hint=f"one command for each: headrace streams {action} {arguments.rest[0]}",
        )
    given = [name for name in CREATE_ONLY if getattr(arguments, name) is not None]
    if action != "create" and given:
        raise ConfigurationError(f"--{given[0].replace('_', '-')} belongs to streams create")
    for name in ("yes", "dry_run"):
        if action != "delete" and getattr(arguments, name):
            raise ConfigurationError(f"--{name.replace('_', '-')} belongs to streams delete")


# ---------------------------------------------------------------- a directory


def on_directory(directory: Path, arguments: argparse.Namespace) -> int:
    """By the library, in this process or through the one that writes the directory."""
    with open_store(directory, create=arguments.action == "create") as store:
        action: Callable[[Any, argparse.Namespace], None] = globals()[f"_{arguments.action}"]
        action(store, arguments)
    return 0


def _list(store: Any, arguments: argparse.Namespace) -> None:
    rows = [row_of(stream) for stream in store.streams()]
    show(rows, arguments, title="streams", table=short)
    for row in rows:
        if row["dropped_records"]:
            note(
                f"{row['stream']} was full and has dropped {row['dropped_records']:,} records so far (drop_oldest)"
            )


def row_of(stream: Stream) -> Row:
    """What is known of a stream at a glance."""
    info = stream.info
    records_per_s, bytes_per_s = rates_of(stream)
    return {
        "stream": info.name, "shards": info.shards, "records": info.records, "bytes": info.nbytes,
        "records_per_s": round(records_per_s, 1), "bytes_per_s": round(bytes_per_s, 1),
        "oldest": None if info.oldest is None else info.oldest.isoformat(timespec="seconds"),
        "retention_hours": info.retention_hours, "durability": info.durability,
        "max_bytes": info.max_bytes, "on_full": info.on_full,
        "dropped_records": info.dropped_records, "dropped_bytes": info.dropped_bytes,
    }  # fmt: skip


def rates_of(stream: Stream) -> tuple[float, float]:
    """Records, and bytes of data, a second over the last ten seconds by their arrival.

    Counted by the index; bytes are those of the first of these records of each shard, taken for all.
    """
    inner = stream._inner
    since_ms = inner.streams.clock.now_ms() - 1000 * RATE_S
    records, nbytes = 0, 0.0
    for shard in inner.shards:
        lane = inner.lane_of(shard.number)
        first, upcoming = lane.index_at_time(shard.number, since_ms), lane.bounds(shard.number)[1]
        if first >= upcoming:
            continue
        records += upcoming - first
        some = lane.read(shard.number, first, max_bytes=RATE_SAMPLE_SIZE)
        if len(some):
            nbytes += (upcoming - first) * float(some.lengths.mean())
    return records / RATE_S, nbytes / RATE_S


def short(row: Mapping[str, Any]) -> Row:
    """A stream as a table shows it: fewer columns on a narrow terminal."""
    oldest = None if row["oldest"] is None else datetime.fromisoformat(row["oldest"])
    wide = shutil.get_terminal_size().columns >= WIDE
    return {
        "stream": row["stream"], "shards": row["shards"],
        **({"records": row["records"]} if wide else {}),
        "records/s": f"{row['records_per_s']:,.0f}", "MB/s": f"{row['bytes_per_s'] / 1e6:,.2f}",
        "size": human_size(row["bytes"]), "limit": "" if row["max_bytes"] is None else human_size(row["max_bytes"]),
        "oldest": human_age(oldest), "keeps": f"{row['retention_hours']}h",
        **({"promise": row["durability"]} if wide else {}),
    }  # fmt: skip


def short_shard(row: Mapping[str, Any]) -> Row:
    """A shard as a table shows it: its number, and the first digits of its range."""
    return {
        "shard": int(row["shard"].removeprefix("shardId-")), "from": f"{row['start'][:8]}…",
        "to": f"{row['end'][:8]}…", "open": row["open"], "lane": row["lane"], "first": row["first"],
        "next": row["next"],
    }  # fmt: skip


def _describe(store: Any, arguments: argparse.Namespace) -> None:
    stream = open_stream(store, arguments.name)
    show_one({**row_of(stream), "arn": stream.arn}, arguments)
    rows = []
    for shard in stream._inner.shards:
        first, upcoming = stream._inner.lane_of(shard.number).bounds(shard.number)
        rows.append(
            {
                "shard": f"shardId-{shard.number:012d}",
                "start": f"{shard.start:032x}",
                "end": f"{shard.end:032x}",
                "open": shard.open,
                "lane": shard.lane,
                "first": first,
                "next": upcoming,
            }
        )
    show(rows, arguments, title="shards", table=short_shard)


def _create(store: Any, arguments: argparse.Namespace) -> None:
    if arguments.name in {stream.name for stream in store.streams()}:
        raise AlreadyExists(
            f"stream {arguments.name} exists", hint=f"headrace streams describe {arguments.name}"
        )
    options = {name: getattr(arguments, name) for name in CREATE_ONLY if getattr(arguments, name) is not None}
    store.stream(arguments.name, **options)
    note(f"stream {arguments.name} created")


def _delete(store: Any, arguments: argparse.Namespace) -> None:
    row = row_of(open_stream(store, arguments.name))
    if arguments.dry_run:
        show_one({"would_delete": row["stream"], "records": row["records"], "bytes": row["bytes"]}, arguments)
        return
    confirm(arguments, f"{row['records']:,} records")
    store.delete(arguments.name)
    note(f"stream {arguments.name} deleted")


def confirm(arguments: argparse.Namespace, what: str) -> None:
    """Ask at a terminal; elsewhere demand --yes."""
    import sys

    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"streams delete {arguments.name} would delete {what}", hint="add --yes")
    if input(f"delete {arguments.name} with {what}? Type its name: ") != arguments.name:
        raise ConfigurationError("nothing was deleted")


def _scale(store: Any, arguments: argparse.Namespace) -> None:
    open_stream(store, arguments.name).scale(numbers(arguments, 1, "a number of shards")[0])
    _describe(store, arguments)


def _split(store: Any, arguments: argparse.Namespace) -> None:
    first, second = open_stream(store, arguments.name).split(shards(arguments, 1)[0])
    note(f"shardId-{first:012d} and shardId-{second:012d} opened")


def _merge(store: Any, arguments: argparse.Namespace) -> None:
    one, other = shards(arguments, 2)
    note(f"shardId-{open_stream(store, arguments.name).merge(one, other):012d} opened")


def numbers(arguments: argparse.Namespace, count: int, what: str) -> list[int]:
    """The numbers after the name."""
    if len(arguments.rest) != count or not all(word.isdigit() for word in arguments.rest):
        raise ConfigurationError(f"streams {arguments.action} {arguments.name} wants {what}")
    return [int(word) for word in arguments.rest]


def shards(arguments: argparse.Namespace, count: int) -> list[str]:
    """Shard numbers or ids after the name."""
    if len(arguments.rest) != count or not all(w.removeprefix("shardId-").isdigit() for w in arguments.rest):
        what = "a shard" if count == 1 else f"{count} shards"
        raise ConfigurationError(f"streams {arguments.action} {arguments.name} wants {what}", hint="as in 0")
    return list(arguments.rest)


# ---------------------------------------------------------------- an endpoint


def on_endpoint(endpoint: str, arguments: argparse.Namespace) -> int:
    """By the API, which cannot say everything; what it cannot is refused by name."""
    from headrace.cli.remote import RemoteStreams

    remote = RemoteStreams(endpoint)
    for name in ("durability", "max_bytes", "on_full"):
        if getattr(arguments, name) is not None:
            raise Unsupported(
                f"the API cannot say --{name.replace('_', '-')}",
                hint="use --store DIR, also beside a running server",
            )
    name = arguments.name
    if arguments.action == "list":
        rows = []
        for known in remote.call("ListStreams")["StreamNames"]:
            summary = remote.call("DescribeStreamSummary", StreamName=known)["StreamDescriptionSummary"]
            rows.append(
                {
                    "stream": known,
                    "shards": summary["OpenShardCount"],
                    "status": summary["StreamStatus"],
                    "retention_hours": summary["RetentionPeriodHours"],
                }
            )
        show(rows, arguments, title="streams")
    elif arguments.action == "describe":
        show_one(remote.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"], arguments)
    elif arguments.action == "create":
        if arguments.retention is not None or arguments.record_size_max is not None:
            raise Unsupported(
                "CreateStream cannot say --retention or --record-size-max", hint="use --store DIR"
            )
        remote.call(
            "CreateStream", StreamName=name, ShardCount=1 if arguments.shards is None else arguments.shards
        )
        note(f"stream {name} created")
    elif arguments.action == "delete":
        delete_remotely(remote, arguments)
    elif arguments.action == "scale":
        count = numbers(arguments, 1, "a number of shards")[0]
        remote.call(
            "UpdateShardCount", StreamName=name, TargetShardCount=count, ScalingType="UNIFORM_SCALING"
        )
    elif arguments.action == "split":
        split_remotely(remote, name, shards(arguments, 1)[0])
    else:
        one, other = (f"shardId-{int(shard.removeprefix('shardId-')):012d}" for shard in shards(arguments, 2))
        remote.call("MergeShards", StreamName=name, ShardToMerge=one, AdjacentShardToMerge=other)
        note(f"{one} and {other} merged")
    return 0


def delete_remotely(remote: RemoteStreams, arguments: argparse.Namespace) -> None:
    """Delete a stream, or say what that would delete as far as the API tells it."""
    name = arguments.name
    summary = remote.call("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]
    if arguments.dry_run:
        show_one(
            {"would_delete": name, "shards": summary["OpenShardCount"], "status": summary["StreamStatus"]},
            arguments,
        )
        return
    confirm(arguments, "everything in it")
    remote.call("DeleteStream", StreamName=name)
    note(f"stream {name} deleted")


def split_remotely(remote: RemoteStreams, name: str, shard: str) -> None:
    """Split a shard in the middle of its range."""
    wanted = f"shardId-{int(shard.removeprefix('shardId-')):012d}"
    ranges = {found["ShardId"]: found["HashKeyRange"] for found in remote.shard_list(name)}
    if wanted not in ranges:
        raise NotFound(f"stream {name} has no shard {wanted}", hint=f"it has {', '.join(list(ranges)[:8])}")
    middle = (int(ranges[wanted]["StartingHashKey"]) + int(ranges[wanted]["EndingHashKey"]) + 1) // 2
    remote.call("SplitShard", StreamName=name, ShardToSplit=wanted, NewStartingHashKey=str(middle))
    note(f"{wanted} split")
