# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Measure a Kinesis endpoint or the library with a native load, and check everything that was put."""

from headrace.bench.command import add_arguments, run

__all__ = ["add_arguments", "run"]
