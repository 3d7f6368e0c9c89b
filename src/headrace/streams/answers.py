# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a service hands to the server: an answer, or one that waits for the log.

Every service has the same face: `service.call(operation, body) -> Answer | Pending`. The server sends an
Answer at once, and a Pending after its lanes are committed up to the offsets it names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.core._records_answer import AnswerBody
from headrace.errors import Error

_encode = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An HTTP status and a body (bytes, or bytes-like where it is large). `code` is the error's name, empty for success."""

    status: int
    body: bytes | AnswerBody
    code: str = ""


class Pending(msgspec.Struct, frozen=True):
    """A body to be sent with status 200 once each lane has kept its promise up to the offset."""

    body: bytes
    offsets: list[tuple[Any, int]]


def error_answer(error: Error) -> Answer:
    """The answer that tells a client of an error. Hints are for people at a terminal and stay here."""
    body = _encode({"__type": error.code, "message": error.message})
    return Answer(error.status, body, error.code)
