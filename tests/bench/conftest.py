# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Hypothesis without a deadline: the machine's other work must not fail a test."""

from hypothesis import settings

settings.register_profile("bench", deadline=None, print_blob=True)
settings.load_profile("bench")
