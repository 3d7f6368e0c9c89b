# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Iterator
from typing import Any, final

import numpy as np
import numpy.typing as npt

class ColumnType:
    name: str
    format: str
    kind: int
    zulu: bool
    dictionary: ColumnType | None
    def __init__(
        self, name: str, format: str, kind: int, zulu: bool, dictionary: ColumnType | None
    ) -> None: ...

@final
class ArrowSource:
    columns: list[ColumnType]
    def __init__(self, source: Any) -> None: ...
    def chunks(self) -> Iterator[Chunk]: ...

@final
class Chunk:
    def prepare(self, types: list[ColumnType]) -> None: ...
    def rows(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]: ...
    def texts(self, column: int) -> list[str | None]: ...

def double_text(value: float) -> str: ...
def float_text(value: float) -> str: ...
def json_chunks(
    source: Any, *, key: str | None = None
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[str | None] | None]]: ...
def rows_as_json(source: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]: ...
