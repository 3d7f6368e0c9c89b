# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Batches and columns as objects of other libraries, which are imported only here and only when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace.errors import Unsupported

if TYPE_CHECKING:
    from headrace.core._batch import RecordBatch
    from headrace.core.table import Columns


class ArrowStream(Protocol):
    """Anything that hands out an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


def _library(name: str, method: str) -> Any:
    """A library that is not among our own requirements."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unsupported(
            f"{method} needs {name}, which is not installed", hint=f"pip install {name}"
        ) from error


def to_arrow(source: ArrowStream) -> Any:
    """A pyarrow.Table that shares the source's bytes."""
    return _library("pyarrow", "to_arrow").RecordBatchReader.from_stream(source).read_all()


def to_polars(source: ArrowStream) -> Any:
    """A polars.DataFrame."""
    return _library("polars", "to_polars").DataFrame(source)


def columns_to_pandas(columns: Columns) -> Any:
    """A pandas.DataFrame: integers and booleans become nullable only where rows are null."""
    pandas = _library("pandas", "to_pandas")
    series = {}
    for name, values in columns.items():
        kind, valid = columns.types[name], columns.valid[name]
        if kind == "timestamp":
            series[name] = pandas.Series(values).dt.tz_localize("UTC")
        elif kind in ("i8", "bool") and not valid.all():
            series[name] = pandas.Series(values, dtype="Int64" if kind == "i8" else "boolean").mask(~valid)
        else:
            series[name] = pandas.Series(values)
    return pandas.DataFrame(series, index=range(columns.rows))


def batch_to_numpy(batch: RecordBatch) -> dict[str, npt.NDArray[Any]]:
    """The parts of a batch as arrays; payloads and keys are objects, copied out."""
    data, keys = np.empty(len(batch), dtype=object), np.empty(len(batch), dtype=object)
    data[:], keys[:] = batch.data, batch.keys
    return {
        "data": data,
        "partition_key": keys,
        "shard": batch.shards,
        "ordinal": batch.ordinals,
        "arrival": batch.arrival,
    }


def batch_to_pandas(batch: RecordBatch) -> Any:
    """A pandas.DataFrame of a batch; arrival times are UTC."""
    pandas = _library("pandas", "to_pandas")
    parts: dict[str, Any] = dict(batch_to_numpy(batch))
    parts["arrival"] = pandas.Series(parts["arrival"]).dt.tz_localize("UTC")
    return pandas.DataFrame(parts, index=range(len(batch)))
