# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Headrace: a durable, native-speed Kinesis that anyone can host or embed."""

__version__ = "0.1.0"
