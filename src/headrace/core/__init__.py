# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Native kernels with their Cython faces: bytes in, bytes out."""
