# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Columns by name alone: the type of each is that of its values in the batch.

Cost: one scan of the first 1,000 records, and a second one of the batch where a later value does not fit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from headrace.core._batch import RecordBatch
from headrace.core._columns import Field, scan
from headrace.core.table import Columns
from headrace.errors import InvalidArgument

SAMPLE_ROWS = 1000
PROBES_MAX = 512  # two for a name with a dot


@dataclass
class Wanted:
    """A name whose type, and perhaps whose path, is to be found out."""

    name: str
    paths: list[str | None]  # in order of preference

    def fields(self) -> list[Field]:
        """What to look at: the value at each path, under a name of its own."""
        fields = [Field(self.name, path, "json") for path in self.paths]
        for number, field in enumerate(fields):
            field.name = f"{self.name} {number}"
        return fields


def columns(batch: RecordBatch, *names: str | Field, **types: str | tuple[str, str]) -> Columns:
    """The named members of JSON records as columns.

    names: members, paths (`$.a.b`), or Fields. A name like `a.b` is the member of that name where a record
    has one, else a path. types: `cpu="f8"`, or `user=("$.user.id", "i8")`. Without any names: all members
    that the first 1,000 records have, in order of appearance.

    A name without a type becomes i8, f8, bool or str, whatever all its values in this batch are; numbers
    mixed are f8, other scalars mixed are text, objects and arrays are json. All null: str.
    """
    if not names and not types:
        names = tuple(_members(batch[:SAMPLE_ROWS]))
    sample = batch[:SAMPLE_ROWS]
    known: dict[str, Field] = {}
    wanted: list[Wanted] = []
    for item in names:
        name = item.name if isinstance(item, Field) else item
        if name in known or any(name == other.name for other in wanted) or name in types:
            raise InvalidArgument(f"column {name!r} is named twice")
        if isinstance(item, Field):
            known[name] = item
        else:
            wanted.append(Wanted(name, _paths(name)))
    for name, type in types.items():
        known[name] = Field(name, None, type) if isinstance(type, str) else Field(name, *type)
    guessed = _guess(sample, wanted)
    order = [item.name if isinstance(item, Field) else item for item in names] + list(types)
    found = scan(batch, [known.get(name) or guessed[name] for name in order])
    unfit = [item for item in wanted if len(found.mismatches(item.name)) or not found.valid[item.name].any()]
    if not unfit or len(sample) == len(batch):
        return found
    guessed |= _guess(batch, unfit)
    return scan(batch, [known.get(name) or guessed[name] for name in order])


def _paths(name: str) -> list[str | None]:
    """What a name may mean: the member of that name, then a path."""
    return [None, name] if not name.startswith("$") and ("." in name or "[" in name) else [None]


def _guess(batch: RecordBatch, wanted: list[Wanted]) -> dict[str, Field]:
    """A field for each name, from the values in a batch."""
    guessed = {}
    for first in range(0, len(wanted), PROBES_MAX):
        part = wanted[first : first + PROBES_MAX]
        found = scan(batch, [field for item in part for field in item.fields()])
        for item in part:
            guessed[item.name] = Field(item.name, item.paths[0], "str")
            for probe, path in zip(item.fields(), item.paths, strict=True):
                if texts := found.dictionary(probe.name):
                    guessed[item.name] = Field(item.name, path, _type_of(texts))
                    break
    return guessed


def _type_of(texts: list[str]) -> str:
    """The narrowest type that takes all of some JSON values."""
    kinds = set()
    for text in texts:
        if text[0] in "{[":
            return "json"
        if text[0] == '"':
            kinds.add("str")
        elif text[0] in "tf":
            kinds.add("bool")
        else:
            kinds.add("i8" if text.lstrip("-").isdigit() and -(2**63) <= int(text[:21]) < 2**63 else "f8")
    if kinds == {"i8", "f8"}:
        return "f8"
    return kinds.pop() if len(kinds) == 1 else "text"


def _members(sample: RecordBatch) -> list[str]:
    """The members of some records, in order of appearance."""
    names: dict[str, None] = {}
    for data in sample.data:
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    return list(names)
