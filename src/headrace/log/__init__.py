# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The log: lanes of segments that keep what was promised. Knows nothing of Kinesis."""

from headrace.log.catalogue import Catalogue
from headrace.log.lane import Lane
from headrace.log.lane_reader import LaneReader
from headrace.log.log import Log

__all__ = ["Catalogue", "Lane", "LaneReader", "Log"]
