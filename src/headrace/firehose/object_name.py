# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where an object's name is made.

    <prefix><delivery stream>-<version>-<yyyy-MM-dd-HH-mm-ss>-<uuid><extension>

The prefix may hold expressions `!{namespace:value}`:

    !{timestamp:<pattern>}          a pattern of Java's DateTimeFormatter (java_time.py)
    !{firehose:random-string}       11 characters, new for each expression and object
    !{firehose:error-output-type}   in ErrorOutputPrefix only: what kind of failure

A prefix without a timestamp expression gets `!{timestamp:yyyy/MM/dd/HH/}` appended. Every time is the
arrival of the oldest record in the object, in the delivery stream's zone. The rules are those of
https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html; what that page leaves open is refused.

Cost: 10 µs a name, of which the id takes a third.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, tzinfo

from headrace import limits
from headrace.errors import InvalidArgument
from headrace.firehose.java_time import TimePattern

Randomness = Callable[[int], bytes]  # os.urandom, or one that a test steers

DEFAULT_PATTERN = "yyyy/MM/dd/HH/"
_SUFFIX_PATTERN = "yyyy-MM-dd-HH-mm-ss"
_RANDOM_SIZE = 11
_SAMPLE_MS = 1_821_571_199_999  # 2027-09-22, a Wednesday: the longest names of month and day


class Prefix:
    """A parsed Prefix or ErrorOutputPrefix. Raises InvalidArgument in the service's manner.

    Attributes:
        text: as it was given.
        expressions: whether there is an expression in it.
        literal: the text before the first expression.
    """

    def __init__(self, text: str, zone: tzinfo = UTC, *, member: str = "Prefix") -> None:
        self.text = text
        self.member = member
        self._parts: list[str | TimePattern | None] = []  # None: a random string
        self._error_types = 0
        self._parse(text, zone)
        self.expressions = any(not isinstance(part, str) for part in self._parts) or bool(self._error_types)
        self.literal = text.partition("!{")[0]
        if member == "Prefix" and not any(isinstance(part, TimePattern) for part in self._parts):
            self._parts.append(TimePattern(DEFAULT_PATTERN, zone))
        if member == "ErrorOutputPrefix" and self.expressions and not self._error_types:
            raise _constraint(
                "ErrorOutputPrefix must include at least one instance of !{firehose:error-output-type} "
                "when it contains expressions"
            )

    def _parse(self, text: str, zone: tzinfo) -> None:
        at = 0
        while at < len(text):
            start = text.find("!{", at)
            if start < 0:
                self._parts.append(text[at:])
                return
            if start > at:
                self._parts.append(text[at:start])
            end = text.find("}", start)
            if end < 0 or "!{" in text[start + 2 : end]:
                raise _constraint(
                    f"the sequence !{{ can only appear in !{{namespace:value}} expressions: {text}"
                )
            self._parts.append(self._expression(text[start + 2 : end], zone))
            at = end + 1

    def _expression(self, text: str, zone: tzinfo) -> str | TimePattern | None:
        namespace, colon, value = text.partition(":")
        if not colon or not value:
            raise _constraint(f"expressions have the form !{{namespace:value}}; got !{{{text}}}")
        if namespace == "timestamp":
            try:
                return TimePattern(value, zone)
            except ValueError as error:
                raise _constraint(f"!{{{text}}} in {self.member}: {error}") from None
        if namespace == "firehose" and value == "random-string":
            return None
        if namespace == "firehose" and value == "error-output-type":
            if self.member == "Prefix":
                raise _constraint("Prefix cannot contain !{firehose:error-output-type}")
            self._error_types += 1
            return ""
        if namespace in ("partitionKeyFromQuery", "partitionKeyFromLambda"):
            raise InvalidArgument(
                f"!{{{text}}} in {self.member} needs DynamicPartitioningConfiguration, which is not supported."
            )
        raise _constraint(
            f"!{{{text}}} in {self.member} is not an expression: there are timestamp, firehose:random-string "
            "and, in ErrorOutputPrefix, firehose:error-output-type"
        )

    def evaluate(self, oldest_ms: int, randomness: Randomness) -> str:
        """The prefix of an object whose oldest record arrived then."""
        return "".join(
            part
            if isinstance(part, str)
            else _random_text(randomness)
            if part is None
            else part.format(oldest_ms)
            for part in self._parts
        )


class ObjectName:
    """Makes the names of one version of a delivery stream.

    extension: what the names end with, as `.gz`; may be empty. Raises InvalidArgument where a name that
    would come of it is not one that every destination can hold.
    """

    def __init__(self, prefix: Prefix, delivery: str, version: str, extension: str, zone: tzinfo) -> None:
        self._prefix = prefix
        self._head = f"{delivery}-{version}-"
        self._suffix = TimePattern(_SUFFIX_PATTERN, zone)
        self._extension = extension
        check(self.make(_SAMPLE_MS, bytes), prefix)

    def make(self, oldest_ms: int, randomness: Randomness) -> str:
        """A new name, unlike any other, for an object whose oldest record arrived then."""
        identity = uuid.UUID(bytes=randomness(16), version=4)
        moment = self._suffix.format(oldest_ms)
        prefix = self._prefix.evaluate(oldest_ms, randomness)
        return f"{prefix}{self._head}{moment}-{identity}{self._extension}"


def check(name: str, prefix: Prefix) -> None:
    """Refuse names that are too long or not plain paths.

    The real service takes `//` and a leading slash; a directory cannot hold such names and what stands
    between us and a bucket changes them without a word, so they are refused.
    """
    evaluated = prefix.evaluate(_SAMPLE_MS, bytes)  # of a moment that nobody wrote: not for a message
    if len(evaluated) > limits.firehose_prefix_characters_max:
        raise _constraint(
            f"{prefix.member} cannot be greater than {limits.firehose_prefix_characters_max} characters after "
            f"it is evaluated; it has {len(evaluated)}"
        )
    segments = name.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise _constraint(
            f"{prefix.member} cannot begin with a slash or contain empty, . or .. path segments: {prefix.text}"
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise _constraint(f"{prefix.member} cannot contain control characters")
    if any(len(segment.encode()) > limits.firehose_segment_size_max for segment in segments):
        raise _constraint(
            f"the parts of an object's name between slashes have at most {limits.firehose_segment_size_max} "
            f"bytes; {prefix.member} leads to a longer one: {prefix.text}"
        )


def _random_text(randomness: Randomness) -> str:
    """11 characters of a random id, as `046b6c7f-0b`."""
    return str(uuid.UUID(bytes=randomness(16), version=4))[:_RANDOM_SIZE]


def _constraint(text: str) -> InvalidArgument:
    # "Ths" is the service's own spelling.
    return InvalidArgument(f"Ths supplied prefix(es) do not satisfy the following constraint: {text}")
