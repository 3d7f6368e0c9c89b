# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""JSON for records that are neither bytes-like nor text, and nothing else.

Dictionaries, dataclasses, msgspec structs, numbers, lists and datetimes (RFC 3339) are msgspec's; numpy
scalars and arrays are added here. A numpy datetime64 is UTC; a naive datetime is written without offset.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
import numpy as np


def _numpy_as_python(value: Any) -> Any:
    """What msgspec should encode instead of a numpy value; TypeError for everything else."""
    if isinstance(value, np.datetime64):
        moment = value.astype("datetime64[us]").item()
        return None if moment is None else moment.replace(tzinfo=UTC)
    if isinstance(value, np.generic):
        plain = value.item()
        if not isinstance(plain, np.generic):
            return plain
    if isinstance(value, np.ndarray):
        return list(value) if value.dtype.kind == "M" else value.tolist()
    kind = type(value)
    raise TypeError(f"objects of type {kind.__module__}.{kind.__qualname__} cannot be encoded as JSON")


_encode = msgspec.json.Encoder(enc_hook=_numpy_as_python).encode


def record_json(value: Any) -> bytes:
    """The JSON of one record; TypeError names the first type that has none, ValueError the reason."""
    try:
        return _encode(value)
    except (OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
