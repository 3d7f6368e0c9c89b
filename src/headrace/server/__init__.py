# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The only room that listens over TCP."""
