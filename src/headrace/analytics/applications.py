# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Named queries in the catalogue: their text, the columns they were planned with, and whether they run.

A name stands for one query with one state. The same name with another text, source or target is refused:
its open windows would mean something else. Deleting the application forgets its state, too: each one has an
id of its own, under which its positions are kept.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.analytics.types import Field, Type
from headrace.errors import Corrupt, InvalidArgument, NotFound, ResourceInUse
from headrace.log import Catalogue

if TYPE_CHECKING:
    from headrace.analytics.tables import Table

KIND = "sql"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


class Column(msgspec.Struct, array_like=True):
    """A column as it was found when the query started."""

    name: str
    path: str
    type: str
    scan: str


class Application(msgspec.Struct):
    """A named query. `run`: whether it is to run whenever the store is served."""

    name: str
    id: str
    text: str
    dialect: str
    source: str
    target: str
    start: str | int | None
    idle_micros: int | None
    created_ms: int
    columns: list[Column] | None = None  # discovered ones; None where the text declares them
    run: bool = True

    @property
    def owner(self) -> str:
        """Under which its positions are kept."""
        return f"{self.name}:{self.id}"

    def table(self) -> Table | None:
        """The discovered columns."""
        if self.columns is None:
            return None
        from headrace.analytics.tables import Table

        fields = {part.name: Field(part.name, part.path, Type(part.type), part.scan) for part in self.columns}
        notes = (f"columns found when {self.name} was started",)
        return Table(self.source, fields, stream=self.source, notes=notes)


def columns_of(table: Table | None) -> list[Column] | None:
    """Discovered columns as they are stored."""
    if table is None:
        return None
    return [Column(part.name, part.path, part.type.value, part.scan) for part in table.fields.values()]


def check_name(name: str) -> None:
    """Names are like those of streams."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{name!r} is not a name for a query", hint="1 to 128 letters, digits, _ . -")


def find(catalogue: Catalogue, name: str) -> Application | None:
    """The application of a name, or None."""
    data = catalogue.get(KIND, name)
    return None if data is None else _decode(name, data)


def load(catalogue: Catalogue, name: str) -> Application:
    """The application of a name. NotFound names those that exist."""
    found = find(catalogue, name)
    if found is None:
        names = ", ".join(known for known, _ in catalogue.items(KIND)) or "none"
        raise NotFound(f"there is no query named {name}", hint=f"there are {names}")
    return found


def everything(catalogue: Catalogue) -> list[Application]:
    """All applications, by name."""
    return [_decode(name, data) for name, data in catalogue.items(KIND)]


def register(
    catalogue: Catalogue,
    wanted: dict[str, Any],
    columns: list[Column] | None,
    now_ms: int,
    *,
    run: bool = True,
) -> Application:
    """The application of that name if it is the same query, else a new one; marked to run, or not."""
    known = find(catalogue, wanted["name"])
    if known is not None:
        for member in ("text", "dialect", "source", "target"):
            if getattr(known, member) != wanted[member]:
                raise ResourceInUse(
                    f"the query {known.name} exists with another {member}; its state belongs to that one",
                    hint="delete it first, or take another name",
                )
        known.run = run
        save(catalogue, known)
        return known
    made = Application(id=os.urandom(8).hex(), created_ms=now_ms, columns=columns, run=run, **wanted)
    save(catalogue, made)
    return made


def submit(catalogue: Catalogue, wanted: dict[str, Any], columns: list[Any] | None, now_ms: int) -> None:
    """What another process has found out of a query that this one is to run: its entry, marked to run."""
    try:
        found = None if columns is None else msgspec.convert(columns, list[Column])
        check_name(wanted["name"])
        register(catalogue, wanted, found, now_ms)
    except (msgspec.ValidationError, KeyError) as problem:
        raise InvalidArgument(f"this is no query: {problem}") from None


def stop(catalogue: Catalogue, name: str) -> None:
    """Mark an application not to run; it keeps its state, and where it stood."""
    known = load(catalogue, name)
    known.run = False
    save(catalogue, known)


def save(catalogue: Catalogue, application: Application) -> None:
    """Write an application."""
    catalogue.put(KIND, application.name, msgspec.json.encode(application), durable=True)


def delete(catalogue: Catalogue, name: str) -> None:
    """Forget an application and its state. What it wrote stays."""
    load(catalogue, name)
    catalogue.delete(KIND, name)


def _decode(name: str, data: bytes) -> Application:
    try:
        return msgspec.json.decode(data, type=Application)
    except msgspec.DecodeError as error:
        raise Corrupt(f"the catalogue's entry of the query {name} is not readable: {error}") from error
