# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Times written by a pattern of Java's DateTimeFormatter, as in `yyyy/MM/dd/HH`.

    pattern = TimePattern("yyyy-MM-dd'T'HH", zone("Asia/Tokyo"))
    pattern.format(1_700_000_000_000)              # '2023-11-15T07'

Letters, widths and texts are Java's with the locale US (weeks begin on Sunday and the first has at least one
day): https://docs.oracle.com/javase/8/docs/api/java/time/format/DateTimeFormatter.html. Refused by name are
F (its meaning differs between versions of Java), p (padding), zzzz and, for zones whose short name Java and
the time zone database do not share, z. `tests/firehose/test_java_time.py` holds this to a real Java.

Cost: 2 µs for `yyyy/MM/dd/HH/`; called a few times an object.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_QUARTERS = ("1st quarter", "2nd quarter", "3rd quarter", "4th quarter")
_ERA = {1: "AD", 2: "AD", 3: "AD", 4: "Anno Domini", 5: "A"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MAX = 253_402_300_799_999 - 86_400_000  # a day before the year 10000, in any zone

_NOT_ZONES = ("localtime", "posixrules", "Factory")  # files of the database that are no zones

Piece = Callable[[datetime], str]


def zone(name: str) -> tzinfo:
    """A time zone by its name in the database, "" for UTC. ValueError if there is none of this name."""
    if name in ("", "UTC"):
        return UTC
    if name in _NOT_ZONES or name.startswith(("posix/", "right/")):
        raise ValueError(f"{name} is not a time zone")
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"{name} is not a time zone") from None


class TimePattern:
    """A compiled pattern in a zone. ValueError where it is not one, or not one of those supported."""

    def __init__(self, text: str, zone: tzinfo = UTC) -> None:
        self.text = text
        self.zone = zone
        self._pieces = _compile(text, zone)

    def format(self, ms: int) -> str:
        """The text for a moment given in milliseconds since 1970."""
        moment = local_time(ms, self.zone)
        return "".join(piece(moment) for piece in self._pieces)


def local_time(ms: int, zone: tzinfo) -> datetime:
    """The wall clock of a zone; moments beyond the year 9999 or before 1970 become the nearest within."""
    moment = _EPOCH + timedelta(milliseconds=min(max(ms, 86_400_000), _MS_MAX))
    return moment.astimezone(zone)


def _compile(text: str, zone: tzinfo) -> list[Piece]:
    pieces: list[Piece] = []
    at = depth = 0
    while at < len(text):
        letter = text[at]
        if letter.isascii() and letter.isalpha():
            end = at
            while end < len(text) and text[end] == letter:
                end += 1
            pieces.append(_letter(letter, end - at, zone))
            at = end
            continue
        if letter == "'":
            literal, at = _quoted(text, at)
            pieces.append(_constant(literal))
            continue
        if letter in "{}#":
            raise ValueError(f"Pattern includes reserved character: '{letter}'")
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if depth < 0:
            raise ValueError("Pattern invalid as it contains ] without previous [")
        if letter not in "[]":  # an optional part is always written: every field is known
            pieces.append(_constant(letter))
        at += 1
    return pieces


def _quoted(text: str, at: int) -> tuple[str, int]:
    """The literal that starts with the quote at `at`, and where it ends. Two quotes stand for one."""
    literal: list[str] = []
    start = at
    at += 1
    while at < len(text):
        if text[at] != "'":
            literal.append(text[at])
        elif text[at + 1 : at + 2] == "'":
            literal.append("'")
            at += 1
        else:
            return "".join(literal) if at > start + 1 else "'", at + 1
        at += 1
    raise ValueError(f"Pattern ends with an incomplete string literal: {text}")


def _letter(letter: str, count: int, zone: tzinfo) -> Piece:
    make = _LETTERS.get(letter)
    if make is None:
        if letter in _UNSUPPORTED:
            raise ValueError(f"Pattern letter {letter} is not supported: {_UNSUPPORTED[letter]}")
        raise ValueError(f"Unknown pattern letter: {letter}")
    if letter == "z":
        return _zone_name(count, zone)
    return make(letter, count)


def _constant(text: str) -> Piece:
    return lambda _: text


def _too_many(letter: str) -> ValueError:
    return ValueError(f"Too many pattern letters: {letter}")


# --- numbers ---


def _number(value: Callable[[datetime], int]) -> Callable[[str, int], Piece]:
    """One or two letters: as many digits at least."""

    def make(letter: str, count: int) -> Piece:
        if count > 2:
            raise _too_many(letter)
        return lambda moment: f"{value(moment):0{count}d}"

    return make


def _wide(value: Callable[[datetime], int]) -> Callable[[str, int], Piece]:
    """Up to 19 letters: as many digits at least."""

    def make(letter: str, count: int) -> Piece:
        if count > 19:
            raise _too_many(letter)
        return lambda moment: f"{value(moment):0{count}d}"

    return make


def _year(value: Callable[[datetime], int]) -> Callable[[str, int], Piece]:
    """Two letters: the last two digits; otherwise as many digits at least."""
    wide = _wide(value)

    def make(letter: str, count: int) -> Piece:
        return wide(letter, count) if count != 2 else lambda moment: f"{value(moment) % 100:02d}"

    return make


def _day_of_year(letter: str, count: int) -> Piece:
    if count > 3:
        raise _too_many(letter)
    return lambda moment: f"{moment.timetuple().tm_yday:0{count}d}"


def _fraction(letter: str, count: int) -> Piece:
    if count > 9:
        raise _too_many(letter)
    return lambda moment: f"{moment.microsecond * 1000:09d}"[:count]


def _milli_of_day(moment: datetime) -> int:
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    return seconds * 1000 + moment.microsecond // 1000


# --- weeks, as in the United States ---


def _weekday(moment: datetime) -> int:
    """0 for Sunday."""
    return moment.isoweekday() % 7


def _week_year(moment: datetime) -> int:
    """The year to which the week belongs: that of its Saturday."""
    return (moment.replace(tzinfo=None) + timedelta(days=6 - _weekday(moment))).year


def _week(moment: datetime) -> int:
    if _week_year(moment) != moment.year:
        return 1
    return (moment.timetuple().tm_yday - 1 + _weekday(moment.replace(month=1, day=1))) // 7 + 1


def _week_of_month(letter: str, count: int) -> Piece:
    if count > 1:
        raise _too_many(letter)
    return lambda moment: str((moment.day - 1 + _weekday(moment.replace(day=1))) // 7 + 1)


def _localized_weekday(letter: str, count: int) -> Piece:
    if letter == "c" and count == 2:
        raise ValueError('Invalid pattern "cc"')
    if count <= 2:
        return lambda moment: f"{_weekday(moment) + 1:0{count}d}"
    return _weekday_text(letter, count)


# --- texts ---


def _text(names: tuple[str, ...], index: Callable[[datetime], int], letter: str, count: int) -> Piece:
    """Three letters: short; four: full; five: the first letter."""
    if count > 5:
        raise _too_many(letter)
    size = {3: 3, 4: None, 5: 1}[max(count, 3)]
    return lambda moment: names[index(moment)][:size]


def _weekday_text(letter: str, count: int) -> Piece:
    return _text(_DAYS, _weekday, letter, count)


def _month(letter: str, count: int) -> Piece:
    if count <= 2:
        return lambda moment: f"{moment.month:0{count}d}"
    return _text(_MONTHS, lambda moment: moment.month - 1, letter, count)


def _quarter(letter: str, count: int) -> Piece:
    if count > 5:
        raise _too_many(letter)

    def write(moment: datetime) -> str:
        quarter = (moment.month + 2) // 3
        if count == 3:
            return f"Q{quarter}"
        if count == 4:
            return _QUARTERS[quarter - 1]
        return f"{quarter:0{count}d}" if count < 3 else str(quarter)

    return write


def _half_of_day(letter: str, count: int) -> Piece:
    if count > 1:
        raise _too_many(letter)
    return lambda moment: "AM" if moment.hour < 12 else "PM"


def _era(letter: str, count: int) -> Piece:
    if count > 5:
        raise _too_many(letter)
    return _constant(_ERA[count])


# --- zones ---


def _offset(moment: datetime) -> tuple[str, int, int]:
    """Sign, hours and minutes of the offset from UTC; seconds, which only the 19th century had, are cut."""
    offset = moment.utcoffset() or timedelta()
    minutes = abs(offset) // timedelta(minutes=1)
    return "-" if offset < timedelta() else "+", minutes // 60, minutes % 60


def _is_zero(moment: datetime) -> bool:
    return not moment.utcoffset()


def _iso_offset(letter: str, count: int) -> Piece:
    """X and x: +01, +0130; +0100; +01:00. X writes Z for zero."""
    if count > 5:
        raise _too_many(letter)
    colon = ":" if count in (3, 5) else ""

    def write(moment: datetime) -> str:
        if letter == "X" and _is_zero(moment):
            return "Z"
        sign, hours, minutes = _offset(moment)
        if count == 1 and not minutes:
            return f"{sign}{hours:02d}"
        return f"{sign}{hours:02d}{colon}{minutes:02d}"

    return write


def _gmt_offset(letter: str, count: int) -> Piece:
    """O: GMT+1, GMT+5:30; OOOO: GMT+01:00."""
    if count not in (1, 4):
        raise ValueError(f"Pattern letter count must be 1 or 4: {letter}")

    def write(moment: datetime) -> str:
        if _is_zero(moment):
            return "GMT"
        sign, hours, minutes = _offset(moment)
        if count == 4:
            return f"GMT{sign}{hours:02d}:{minutes:02d}"
        return f"GMT{sign}{hours}" + (f":{minutes:02d}" if minutes else "")

    return write


def _rfc_offset(letter: str, count: int) -> Piece:
    """Z: +0100; ZZZZ as OOOO; ZZZZZ: +01:00, and Z for zero."""
    if count > 5:
        raise _too_many(letter)
    if count == 4:
        return _gmt_offset(letter, 4)
    return _iso_offset("X", 5) if count == 5 else _iso_offset("x", 2)


def _zone_id(letter: str, count: int) -> Piece:
    if count != 2:
        raise ValueError(f"Pattern letter count must be 2: {letter}")
    return lambda moment: getattr(moment.tzinfo, "key", "UTC")


def _zone_name(count: int, zone: tzinfo) -> Piece:
    """z: the short name, where Java's and the database's agree; see `short_names`."""
    if count > 4:
        raise _too_many("z")
    if count == 4:
        raise ValueError("Pattern letters zzzz are not supported: use z, VV or XXX")
    names = short_names(zone)
    if not names:
        raise ValueError(f"Pattern letter z is not supported in the time zone {zone}: use VV or XXX")
    return lambda moment: moment.tzname() or "UTC"


_SHARED_NAMES = frozenset(
    ("UTC", "GMT", "BST", "IST", "CET", "CEST", "EET", "EEST", "WET", "WEST", "JST", "KST", "EST", "EDT",
     "CST", "CDT", "MST", "MDT", "PST", "PDT", "AKST", "AKDT", "HST", "AST", "ADT", "NST", "NDT", "AEST",
     "AEDT", "ACST", "ACDT", "AWST", "NZST", "NZDT", "MSK", "SAST", "CAT", "EAT", "WAT")
)  # fmt: skip


_OWN_NAMES = ("Africa/Windhoek", "Pacific/Johnston")  # Java's names there are others


def short_names(zone: tzinfo) -> frozenset[str]:
    """The short names a zone has within a year, or none if one of them is not known to be Java's too."""
    if getattr(zone, "key", "") in _OWN_NAMES:
        return frozenset()
    names = {datetime(2024, month, 1, tzinfo=zone).tzname() or "UTC" for month in range(1, 13)}
    return frozenset(names) if names <= _SHARED_NAMES else frozenset()


_UNSUPPORTED = {
    "F": "its meaning depends on the version of Java",
    "p": "padding",
    "g": "newer than the formatter of Java 8",
    "v": "newer than the formatter of Java 8",
    "B": "newer than the formatter of Java 8",
}

_LETTERS: dict[str, Callable[[str, int], Piece]] = {
    "G": _era,
    "u": _year(lambda moment: moment.year),
    "y": _year(lambda moment: moment.year),
    "Y": _year(_week_year),
    "D": _day_of_year,
    "M": _month,
    "L": _month,
    "d": _number(lambda moment: moment.day),
    "Q": _quarter,
    "q": _quarter,
    "w": _number(_week),
    "W": _week_of_month,
    "E": _weekday_text,
    "e": _localized_weekday,
    "c": _localized_weekday,
    "a": _half_of_day,
    "h": _number(lambda moment: (moment.hour + 11) % 12 + 1),
    "K": _number(lambda moment: moment.hour % 12),
    "k": _number(lambda moment: moment.hour or 24),
    "H": _number(lambda moment: moment.hour),
    "m": _number(lambda moment: moment.minute),
    "s": _number(lambda moment: moment.second),
    "S": _fraction,
    "A": _wide(_milli_of_day),
    "n": _wide(lambda moment: moment.microsecond * 1000),
    "N": _wide(lambda moment: _milli_of_day(moment) * 1_000_000),
    "V": _zone_id,
    "z": lambda _letter, _count: _constant(""),  # needs the zone: see _zone_name
    "O": _gmt_offset,
    "X": _iso_offset,
    "x": _iso_offset,
    "Z": _rfc_offset,
}
