# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Query: what `store.sql` gives. Iterate it, hand it to polars, or send it into a stream for ever.

query = open_query("SELECT …", streams, until="latest")
for columns in query: …                 # each time windows close
query.to_polars()                       # all of it, if the input ends
query.into(stream).start()              # in a thread; with a name it survives kill -9
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from headrace.analytics import applications, discovery, planner
from headrace.analytics.engine import Engine
from headrace.analytics.output import records
from headrace.analytics.plan import Plan
from headrace.analytics.runner import IDLE_MICROS, Runner
from headrace.analytics.sinks import ExactSink, Sink, StreamSink
from headrace.analytics.sources import MemorySource, Source, StreamSource
from headrace.analytics.tables import Table
from headrace.analytics.text import parse
from headrace.analytics.types import Schema
from headrace.clock import Clock, SystemClock
from headrace.core import handover
from headrace.core.table import Columns
from headrace.errors import (
    Closed,
    InvalidArgument,
    LockedByOther,
    NotFound,
    ResourceInUse,
    SQLError,
    Unsupported,
)
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

logger = logging.getLogger(__name__)

_STOP_S = 30.0
_running: set[tuple[str, str]] = set()  # (store, name) of named queries at work in this process
_running_lock = threading.Lock()


class Query:
    """One query over one stream, bounded or without end. Use `open_query`.

    Attributes:
        text, dialect, name: what it was made from.
        target: the stream that INSERT INTO names, if the text says so.
    """

    def __init__(
        self, sketch: planner.Outline, source: Stream | MemorySource, *, start: Any, until: Any, name: str | None,
        clock: Clock, idle_micros: int | None, streams: Streams | None,
    ) -> None:  # fmt: skip
        self.text = sketch.query.text
        self.dialect = sketch.query.dialect
        self.name = name
        self.target = sketch.target.name if sketch.target is not None else None
        self._sketch = sketch
        self._from = source
        self._start, self._until = start, until
        self._clock = clock
        self._idle_micros = idle_micros
        self._streams = streams
        self._plan: Plan | None = None
        self._runner: Runner | None = None
        self._into: Stream | None = None
        self._all: Columns | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._drain = True
        self._entry = threading.Lock()  # held while the catalogue's entry is written
        self._stopped = False  # by its user, so that its entry is not to say that it runs
        self._application: applications.Application | None = None  # the entry that it was resumed from
        self._known: applications.Application | None = None
        if name is not None:
            applications.check_name(name)
            if isinstance(source, Stream):
                self._known = applications.find(source.streams.log.catalogue, name)
        self._found: Table | None = None  # the discovered columns
        self._plan_if_possible()

    # --- what it is ---

    @property
    def plan(self) -> str:
        """What it does, one step a line; while nothing is known of its columns, that it waits for records."""
        if self._plan is None:
            return f"scan {self._sketch.stream}: waits for its first records, to find columns in them"
        return self._plan.text

    @property
    def found(self) -> list[str]:
        """What was found where the text declares no columns: their types, and each guess with its reason."""
        table = self._found
        if table is None and self._sketch.table is None and self._known is not None:
            table = self._known.table()
        if table is None:
            return []
        columns = ", ".join(
            f"{part.name} {part.type}{planner.scan_note(part.scan)}" for part in table.fields.values()
        )
        return [f"{self._sketch.stream}: {columns}", *table.notes]

    @property
    def schema(self) -> Schema:
        """The columns of the result."""
        return self._planned().schema

    @property
    def bounded(self) -> bool:
        """Whether it ends by itself."""
        return self._until is not None or isinstance(self._from, MemorySource)

    @property
    def late_rows(self) -> int:
        """Rows that came after their window had closed; they are in no result."""
        return self._runner.engine.rejects.late if self._runner is not None else 0

    @property
    def late(self) -> Columns:
        """The latest of the late rows."""
        return self._engine().rejects.late_columns()

    @property
    def error_rows(self) -> int:
        """Rows and groups that were errors; they are in no result."""
        return self._runner.engine.rejects.errors if self._runner is not None else 0

    @property
    def gaps(self) -> int:
        """How often records were dropped (by age or size) before the query read them; 0: it saw everything."""
        return self._runner.engine.rejects.gaps if self._runner is not None else 0

    @property
    def errors(self) -> Columns:
        """The latest error rows: where they stood, the reason, and what they were."""
        return self._engine().rejects.error_columns()

    @property
    def records(self) -> int:
        """Records taken in."""
        return self._runner.records if self._runner is not None else 0

    @property
    def running(self) -> bool:
        """Whether it is at work in its thread."""
        return self._thread is not None and self._thread.is_alive()

    def __repr__(self) -> str:
        state = "running" if self.running else "not started" if self._runner is None else "ended"
        return f"<Query {self.name or self.dialect} {state}>\n{self.plan}"

    # --- results to the caller ---

    def __iter__(self) -> Iterator[Columns]:
        """Columns, each time windows close or rows pass the filter. One pass: the query runs as you ask."""
        if self.name is not None:
            raise Unsupported("a named query keeps its position with its output", hint="send it into(stream)")
        return self._iterate()

    def _iterate(self) -> Iterator[Columns]:
        runner = self._begin(self._source(self._start))
        for result in runner.results():
            yield result.columns

    def columns(self) -> Columns:
        """All rows of a bounded query; it runs when this is first asked for."""
        if self._all is not None:
            return self._all
        if not self.bounded:
            raise InvalidArgument(
                "this query has no end", hint='give until="latest", iterate it, or send it into(stream)'
            )
        parts = list(self)
        self._all = Columns.concat(parts) if parts else empty(self._planned())
        return self._all

    def to_polars(self) -> Any:
        """All rows of a bounded query as a polars DataFrame."""
        return handover.to_polars(self.columns())

    def to_arrow(self) -> Any:
        """All rows of a bounded query as a pyarrow Table."""
        return handover.to_arrow(self.columns())

    def to_pandas(self) -> Any:
        """All rows of a bounded query as a pandas DataFrame."""
        return handover.columns_to_pandas(self.columns())

    def to_numpy(self) -> dict[str, Any]:
        """All rows of a bounded query as numpy arrays by name."""
        return self.columns().to_numpy()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow stream of a bounded query."""
        return self.columns().__arrow_c_stream__(requested_schema)

    # --- results into a stream ---

    def into(self, stream: Any) -> Query:
        """Send the rows into a stream (of Streams, or of an open store), as JSON records, once it is started."""
        stream = self._checked_target(stream)
        if not stream.streams.log.writer:
            raise LockedByOther("another process writes this store; a query into a stream runs in that process",
                                hint="run it where the store was opened first")  # fmt: skip
        if self._runner is not None:
            raise InvalidArgument("the query is at work already", hint="call into() before start()")
        self._into = stream
        return self

    def outgoing(self, stream: Any) -> Iterator[tuple[list[bytes], list[str]]]:
        """The rows as records with their partition keys, for who puts them into this stream in another way."""
        self._checked_target(stream)
        runner = self._begin(self._source(self._start))
        for result in runner.results():
            yield records(result.columns, self._planned().schema), list(result.partition_keys())

    def submission(self, stream: Any = None) -> dict[str, Any]:
        """A named query for another process to run (applications.submit): its entry and the columns it has now."""
        target = self._target_stream() if stream is None else self._checked_target(stream)
        self._check_named()
        columns = applications.columns_of(self._found)
        return {
            "wanted": self._wanted(str(self.name), target),
            "columns": None if columns is None else [[part.name, part.path, part.type, part.scan] for part in columns],
        }  # fmt: skip

    def _checked_target(self, stream: Any) -> Stream:
        stream = inner_stream(stream)
        if not isinstance(stream, Stream):
            raise InvalidArgument(f"into() takes a stream; got {type(stream).__name__}")
        if stream is self._from:
            raise InvalidArgument(f"{stream.name} is what the query reads; its rows would come back for ever")
        return stream

    def resumes(self, application: applications.Application) -> None:
        """Before start(): the query goes on under this entry of the catalogue, and does not write it."""
        self._application = application

    def is_of(self, application: applications.Application) -> bool:
        """Whether it was resumed from this entry, and not from one of the same name that was deleted since."""
        return self._application is not None and self._application.id == application.id

    def start(self) -> Query:
        """Run in a thread of its own. Needs into(), or INSERT INTO an existing stream.

        With a name each row goes in exactly once, also across `kill -9`, and a later query of the same
        name goes on where this one stood.
        """
        if self._thread is not None:
            raise InvalidArgument("the query was started already")
        if self._into is None:
            self._into = self._target_stream()
        if self.name is not None:
            self._claim(self.name, self._into)
        self._thread = threading.Thread(
            target=self._work, name=f"headrace-sql-{self.name or ''}", daemon=True
        )
        self._thread.start()
        return self

    def stop(self, *, drain: bool = True) -> Query:
        """End the thread. What it read is computed and delivered; a named query keeps its open windows for
        the next start, one without a name gives them now (not with drain=False).

        Raises what made the query fail, if it failed.
        """
        self._drain = drain
        if self.name is not None and self._into is not None:
            catalogue = self._into.streams.log.catalogue
            with self._entry:
                self._stopped = True
                known = applications.find(catalogue, self.name)
                if known is not None and known.run:
                    known.run = False
                    applications.save(catalogue, known)
        return self.halt()

    def halt(self) -> Query:
        """End the thread, but leave a named query marked to run whenever the store is served."""
        if self._runner is not None:
            self._runner.draining = self._drain
        self._stopping.set()
        return self.wait(_STOP_S)

    def close(self) -> None:
        """The same when the store closes; a failure that nobody asked about is logged."""
        try:
            self.halt()
        except Exception as failure:
            logger.error("the query %s had failed: %s", self.name or self.text[:60], failure)

    def wait(self, timeout: float | None = None) -> Query:
        """Until the query ends: its input did, it was stopped, or it failed (then that is raised)."""
        if self._thread is not None:
            self._thread.join(timeout)
        if self._failure is not None:
            raise self._failure
        return self

    def __enter__(self) -> Query:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- inside ---

    def _target_stream(self) -> Stream:
        if self.target is None or self._streams is None:
            raise InvalidArgument("the query has nowhere to go", hint="call into(stream) before start()")
        if self.dialect == "kinesis":
            raise InvalidArgument(
                f'"{self.target}" is an in-application stream; nothing says which stream of the store gets its rows',
                hint="call into(stream) before start()",
            )
        return self._streams.stream(self.target)

    def _check_named(self) -> None:
        if isinstance(self._from, MemorySource) or self._until is not None:
            raise Unsupported("a named query reads a stream of the store, without end")
        if isinstance(self._start, dict):
            raise Unsupported("a named query starts at a moment, not at positions")

    def _claim(self, name: str, stream: Stream) -> None:
        self._check_named()
        key = (str(stream.streams.log.directory), name)
        with _running_lock:
            if key in _running:
                raise ResourceInUse(f"the query {name} is running already in this process")
            _running.add(key)

    def _work(self) -> None:
        """The thread."""
        assert self._into is not None
        try:
            self._run(self._into)
        except Closed as closed:
            if not self._stopping.is_set():
                self._failure = closed
        except BaseException as failure:
            self._failure = failure
        finally:
            if self.name is not None:
                with _running_lock:
                    _running.discard((str(self._into.streams.log.directory), self.name))

    def _run(self, stream: Stream) -> None:
        while self._plan is None and not self._stopping.is_set():  # an empty stream: wait for its columns
            self._plan_if_possible()
            if self._plan is None:
                self._stopping.wait(0.05)
        if self._plan is None:
            return
        schema, start = self._plan.schema, self._start
        sink: Sink
        if self.name is not None:
            owner = self._register(self.name, stream).owner
            sink = ExactSink(stream, schema, owner, self._stopping)
            start = sink.start() if sink.found else start
        else:
            sink = StreamSink(stream, schema, self._stopping)
        runner = self._begin(self._source(start))
        runner.run(sink)

    def _register(self, name: str, stream: Stream) -> applications.Application:
        """Write the query into the catalogue, or find it there. One that was resumed has its entry, and leaves
        it alone: whoever deleted or stopped it in the meantime would see it come back.
        """
        if self._application is not None:
            return self._application
        wanted = self._wanted(name, stream)
        columns = applications.columns_of(self._found)
        with self._entry:
            return applications.register(
                stream.streams.log.catalogue, wanted, columns, self._clock.now_ms(), run=not self._stopped
            )

    def _wanted(self, name: str, stream: Stream) -> dict[str, Any]:
        """The members of its entry in the catalogue."""
        assert isinstance(self._from, Stream)
        return {
            "name": name, "text": self.text, "dialect": self.dialect, "source": self._from.name,
            "target": stream.name, "start": self._start, "idle_micros": self._idle_micros,
        }  # fmt: skip

    def _begin(self, source: Source) -> Runner:
        if self._runner is not None:
            raise InvalidArgument("a query runs once", hint="make it again with sql()")
        runner = Runner(
            self._planned(), source, self._clock, idle_micros=self._idle_micros, label=self.name or ""
        )
        runner.draining = self._drain
        runner.stopping = self._stopping
        self._runner = runner
        return runner

    def _source(self, start: Any) -> Source:
        if isinstance(self._from, MemorySource):
            return self._from
        return StreamSource(self._from, start, self._until)

    def _plan_if_possible(self) -> None:
        """Plan, unless columns are to be found in records that are not there yet."""
        table = self._sketch.table
        if table is None and self._known is not None:
            table = self._known.table()
        if table is None:
            table = discovery.discover(self._source(self._start).sample(), planner.time_column(self._sketch))
            if table is None and isinstance(self._from, Stream):
                table = discovery.discover(
                    StreamSource(self._from).sample(), planner.time_column(self._sketch)
                )
            if table is None and not self.bounded:
                return
            self._found = table
        self._plan = planner.plan(self._sketch, table)

    def _planned(self) -> Plan:
        if self._plan is None:
            self._plan_if_possible()
        if self._plan is None:
            raise SQLError(f"the columns of {self._sketch.source} are not known: it has no records yet",
                           hint="declare them: CREATE TABLE name (column type, …)")  # fmt: skip
        return self._plan

    def _engine(self) -> Engine:
        return self._runner.engine if self._runner is not None else Engine(self._planned())


def empty(plan: Plan) -> Columns:
    """A result without rows, with the plan's columns."""
    from headrace.analytics.columns import columns_of
    from headrace.analytics.vectors import constant

    none = {
        name: constant(kind, None).spread(1).take(slice(0, 0)) for name, kind in plan.schema.types.items()
    }
    return columns_of(none, 0)


def open_query(
    text: str,
    streams: Streams | None = None,
    *,
    start: Any = "earliest",
    until: Any = None,
    name: str | None = None,
    dialect: str | None = None,
    sources: Mapping[str, Any] | None = None,
    idle_micros: int | None = IDLE_MICROS,
    clock: Clock | None = None,
) -> Query:
    """Parse and plan a query.

    Args:
        text: the SQL; its FROM names a stream of the store, or one of `sources`.
        streams: the store's streams.
        start: "earliest", "latest", a moment (datetime, timedelta ago, milliseconds since 1970), or
            positions by shard.
        until: None: without end; "latest": what is there now; a moment.
        name: makes it durable: state and results survive `kill -9`, and the same name goes on.
        dialect: "flink" or "kinesis"; None: recognised from the text.
        sources: tables by name: streams, batches of records, or rows (dicts). A single one also answers to
            SOURCE_SQL_STREAM_001 of the kinesis dialect.
        idle_micros: how long a shard may be silent before the watermark goes on without it; None: for ever.

    Raises:
        SQLError: the text is wrong or asks for something unsupported; it names line and column.
        NotFound: there is no such stream.
    """
    sketch = planner.outline(parse(text, dialect))
    given: Any = dict(sources or {})
    source: Any = None
    if sketch.stream in given:
        source = given[sketch.stream]
    elif len(given) == 1 and sketch.stream.startswith("SOURCE_SQL_STREAM_"):
        (source,) = given.values()
    elif streams is not None:
        source = streams.stream(sketch.stream)
    else:
        raise NotFound(f"there is no table {sketch.stream}", hint=f"there are {', '.join(given) or 'none'}")
    source = inner_stream(source)
    if not isinstance(source, Stream | MemorySource):
        source = MemorySource.of(source)
    clock = clock or SystemClock()
    return Query(
        sketch, source, start=_milliseconds(start, clock), until=_milliseconds(until, clock), name=name,
        clock=clock, idle_micros=idle_micros, streams=streams,
    )  # fmt: skip


def resume(application: applications.Application, streams: Streams) -> Query:
    """A named query of the catalogue, started: it goes on where it stood."""
    query = open_query(
        application.text,
        streams,
        start=application.start,
        name=application.name,
        dialect=application.dialect,
        sources={application.source: streams.stream(application.source)},
        idle_micros=application.idle_micros,
        clock=streams.clock,
    )
    query.resumes(application)
    return query.into(streams.stream(application.target)).start()


def inner_stream(given: Any) -> Any:
    """The stream behind the embedded library's handle; anything else as it is."""
    return getattr(given, "_inner", given)


def _milliseconds(moment: Any, clock: Clock) -> Any:
    """Datetimes, and timedeltas ago, as milliseconds since 1970; everything else as it is."""
    if isinstance(moment, datetime):
        return int(moment.timestamp() * 1000)
    if isinstance(moment, timedelta):
        return clock.now_ms() - moment // timedelta(milliseconds=1)
    return moment
