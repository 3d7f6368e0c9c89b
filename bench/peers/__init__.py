# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Other people's servers and stores, started on loopback and put under the same load in the same run."""
