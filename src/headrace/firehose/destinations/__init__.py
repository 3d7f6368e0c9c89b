# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where objects go, one file each; none imports another. To add one: `docs/extending.md`."""
