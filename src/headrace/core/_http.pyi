# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from typing import Literal

from typing_extensions import Buffer

class BadHead(ValueError):
    error: int
    status: int
    def __init__(self, error: int) -> None: ...

class Head:
    amz_target: bytes | None
    authorization: bool
    chunked: bool
    content_length: int | None
    content_type: bytes | None
    continue_: bool
    head_size: int
    header_count: int
    host: bytes | None
    keep_alive: bool
    method: Literal["GET", "HEAD", "POST", "other"]
    minor: int
    origin: bytes | None
    path: bytes

def parse(data: Buffer) -> Head | None: ...
def chunk_line(data: Buffer) -> tuple[int, int] | None: ...
def trailer_line(data: Buffer) -> int | None: ...
def error_status(error: int) -> int: ...
def error_text(error: int) -> str: ...
