# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Iterable, Sequence
from typing import final

from typing_extensions import Buffer

from headrace.core._entries import Entries, Router

LEVELS: tuple[str, ...]

def base64_encode(data: Buffer, simd: str | None = None) -> bytes: ...
def base64_decode(text: str | Buffer, simd: str | None = None) -> bytes | None: ...
def sequence_number(
    created_s: int, shard: int, index: int, arrival_ms: int, simd: str | None = None
) -> str: ...
def parse_sequence_number(text: str) -> tuple[int, int, int, int] | None: ...

@final
class Arena: ...

class PutScan:
    entries: Entries
    stream_name: str | None
    stream_arn: str | None
    sequence_number_for_ordering: str | None
    dry_run: bool
    total_size: int
    record_size_largest: int
    def __init__(self, simd: str | None = None) -> None: ...
    def scan_put_records(
        self, body: Buffer, *, count_max: int = ..., record_size_max: int = ..., total_size_max: int = ...
    ) -> bool: ...
    def scan_put_record(self, body: Buffer, *, record_size_max: int = ...) -> bool: ...
    def scan_firehose_batch(
        self, body: Buffer, *, count_max: int = ..., record_size_max: int = ..., total_size_max: int = ...
    ) -> bool: ...
    def scan_firehose_record(self, body: Buffer, *, record_size_max: int = ...) -> bool: ...
    def fill(
        self,
        records: Iterable[tuple[bytes, str | None, int | None]],
        *,
        stream_name: str | None = None,
        stream_arn: str | None = None,
        dry_run: bool = False,
        sequence_number_for_ordering: str | None = None,
    ) -> None: ...
    def records(self) -> list[tuple[bytes, str, int | None]]: ...
    @property
    def arena_size(self) -> int: ...

def put_records_answer(
    entries: Entries,
    router: Router,
    *,
    failures: Buffer | None = None,
    reasons: Sequence[tuple[str, str]] = (),
    encryption: str | None = None,
    simd: str | None = None,
) -> bytes: ...
def put_record_answer(entries: Entries, router: Router, *, encryption: str | None = None) -> bytes: ...
def firehose_batch_answer(
    entries: Entries,
    router: Router,
    *,
    failures: Buffer | None = None,
    reasons: Sequence[tuple[str, str]] = (),
    encrypted: bool = False,
    simd: str | None = None,
) -> bytes: ...
def firehose_record_answer(entries: Entries, router: Router, *, encrypted: bool = False) -> bytes: ...
