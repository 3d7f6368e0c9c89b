# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from typing_extensions import Buffer

LEVELS: tuple[str, ...]

def crc32c(data: Buffer, seed: int = 0, simd: str | None = None) -> int: ...
def crc32c_copy(target: Buffer, source: Buffer, seed: int = 0, simd: str | None = None) -> int: ...
