# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Run SQL windows over streams: the result here, into a stream, or as a named query that a server keeps running.

A query without --until has no end; Ctrl-C ends it. `sql run NAME` in a directory that nobody serves runs here
until Ctrl-C, and goes on whenever the directory is served; beside a running server it is given to that one at
once. --into without a name delivers at least once.

example:
  headrace sql --until latest "SELECT host, window_start, COUNT(*) AS n
    FROM TABLE(TUMBLE(TABLE metrics, DESCRIPTOR(ts), INTERVAL '1' SECOND))
    GROUP BY host, window_start, window_end"
  headrace sql explain "SELECT * FROM metrics WHERE cpu > 90"
  headrace sql run hot --into alerts "SELECT * FROM metrics WHERE cpu > 90"
  headrace sql list
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.output import add_output_arguments, format_of, note, show
from headrace.cli.tail import when
from headrace.cli.target import add_target_arguments, open_store, open_stream, target
from headrace.errors import ConfigurationError, NotFound, SQLError, Unsupported

if TYPE_CHECKING:
    from headrace.api import Store, Stream
    from headrace.api.query import Query

ACTIONS = ("check", "explain", "run", "list", "stop", "delete")
NAMED = ("run", "stop", "delete")
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace sql`."""
    parser.usage = "headrace sql [check | explain | run NAME | list | stop NAME | delete NAME] [TEXT | -f FILE] [options]"
    parser.add_argument(
        "words", nargs="*", metavar="TEXT", help="the query, after an action where one is meant"
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", help="the query's text is in a file; - is standard input"
    )
    parser.add_argument(
        "--from", dest="start", default="earliest", metavar="WHEN", help="earliest, latest, -10m or a time"
    )
    parser.add_argument(
        "--until", metavar="WHEN", help="latest (what is there now) or a time; without: no end"
    )
    parser.add_argument(
        "--dialect", choices=("flink", "kinesis"), help="recognised from the text if not given"
    )
    parser.add_argument("--source", metavar="STREAM", help="the stream that SOURCE_SQL_STREAM_001 stands for")
    parser.add_argument("--into", metavar="STREAM", help="put the rows into a stream instead of showing them")
    add_target_arguments(parser)
    add_output_arguments(parser)
    # The query may stand before, between or after options; argparse alone takes it at one place only.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]


def run(arguments: argparse.Namespace) -> int:
    """Do the action; an error of the query is shown with a caret below its place."""
    where = target(arguments)
    if isinstance(where, str):
        raise Unsupported(
            "sql works in a directory", hint="use --store; a server runs its named queries itself"
        )
    action, name, text = parts_of(arguments)
    try:
        return act(action, name, text, where, arguments)
    except SQLError as error:
        if error.caret:
            print(error.caret, file=sys.stderr)
        raise


def parts_of(arguments: argparse.Namespace) -> tuple[str, str | None, str]:
    """The action, the name it is for, and the query's text."""
    words = list(arguments.words)
    action = words.pop(0) if words and words[0] in ACTIONS else "query"
    name = None
    if action in NAMED:
        if not words:
            raise ConfigurationError(f"sql {action} needs the name of a query")
        name = words.pop(0)
    wants_text = action not in ("list", "stop", "delete")
    if arguments.file and words:
        raise ConfigurationError("the query is given twice: as an argument and by -f")
    if arguments.file:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
    else:
        text = " ".join(words)
    if bool(text.strip()) != wants_text:
        raise ConfigurationError(
            "there is no query" if wants_text else f"sql {action} takes no query",
            hint="see headrace sql --help",
        )
    return action, name, text


def act(action: str, name: str | None, text: str, where: Path, arguments: argparse.Namespace) -> int:
    """One action over an open store."""
    if action == "check":
        return check(text, arguments)
    mode: Any = (
        "read" if action in ("explain", "list") or (action == "query" and not arguments.into) else "auto"
    )
    with open_store(where, mode=mode) as store:
        if action == "list":
            return listed(store, arguments)
        if action in ("stop", "delete"):
            return forget(store, str(name), action)
        query = opened(store, text, name, arguments)
        if action == "explain":
            print(query.plan)
            return 0
        if arguments.into or name is not None:
            return into(store, query, arguments)
        return shown(query, arguments)


def opened(store: Store, text: str, name: str | None, arguments: argparse.Namespace) -> Query:
    """The query, planned but not begun."""
    source = arguments.source
    try:
        return store.sql(
            text,
            start=moment(arguments.start, "--from"),
            until=moment(arguments.until, "--until"),
            name=name,
            dialect=arguments.dialect,
            sources={"SOURCE_SQL_STREAM_001": open_stream(store, source)} if source else None,
        )
    except NotFound as error:
        hint = error.hint or "a table is a stream; headrace streams lists them"
        raise NotFound(error.message, hint=hint) from None


def moment(text: str | None, option: str) -> Any:
    """A start or end as Store.sql takes it."""
    if text is not None and text.isdigit():
        return int(text)
    return when(text, option)


def check(text: str, arguments: argparse.Namespace) -> int:
    """Say whether a text is a query of its dialect; its columns are looked at only where it declares them."""
    from headrace.analytics import planner
    from headrace.analytics.text import parse

    parsed = parse(text, arguments.dialect)
    sketch = planner.outline(parsed)
    if sketch.table is not None:
        planner.plan(sketch)
    else:
        planner.check_functions(sketch)
    note(
        f"{parsed.dialect}: reads {sketch.stream}"
        + (f", writes {sketch.target.name}" if sketch.target else "")
        + (
            ""
            if sketch.table
            else "; columns and types not checked: `sql explain` does, or CREATE TABLE in the text"
        )
    )
    return 0


def shown(query: Query, arguments: argparse.Namespace) -> int:
    """Print the rows as they come; Ctrl-C is the normal end of a query that has none."""
    if format_of(arguments) == "table" and not query.bounded:
        arguments.output = "json"  # a table needs to know its rows before it is drawn
    for line in query.found:
        note(f"note: {line}")
    try:
        show(rows_of(query), arguments, columns=list(query.schema))
    except KeyboardInterrupt:
        if query.bounded:
            raise
    report(query)
    return 0


def rows_of(query: Query) -> Iterator[Row]:
    """The rows as dicts."""
    from headrace.analytics.output import values

    for columns in query:
        lists = [values(columns.column(name), kind) for name, kind in query.schema.types.items()]
        for row in zip(*lists, strict=True):
            yield dict(zip(query.schema, row, strict=True))


def into(store: Store, query: Query, arguments: argparse.Namespace) -> int:
    """Run a query into a stream until it ends or Ctrl-C."""
    if not arguments.into and (query.target is None or query.dialect == "kinesis"):
        raise ConfigurationError(
            f"sql run {query.name} does not say where its rows go", hint="add --into STREAM"
        )
    if query.name is not None and arguments.until:
        raise ConfigurationError("a named query has no end", hint="leave out --until, or the name")
    stream = store.stream(arguments.into) if arguments.into else None
    if not store.writer:
        return beside(store, query, stream)
    if stream is not None:
        query.into(stream)
    query.start()
    note(query.plan)
    try:
        looked_after = False  # whether its entry was there, and said that it is to run
        while query.running:
            query.wait(0.2)
            wanted = wanted_still(store, query)
            if looked_after and not wanted:
                query.halt()
            looked_after = looked_after or wanted
        query.wait()
    except KeyboardInterrupt:
        query.halt()
        if query.bounded:
            raise
    report(query)
    return 0


def wanted_still(store: Store, query: Query) -> bool:
    """Whether the catalogue says that a named query is to run; somebody else may have stopped or deleted it."""
    from headrace.analytics import applications

    known = None if query.name is None else applications.find(store.inner.log.catalogue, query.name)
    return known is not None and known.run


def beside(store: Store, query: Query, stream: Stream | None) -> int:
    """The same where another process writes the store: it runs a named query, and takes the rows of another."""
    note(query.plan)
    if query.name is not None:
        store._do("query_run", **query.submission(stream))
        note(f"{query.name}: given to the process that writes {store.path}; it runs whenever that serves")
        return 0
    assert stream is not None
    try:
        for records, keys in query.outgoing(stream):
            if records:
                stream.put_many(records, keys, timeout=None)
    except KeyboardInterrupt:
        if query.bounded:
            raise
    report(query)
    return 0


def report(query: Query) -> None:
    """What was left out, if anything was."""
    note(f"{query.records} records read")
    if query.gaps:
        note(f"records were dropped {query.gaps} times before the query read them: it does not keep up")
    if query.late_rows:
        note(f"{query.late_rows} rows came after their window had closed and are in no result")
    if query.error_rows:
        reasons = sorted(set(query.errors["reason"].tolist()))
        note(f"{query.error_rows} error rows are in no result: {'; '.join(reasons)}")


def listed(store: Store, arguments: argparse.Namespace) -> int:
    """The named queries."""
    from headrace.analytics import applications

    rows = [
        {
            "name": known.name,
            "runs": known.run,
            "dialect": known.dialect,
            "source": known.source,
            "target": known.target,
            "text": " ".join(known.text.split()),
        }
        for known in applications.everything(store.inner.log.catalogue)
    ]
    show(rows, arguments, columns=("name", "runs", "dialect", "source", "target", "text"), title="queries")
    return 0


def forget(store: Store, name: str, action: str) -> int:
    """Stop or delete a named query, here or by way of the process that writes the store."""
    store._do("query_end", name=name, delete=action == "delete")
    note(f"{name}: {'deleted' if action == 'delete' else 'stopped'}")
    return 0
