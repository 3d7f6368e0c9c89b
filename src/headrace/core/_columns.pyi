# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Sequence
from typing import Any, final

from headrace.core._batch import RecordBatch
from headrace.core.table import Column as Column
from headrace.core.table import Columns as Columns
from headrace.core.table import Strings as Strings

def parse_path(path: str) -> tuple[str | int, ...]: ...

class Field:
    name: str
    path: str | None
    type: str
    steps: tuple[str | int, ...]
    def __init__(self, name: str, path: str | None = None, type: str = "str") -> None: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class StringTable:
    def strings(self) -> Strings: ...

@final
class Plan:
    def __init__(self, fields: Sequence[Field]) -> None: ...

def simd_levels() -> list[int]: ...
def scan(batch: RecordBatch, fields: Sequence[Field], *, simd: int | None = None) -> Columns: ...
