# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from typing import Any, final

@final
class ArrowValues:
    count: int
    def __init__(self, source: Any, what: str) -> None: ...
    def to_list(self) -> list[bytes | None]: ...
