# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A server that does nothing, as a ceiling for real ones."""

from collections.abc import Callable

def serve(
    listener: int,
    answers: dict[bytes, bytes],
    reads: list[bytes],
    reads_max: int,
    stop: Callable[[], bool] | None = None,
) -> None: ...
