# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A server that does nothing, as a ceiling for real ones."""

from collections.abc import Callable, Sequence

def serve(
    listener: int,
    answers: dict[bytes, bytes],
    series: Sequence[list[bytes]] = (),
    stop: Callable[[], bool] | None = None,
) -> None: ...
