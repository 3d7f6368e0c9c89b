# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The one tree of errors, shared by the embedded library, the wire and the command line.

    Error
    ├── CallerError                 the request was wrong; changing it helps
    │   ├── NotFound                ResourceNotFoundException
    │   ├── AlreadyExists           ResourceInUseException
    │   ├── ResourceInUse           ResourceInUseException
    │   ├── InvalidArgument         InvalidArgumentException; a ValueError, too
    │   ├── ValidationError         ValidationException (a shape was violated)
    │   ├── SerializationError      SerializationException (a body did not parse)
    │   ├── UnknownOperation        UnknownOperationException
    │   ├── LimitExceeded           LimitExceededException
    │   ├── ExpiredIterator         ExpiredIteratorException
    │   ├── Unsupported             something this version or this place does not do, by name
    │   ├── ConfigurationError      a configuration file or option
    │   ├── SQLError                a query (line, column, caret)
    │   ├── Closed                  the handle was closed
    │   └── ForkedError             the handle belongs to the parent process
    ├── RemoteError                 the world around: disk, other processes, destinations
    │   ├── Backpressure            the store cannot take more just now; retry later
    │   ├── Throttled               ProvisionedThroughputExceededException
    │   ├── LockedByOther           another process holds the directory
    │   ├── AddressInUse            another process listens there, or nobody may
    │   ├── Unreachable             a server or endpoint does not answer
    │   ├── StorageError            a read, write or sync failed
    │   ├── Fenced                  a lane or producer was fenced; open it anew
    │   └── DeliveryError           a destination refused or did not answer
    ├── Corrupt                     stored bytes are not what was written
    ├── LeaseLost                   another member took the shard over
    └── ExpiredPosition             what a position points at is no longer kept

Each error carries `code` (the AWS code on the wire), `status` (HTTP) and `hint` (what to change), and can
be pickled. Messages say what was seen, what is allowed, and which name to change.
"""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """Base of everything headrace raises on purpose.

    Attributes:
        message: what happened; on the wire this is the text of the answer.
        code: the AWS error code.
        status: the HTTP status.
        hint: what to change or type, or an empty string; never sent on the wire.
    """

    code = "InternalFailure"
    status = 500

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))


def _rebuild(kind: type[Error], message: str, state: dict[str, Any]) -> Error:
    """Make an error again from its pickled parts without calling its constructor."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


class CallerError(Error):
    """The request was wrong."""

    code = "InvalidArgumentException"
    status = 400


class NotFound(CallerError):
    """A stream, shard, consumer, delivery or application that does not exist."""

    code = "ResourceNotFoundException"


class ResourceInUse(CallerError):
    """The resource is not in a state that allows the request."""

    code = "ResourceInUseException"


class AlreadyExists(ResourceInUse):
    """A resource of this name exists."""


class InvalidArgument(CallerError, ValueError):
    """An argument's value is not allowed. Also a ValueError, for callers that know only Python's own."""


class ValidationError(CallerError):
    """A member of an input shape breaks the shape's constraints."""

    code = "ValidationException"


class SerializationError(CallerError):
    """A body that does not parse."""

    code = "SerializationException"


class UnknownOperation(CallerError):
    """An operation that does not exist or is not built yet; the message names it."""

    code = "UnknownOperationException"


class LimitExceeded(CallerError):
    """A limit on the number of things."""

    code = "LimitExceededException"


class ExpiredIterator(CallerError):
    """A shard iterator older than five minutes."""

    code = "ExpiredIteratorException"


class Unsupported(CallerError):
    """Something that cannot be done here; the message names it."""

    code = "UnsupportedOperationException"


class ConfigurationError(CallerError):
    """A key or value in a configuration file, variable or option."""


class SQLError(CallerError):
    """A query that cannot be parsed, planned or run.

    Attributes:
        line, column: 1-based position in the text, or 0 where there is none.
        caret: the line of text with a caret below the position, or an empty string.
    """

    code = "CodeValidationException"

    def __init__(
        self,
        message: str,
        *,
        line: int = 0,
        column: int = 0,
        caret: str = "",
        hint: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.line = line
        self.column = column
        self.caret = caret


class Closed(CallerError):
    """The handle was closed."""


class ForkedError(CallerError):
    """The handle was opened before a fork and is dead in the child; open the directory again there."""


class RemoteError(Error):
    """The world around us failed.

    Attributes:
        accepted: of a call that puts many records: which of them were taken (a numpy bool array; False also
            stands for one of which that is not known), or None.
    """

    accepted: Any = None


class Backpressure(RemoteError):
    """The store cannot take more just now.

    Attributes:
        retry_after: seconds after which a retry may succeed.
    """

    code = "ProvisionedThroughputExceededException"
    status = 400

    def __init__(
        self, message: str, *, accepted: Any = None, retry_after: float = 0.1, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.accepted = accepted
        self.retry_after = retry_after


class Throttled(RemoteError):
    """A rate limit, where limits are switched on."""

    code = "ProvisionedThroughputExceededException"
    status = 400


class LockedByOther(RemoteError):
    """Another process holds the directory."""


class AddressInUse(RemoteError):
    """An address and port to listen on that another process has, or that this user may not take."""


class Unreachable(RemoteError):
    """A server or endpoint that does not answer."""


class StorageError(RemoteError):
    """A read, write or sync of the store failed; the message carries the system's words."""


class Fenced(RemoteError):
    """A lane or producer was fenced after a failure or by a newer epoch."""


class DeliveryError(RemoteError):
    """A destination refused or did not answer."""


class Corrupt(Error):
    """Stored bytes are not what was written; the message names file and offset."""


class LeaseLost(Error):
    """Another member of the group took the shard over."""


class ExpiredPosition(Error):
    """What the position points at is no longer kept: its record was dropped, by age or by a limit."""
