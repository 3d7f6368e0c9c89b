# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One changed byte gives all, a prefix with a report, or a named corruption: never other data or silence.

Method: see damage_support.py. Here a sample of the places, drawn anew each time; every byte is in tests/long.
"""

from __future__ import annotations

import random

import pytest
from damage_support import files_of, judge, make_small

SAMPLE = 6  # places in each file, besides its first and last byte


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small") / "store"
    return directory, make_small(directory)


def test_the_small_store_has_every_kind_of_file_and_about_32_kib_of_segments(small):
    directory, rows = small
    sizes = {path: path.stat().st_size for path in files_of(directory)}
    kinds = {path.suffix or path.name for path in sizes}
    assert kinds == {".raw", ".cold", "manifest", "control", ".sqlite"}
    assert (
        32 << 10 <= sum(size for path, size in sizes.items() if path.parent.parent.name == "lanes") < 40 << 10
    )
    assert all(len(found) > 3 for found in rows.values())


def test_a_changed_byte_gives_a_prefix_or_a_named_corruption(small, tmp_path):
    directory, rows = small
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    numbers, changed = random.Random(seed), 0
    for path in files_of(directory):
        data = path.read_bytes()
        places = {0, len(data) - 1, *(numbers.randrange(len(data)) for _ in range(SAMPLE))}
        for at in places:
            value = numbers.choice((data[at] ^ 0xFF, data[at] ^ 1 << numbers.randrange(8), 0))
            changed += judge(directory, tmp_path / "copy", rows, path.relative_to(directory), at, value)
    assert changed > 30
