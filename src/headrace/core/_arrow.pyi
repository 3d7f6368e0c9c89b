# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Sequence
from typing import Any, Final, final

from headrace.core._batch import RecordBatch
from headrace.core.table import Columns

FORMATS: Final[dict[str, str]]

class Node:
    format: str
    name: str
    length: int
    buffers: list[Any]
    null_count: int
    flags: int
    children: Sequence[Node]
    dictionary: Node | None
    def __init__(
        self,
        format: str,
        name: str,
        length: int,
        buffers: list[Any],
        *,
        null_count: int = 0,
        flags: int = 0,
        children: Sequence[Node] = (),
        dictionary: Node | None = None,
    ) -> None: ...

@final
class Stream:
    def __init__(self, node: Node, chunks: Sequence[Node]) -> None: ...

def columns_schema(columns: Columns) -> object: ...
def columns_array(columns: Columns, requested_schema: object = None) -> tuple[object, object]: ...
def columns_stream(columns: Columns, requested_schema: object = None) -> object: ...
def batch_schema() -> object: ...
def batch_array(batch: RecordBatch) -> tuple[object, object]: ...
def batch_stream(batch: RecordBatch) -> object: ...
