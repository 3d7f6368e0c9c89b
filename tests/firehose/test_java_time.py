# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: patterns mean what Java means. Method: every letter at every width, in eight zones at moments around
the ends of days, weeks, months and years, against a table that a real Java wrote (`java_time.tsv`), and, in
the integration suite, against the Java of the machine at random moments."""

import random
import shutil
import subprocess
import zoneinfo
from pathlib import Path

import pytest

from headrace.firehose.java_time import TimePattern, short_names, zone

HERE = Path(__file__).parent
TABLE = HERE / "java_time.tsv"
LETTERS = "GuyYDMLdQqwWEecahKkHmsSAnNVOXxZ"
PATTERNS = [letter * count for letter in LETTERS for count in range(1, 7)]
PATTERNS += [
    "yyyy/MM/dd/HH/", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "'year='yyyy", "''yy''", "[HH]:mm", "'it''s' E", "'''",
    "{", "z", "zzz", "'abc", "h a", "]", "S" * 9, "S" * 10, "A" * 19, "A" * 20, "y" * 19, "y" * 20, "!x",
    "é yyyy", "'year='yyyy'/month='MM'/day='dd/", "EEEE dd MMMM yyyy", "e c W", "YYYY-'W'ww", "DDD", "b",
]  # fmt: skip
ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Asia/Kolkata", "America/St_Johns", "Europe/London"]
ZONES += ["Australia/Lord_Howe", "Pacific/Kiritimati"]
MOMENTS = [1735603200000 + day * 86_400_000 for day in range(6)]  # over the end of 2024
MOMENTS += [1704067199999, 1709164799000, 1711846800000, 1_700_000_000_123, 1_951_782_400_000]


def ours(pattern, name, ms):
    try:
        return "=" + TimePattern(pattern, zone(name)).format(int(ms))
    except ValueError:
        return "!"


def ask_java(cases, directory):
    """What Java answers to (pattern, zone, ms)."""
    assert shutil.which("javac"), "no JDK: apt-get install default-jdk-headless"
    subprocess.run(["javac", "-d", directory, HERE / "Formats.java"], check=True)
    lines = "".join(f"{pattern}\t{name}\t{ms}\n" for pattern, name, ms in cases)
    done = subprocess.run(
        ["java", "-cp", directory, "Formats"], input=lines.encode(), capture_output=True, check=True
    )
    answers = done.stdout.decode().splitlines()
    assert len(answers) == len(cases)
    return answers


def assert_same(cases, answers):
    different = []
    for case, answer in zip(cases, answers, strict=True):
        mine = ours(*case)
        if mine != answer and not (mine == "!" and answer.startswith("!")):
            different.append((*case, mine, answer))
    assert different == []


def test_every_letter_and_width_is_as_in_the_recorded_table():
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 5_000
    # The short names of some zones are refused, whatever Java has there.
    rows = [row for row in rows if set(row[0]) != {"z"} or short_names(zone(row[1]))]
    assert_same([tuple(row[:3]) for row in rows], [row[3] for row in rows])


@pytest.mark.integration
def test_random_moments_are_as_the_java_of_this_machine_has_them(tmp_path):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    cases = [
        (pattern, name, source.randrange(10**12, 2 * 10**12))
        for pattern in PATTERNS
        if set(pattern) != {"z"}  # the names of zones are a matter of zone and year: see below
        for name in ZONES
        for _ in range(5)
    ]
    assert_same(cases, ask_java(cases, tmp_path))


@pytest.mark.integration
def test_short_zone_names_that_are_not_refused_are_javas(tmp_path):
    own = {"EST", "HST", "MST", "ROC"}  # names of the database that Java does not have
    names = [
        name
        for name in sorted(zoneinfo.available_timezones() - own)
        if not name.startswith(("posix", "right")) and name not in ("localtime", "Factory")
    ]
    cases = [("z", n, ms) for n in names if short_names(zone(n)) for ms in (1704067199999, 1720000000000)]
    assert len(cases) > 400
    assert_same(cases, ask_java(cases, tmp_path))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("F", "letter F is not supported"),
        ("ppH", "letter p is not supported"),
        ("B", "letter B is not supported"),
        ("zzzz", "zzzz are not supported"),
        ("zzzzz", "Too many pattern letters: z"),
        ("b", "Unknown pattern letter: b"),
        ("{", "reserved character: '{'"),
        ("'abc", "incomplete string literal"),
        ("]", "contains ] without previous ["),
        ("VVV", "count must be 2: V"),
        ("OO", "count must be 1 or 4: O"),
        ("cc", 'Invalid pattern "cc"'),
    ],
)
def test_what_is_not_a_pattern_is_refused_by_name(pattern, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        TimePattern(pattern)


def test_short_names_are_refused_where_java_has_others():
    with pytest.raises(ValueError, match="letter z is not supported in the time zone America/Sao_Paulo"):
        TimePattern("z", zone("America/Sao_Paulo"))


@pytest.mark.parametrize("name", ["Mars/Base", "localtime", "posix/UTC", "Europe", "../etc/passwd", "/etc"])
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(ValueError, match="is not a time zone"):
        zone(name)


def test_moments_beyond_the_calendar_do_not_fail():
    assert TimePattern("yyyy").format(1 << 60) == "9999"
    assert TimePattern("yyyy").format(-(1 << 60)) == "1970"


def record(directory):
    """Write the table anew, with the Java of this machine: python -c 'import test_java_time as t; t.record("/tmp")'."""
    zoned = {p: ZONES if set(p) & set("VzOXxZ") else ZONES[:2] for p in PATTERNS}
    cases = [(p, n, ms) for p in PATTERNS for n in zoned[p] for ms in MOMENTS]
    answers = ask_java(cases, directory)
    rows = (
        f"{p}\t{n}\t{ms}\t{answer if answer[0] == '=' else '!'}\n"
        for (p, n, ms), answer in zip(cases, answers, strict=True)
    )
    TABLE.write_text("".join(rows), encoding="utf-8")
