# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Loads, targets and reports: an honest measurement of any Kinesis endpoint and of the embedded log."""
