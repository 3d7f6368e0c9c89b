# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The six operations on tags: three by stream, three by ARN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace import limits
from headrace.errors import InvalidArgument, NotFound
from headrace.streams.operations.operation import Request, addressed, refuse_stream_id
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

_PUNCTUATION = frozenset("_./=+-@:")
_RESERVED = "aws:"  # in any case; removing such a key is no harm


def add_tags_to_stream(streams: Streams, request: Request) -> None:
    _add(streams, addressed(streams, request), request["Tags"])


def remove_tags_from_stream(streams: Streams, request: Request) -> None:
    _remove(streams, addressed(streams, request), request["TagKeys"])


def list_tags_for_stream(streams: Streams, request: Request) -> dict[str, Any]:
    """Tags in the order of their keys, a page at a time."""
    stream = addressed(streams, request)
    after = request.get("ExclusiveStartTagKey")
    tags = [tag for tag in _listed(stream) if after is None or tag["Key"] > after]
    limit = request.get("Limit", limits.tags_max)
    return {"Tags": tags[:limit], "HasMoreTags": len(tags) > limit}


def tag_resource(streams: Streams, request: Request) -> None:
    _add(streams, _resource(streams, request), request["Tags"])


def untag_resource(streams: Streams, request: Request) -> None:
    _remove(streams, _resource(streams, request), request["TagKeys"])


def list_tags_for_resource(streams: Streams, request: Request) -> dict[str, Any]:
    return {"Tags": _listed(_resource(streams, request))}


def check(streams: Streams, stream_name: str, verb: str, keys: Iterable[str], values: Iterable[str]) -> None:
    """Raise InvalidArgument for characters that tags may not have, and for keys that are not for users to add."""
    keys = list(keys)
    texts = [*keys, *values]
    if not all(_allowed(character) or character == "%" for text in texts for character in text):
        raise InvalidArgument(
            "Some tags contain invalid characters. Valid characters: "
            "Unicode letters, digits, white space, _ . / = + - % @ :."
        )
    if any("%" in text for text in texts):
        place = "to" if verb == "add" else "from"
        raise InvalidArgument(
            f"Failed to {verb} tags {place} stream {stream_name} under account {streams.account} because "
            "some tags contained illegal characters. The allowed characters are "
            "Unicode letters, white-spaces, '_',',','/','=','+','-','@',':'."
        )
    if verb == "add" and any(key.lower().startswith(_RESERVED) for key in keys):
        raise InvalidArgument(
            f"Failed to add tags to stream {stream_name} under account {streams.account} because some tag keys "
            f"start with {_RESERVED}, which is reserved for system use."
        )


def check_count(streams: Streams, stream_name: str, tags: dict[str, str]) -> None:
    """Raise InvalidArgument for more tags than a stream may have."""
    if len(tags) > limits.tags_max:
        raise InvalidArgument(
            f"Failed to add tags to stream {stream_name} under account {streams.account} because a given "
            f"stream cannot have more than {limits.tags_max} tags associated with it."
        )


def _allowed(character: str) -> bool:
    return character in _PUNCTUATION or character.isalnum() or character.isspace()


def _add(streams: Streams, stream: Stream, tags: dict[str, str]) -> None:
    check(streams, stream.name, "add", tags.keys(), tags.values())
    with streams.control:
        together = {**stream.document.tags, **tags}
        check_count(streams, stream.name, together)
        stream.update(tags=together)


def _remove(streams: Streams, stream: Stream, keys: list[str]) -> None:
    """A key that is not there is passed over."""
    check(streams, stream.name, "remove", keys, ())
    with streams.control:
        left = {key: value for key, value in stream.document.tags.items() if key not in keys}
        stream.update(tags=left)


def _listed(stream: Stream) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(stream.document.tags.items())]


def _resource(streams: Streams, request: Request) -> Stream:
    """The stream that ResourceARN names. Consumers, channels and queues do not exist here."""
    refuse_stream_id(request)
    arn = request["ResourceARN"]
    head, _, name = arn.rpartition(":stream/")
    if not head or "/" in name:
        raise NotFound(f"Resource {arn} under account {streams.account} not found.")
    return addressed(streams, {"StreamARN": arn})
