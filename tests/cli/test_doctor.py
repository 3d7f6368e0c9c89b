# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace doctor`: what this machine offers, and whether that will do."""

from __future__ import annotations

import json


def test_doctor_names_what_it_sees(headrace):
    code, out, _ = headrace.run("doctor", str(headrace.directory), "-o", "json")
    rows = {row["check"]: row for row in map(json.loads, out.splitlines())}
    assert code in (0, 3) and {"SIMD", "open files", "clock", "file system", "sync 256 KiB"} <= set(rows)
    assert rows["reserve 256.0 KiB"]["verdict"] != "bad"
    assert "fallocate" in rows["reserve 256.0 KiB"]["meaning"] + rows["reserve 256.0 KiB"]["seen"]
    assert all(row["meaning"] for row in rows.values())
    assert not [name for name in headrace.directory.iterdir() if "doctor" in name.name]


def test_doctor_fails_where_nothing_can_be_stored(headrace):
    code, out, _ = headrace.run("doctor", "/proc", "-o", "json")
    assert code == 3
    verdicts = {row["check"]: row["verdict"] for row in map(json.loads, out.splitlines())}
    assert verdicts["file system"] == "bad"
