# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Rows come out as JSON lines, CSV, raw values or a table, and follow the terminal unless told otherwise."""

import argparse
import io
import json

import numpy as np
import pytest

from headrace.cli import output

ROWS = [{"name": "a", "shards": 2, "tags": ["x", "y"]}, {"name": "b", "shards": None, "tags": []}]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(format: str | None, rows=ROWS, stream=None, **more) -> str:
    stream = stream or io.StringIO()
    output.show(rows, argparse.Namespace(output=format), stream=stream, **more)
    return stream.getvalue()


def test_off_a_terminal_rows_are_json_lines():
    assert [json.loads(line) for line in printed(None).splitlines()] == ROWS


def test_on_a_terminal_rows_are_a_table():
    text = printed(None, stream=Terminal())
    assert "name" in text and "x, y" in text and "{" not in text


def test_no_color_leaves_no_escapes(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in printed("table", stream=Terminal(), title="streams")


def test_an_empty_table_says_so():
    assert printed("table", rows=[], title="streams") == "no streams\n"
    assert printed("json", rows=[]) == ""


def test_csv_has_a_header_and_one_line_a_row():
    assert printed("csv").splitlines() == ["name,shards,tags", 'a,2,"x, y"', "b,,"]
    assert printed("csv", columns=("shards",)).splitlines() == ["shards", "2", '""']
    assert printed("csv", rows=[], columns=("a",)) == "a\n"


def test_raw_prints_one_column_and_bytes_as_they_are(capfdbinary):
    assert printed("raw", raw="shards", rows=ROWS[:1]) == "2\n"
    assert printed("raw") == "a\nb\n"
    output.show([{"data": b"\xff\x00"}], argparse.Namespace(output="raw"))
    assert capfdbinary.readouterr().out.endswith(b"\xff\x00\n")


def test_json_takes_bytes_and_numpy_values():
    row = {"data": b"text", "blob": memoryview(b"\xff"), "n": np.int64(3), "f": np.float32(0.5)}
    assert json.loads(printed("json", rows=[row])) == {
        "data": "text",
        "blob_base64": "/w==",
        "n": 3,
        "f": 0.5,
    }


def test_markup_in_values_is_shown_not_obeyed():
    assert "[bold]x[/bold]" in printed("table", rows=[{"name": "[bold]x[/bold]"}], stream=Terminal())


def test_one_thing_is_an_object_or_a_list_of_members(capsys):
    output.show_one({"a": 1}, argparse.Namespace(output="json"))
    output.show_one({"member": True}, argparse.Namespace(output="table"))
    out = capsys.readouterr().out
    assert out.startswith('{"a":1}\n') and "member" in out and "yes" in out


def test_progress_is_silent_off_a_terminal(capsys):
    with output.progress(10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""


def test_progress_shows_on_a_terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with output.progress(2048) as advance:
        advance(2048)
    assert "2.0 KiB" in stream.getvalue()
    with output.progress(None, "records") as advance:
        advance(1234)
    assert "1,234 records" in stream.getvalue()


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB"), (2**50, "1024.0 TiB")]
)
def test_sizes_are_readable(size, text):
    assert output.human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-5, "20 µs"), (0.0012, "1.2 ms"), (2, "2.0 s"), (90, "1m 30s"), (5400, "1h 30m"), (90000, "1d 1h")],
)
def test_durations_are_readable(seconds, text):
    assert output.human_duration(seconds) == text
