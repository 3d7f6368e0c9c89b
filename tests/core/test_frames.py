# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Frames, the ring with its tail, and the table of frames against slow, plain models (frame_model.py).

What the tail writes is compared byte for byte with what the model encodes; damaged bytes are judged by both; the
tail is driven at random against a list of bytes, with a disk that takes writes in parts and fails.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from pathlib import Path

import frame_model as model
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.core import _frame_batch, _frames
from headrace.core._entries import Entries, Router
from headrace.core._frame_source import FrameSource
from headrace.core._frame_table import FrameTable
from headrace.core._frames import Tail
from headrace.core._states import ShardStates

SHARDS = 3
EDGES = [(1 << 128) * i // SHARDS for i in range(SHARDS + 1)]
ROUTER = Router([(EDGES[i], EDGES[i + 1] - 1, 10 * i, 0, 0) for i in range(SHARDS)])
SALT, CHAIN = 0x1234ABCD, 77
records = st.lists(
    st.tuples(st.integers(0, SHARDS - 1), st.text(min_size=1, max_size=6), st.binary(max_size=60)),
    min_size=1,
    max_size=12,
)


class Memory:
    """A file in memory, as Tail's disk: takes at most `most` bytes a call, and fails while it is told to."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.data = bytearray()
        self.most = most
        self.failing = False

    def pwrite(self, file: int, data: memoryview, position: int) -> int:
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        part, at = bytes(data[: self.most]), position - _frames.SEGMENT_HEADER_SIZE
        self.data.extend(bytes(max(at + len(part) - len(self.data), 0)))
        self.data[at : at + len(part)] = part
        return len(part)


def entries_of(rows) -> Entries:
    entries = Entries()
    for slot, key, data in rows:
        entries.add(data, key, EDGES[slot])
    ROUTER.route(entries)
    return entries


def tail_over(memory: Memory, limit: int = 1 << 24, ring: int = 1 << 20) -> Tail:
    tail = Tail(memory)
    tail.start(-1, 0, limit, SALT, CHAIN)
    tail.grow(ring)
    return tail


class Writer:
    """What the tail must write, by the model."""

    def __init__(self) -> None:
        self.data = b""
        self.chain = CHAIN
        self.next = dict.fromkeys(range(SHARDS), 0)
        self.arrival = dict.fromkeys(range(SHARDS), 0)

    def group(self, rows, now_ms: int, **facts) -> list[tuple[int, int]]:
        """Add the frames of a group; returns (index, arrival) of each record."""
        runs = [(slot, part) for slot in range(SHARDS) for part in model.split(
            [(key.encode(), data) for at, key, data in rows if at == slot])]  # fmt: skip
        given = {slot: [] for slot in range(SHARDS)}
        for number, (slot, part) in enumerate(runs):
            self.arrival[slot] = max(self.arrival[slot], now_ms)
            frame = model.Frame(
                10 * slot, self.next[slot], self.arrival[slot], part, last=number == len(runs) - 1, **facts
            )
            self.add(frame.encode(SALT, self.chain))
            given[slot] += [(self.next[slot] + i, self.arrival[slot]) for i in range(len(part))]
            self.next[slot] += len(part)
        return [given[slot].pop(0) for slot, _, _ in rows]

    def add(self, frame: bytes) -> None:
        self.data += frame
        self.chain = int.from_bytes(frame[:4], "little")


def stamped(entries: Entries) -> list[tuple[int, int]]:
    return list(zip(entries.indexes.tolist(), entries.arrivals.tolist(), strict=True))


@settings(max_examples=60)
@given(st.lists(st.tuples(records, st.integers(-5, 1 << 41)), min_size=1, max_size=4), st.integers(1, 500))
def test_what_the_tail_writes_is_what_the_model_encodes(groups, most):
    memory, writer = Memory(most), Writer()
    tail = tail_over(memory)
    for rows, now_ms in groups:
        entries = entries_of(rows)
        before = tail.appended
        size = tail.measure(entries, ROUTER, 0)
        assert tail.append(entries, ROUTER, 0, now_ms) == before + size
        assert stamped(entries) == writer.group(rows, max(now_ms, 0))
    tail.append_body(_frames.KIND_POSITION, 3, b"body", 4, 5, 6, 7)
    writer.add(model.encode(4, b"body", SALT, writer.chain, shard=3, first_index=4, arrival_ms=5, producer=6,
                            producer_sequence=7))  # fmt: skip
    assert tail.write() == len(writer.data)
    assert bytes(memory.data) == writer.data
    assert tail.chain == writer.chain
    end, chain, stop, state = _frames.check_frames(writer.data, 0, SALT, CHAIN)
    assert (end, chain, stop, state) == (len(writer.data), writer.chain, len(writer.data), 0)


def test_frames_are_split_where_a_body_or_a_count_is_full():
    big, small = bytes(200_000), b"x"
    for sizes in (
        [big, big, small],
        [small] * 40_000,
        [bytes(300_000), small],
        [small, bytes(300_000), small],
    ):
        memory, writer = Memory(), Writer()
        tail = tail_over(memory, ring=1 << 22)
        rows = [(1, "k", data) for data in sizes]
        entries = entries_of(rows)
        assert tail.append(entries, ROUTER, 0, 9) > 0
        writer.group(rows, 9)
        tail.write()
        assert _frames.crc32c(memory.data) == _frames.crc32c(writer.data)
        assert len(tail.table) == len(model.split([(b"k", data) for data in sizes]))


@settings(max_examples=150)
@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_damaged_frames_are_judged_as_the_model_judges_them(groups, draw):
    writer = Writer()
    for rows in groups:
        writer.group(rows, 100)
    data = bytearray(writer.data)
    for _ in range(draw.draw(st.integers(0, 3))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):  # the header's CRC made right again: the fields behind it are judged
        head = bytes(data[4:64])
        data[:4] = struct.pack("<I", model.crc(head, SALT))
    del data[draw.draw(st.integers(0, len(data))) :]
    end, chain, stop, why = model.walk(bytes(data), SALT, CHAIN)
    found = _frames.check_frames(bytes(data), 0, SALT, CHAIN)
    assert (*found[:3], _frames.STATE_NAMES[found[3]]) == (end, chain, stop, why)
    place = next((at for at in range(0, len(data) - 63, 8) if header_stands(data, at)), None)
    assert _frames.search_frame(bytes(data), 0, SALT) == place


def header_stands(data: bytes, at: int) -> bool:
    """Whether a valid header stands there, whatever it is chained to; its body may be cut short."""
    part = bytes(data[at:])
    state = model.judge(part, SALT, int.from_bytes(part[4:8], "little"))[0]
    return state not in ("bad header checksum", "impossible field")


@settings(max_examples=80)
@given(records, st.integers(0, 15), st.integers(1, 15), st.integers(1, 400))
def test_decoding_gives_the_records_within_the_bounds(rows, index, count, size):
    writer = Writer()
    rows = [(1, key, data) for _, key, data in rows]
    writer.group(rows[:5], 100)
    writer.group(rows[5:], 50)
    batch = _frame_batch.decode_frames(writer.data, SALT, index, count, size, 10)
    expected, total = [], 0
    for number, (_, key, data) in enumerate(rows):
        total += (len(key.encode()) + len(data)) * (number >= index)
        if number >= index and len(expected) < count and (not expected or total <= size):
            expected.append((number, key, data, 100, 10))
    arrivals = batch.arrival.astype("int64").tolist()
    found = zip(batch.ordinals.tolist(), batch.keys, batch.data, arrivals, batch.shards.tolist(), strict=True)
    assert list(found) == expected
    with pytest.raises(ValueError, match="another shard"):
        _frame_batch.decode_frames(writer.data, SALT, index, count, size, 20)
    for at in range(0, len(writer.data), 7):
        changed = bytearray(writer.data)
        changed[at] ^= 0x10
        if model.walk(bytes(changed), SALT, CHAIN)[3] not in ("ok", "broken chain"):
            with pytest.raises(ValueError, match="at byte"):
                _frame_batch.decode_frames(bytes(changed), SALT, index, count, size)


class TailMachine(RuleBasedStateMachine):
    """The ring and its tail against bytes: `data` is all that was framed, `written` what the disk was handed."""

    @initialize(most=st.sampled_from([50, 4096, 1 << 30]), direct_least=st.sampled_from([None, 1, 500]))
    def begin(self, most, direct_least):
        self.memory, self.writer = Memory(most), Writer()
        self.tail = tail_over(self.memory, limit=40_000, ring=4096)
        if direct_least is not None:
            self.tail.write_direct_from(None if most == 50 else "unused", direct_least, 0)
        self.written, self.held = 0, False
        self.groups = [0]  # where each group begins

    @rule(rows=records, now_ms=st.integers(0, 1000), commit=st.booleans())
    def append(self, rows, now_ms, commit):
        entries = entries_of(rows)
        need, before = self.tail.measure(entries, ROUTER, 0), self.tail.appended
        answer = self.tail.append(entries, ROUTER, 0, now_ms)
        if self.held or (before + need > self.tail.limit and before > self.tail.opened):
            assert answer == _frames.NEEDS_SEGMENT
        elif before - self.written + need > self.tail.ring_size:
            assert answer == _frames.NEEDS_ROOM
        else:
            assert answer == before + need
            assert stamped(entries) == self.writer.group(rows, now_ms)
            self.groups.append(before + need)
        assert self.tail.appended == len(self.writer.data)
        if commit:
            self.write()

    @rule()
    def write(self):
        self.memory.failing = False
        assert self.tail.write() == len(self.writer.data)
        self.written = len(self.writer.data)

    @precondition(lambda self: self.tail.pending > 0)
    @rule()
    def fail(self):
        self.memory.failing = True
        with pytest.raises(OSError):
            self.tail.write()
        self.memory.failing = False
        assert self.tail.written == self.written

    @precondition(lambda self: not self.held)
    @rule(size=st.integers(0, 9000))
    def grow(self, size):
        if size >= self.tail.pending:
            self.tail.grow(size)
            assert self.tail.ring_size >= max(size, self.tail.pending)

    @rule(size=st.integers(0, 3000))
    def hold(self, size):
        answer, before = self.tail.hold(size), self.tail.appended
        if self.held or (before + size > self.tail.limit and before > self.tail.opened):
            assert answer == _frames.NEEDS_SEGMENT
        elif before - self.written + size > self.tail.ring_size:
            assert answer == _frames.NEEDS_ROOM
        else:
            assert answer == 0
            self.held = True

    @rule()
    def release(self):
        self.tail.release()
        self.held = False

    @rule(share=st.floats(0, 1), size=st.integers(0, 500))
    def copy(self, share, size):
        at = int(len(self.writer.data) * share)
        copy = self.tail.copy_ring(at, size)
        if at >= self.tail.kept and at + size <= self.tail.appended:
            assert copy == self.writer.data[at : at + size]
        else:
            assert copy is None

    @invariant()
    def the_ring_and_the_file_hold_what_was_framed(self):
        tail, data = self.tail, self.writer.data
        assert (tail.appended, tail.written, tail.chain) == (len(data), self.written, self.writer.chain)
        assert tail.kept <= tail.written
        assert tail.appended - tail.kept <= tail.ring_size or tail.appended == tail.kept
        assert tail.copy_ring(tail.kept, tail.appended - tail.kept) == data[tail.kept :]
        assert bytes(self.memory.data[: self.written]) == data[: self.written]
        assert tail.states.shards() == [10 * slot for slot in range(SHARDS) if self.writer.next[slot]]
        for slot in range(SHARDS):
            assert tail.states.get(10 * slot)[0] == self.writer.next[slot]


TailMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestTail = TailMachine.TestCase


def test_what_was_not_written_can_be_discarded_and_a_new_segment_started():
    memory, writer = Memory(), Writer()
    tail = tail_over(memory)
    tail.append(entries_of([(0, "k", b"kept")]), ROUTER, 0, 1)
    writer.group([(0, "k", b"kept")], 1)
    end = tail.write()
    tail.append(entries_of([(0, "k", b"lost"), (2, "k", b"lost")]), ROUTER, 0, 2)
    with pytest.raises(RuntimeError, match="framed but not written"):
        tail.start(-1, end, 1 << 20, SALT, CHAIN)
    tail.discard()
    assert (tail.pending, tail.table.rows()) == (0, [(0, 0, 1, 1, 0, end)])
    tail.start(-1, end, 1 << 20, SALT + 1, CHAIN)
    memory.data.clear()
    tail.append_body(_frames.KIND_SNAPSHOT, 0, b"anew")
    assert tail.write() == end + len(memory.data)
    assert bytes(memory.data) == model.encode(model.SNAPSHOT, b"anew", SALT + 1, CHAIN)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6000), min_size=1, max_size=4), min_size=1, max_size=30), st.data())
def test_direct_writes_leave_the_same_file_as_others_and_zeroes_up_to_the_block(groups, draw):
    with tempfile.TemporaryDirectory() as directory:
        name = Path(directory) / "file"
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.pwrite(file, b"\xa5" * (1 << 20), 0)  # of an earlier use
        base = draw.draw(st.integers(0, 1 << 40).map(lambda number: 8 * number))
        memory = Memory()
        tail, twin = Tail(), tail_over(memory, ring=1 << 15)
        tail.start(file, base, base + (1 << 24), SALT, CHAIN)
        tail.grow(1 << 15)
        tail.write_direct_from(name, draw.draw(st.sampled_from([1, 5000])), 0)
        for group in groups:
            for size in group:
                body = os.urandom(size)
                for each in (tail, twin):  # a group and a block have room: each group is a direct write
                    assert each.append_body(_frames.KIND_POSITION, 1, body) > 0
            assert tail.write() - base == twin.write() == len(memory.data)
            assert os.pread(file, len(memory.data), 4096) == memory.data
            rest = -len(memory.data) % 4096
            assert os.pread(file, rest + 1, 4096 + len(memory.data)) == bytes(rest) + b"\xa5"
        if tail.direct_path is not None and tail.direct_least == 1:  # the file system takes them
            assert tail.direct_bytes > 0 and tail.direct_bytes % 4096 == 0
        assert os.pread(file, 4096, 0) == b"\xa5" * 4096
        os.close(file)


def test_what_a_direct_write_repeats_is_not_overwritten_while_it_is_under_way():
    """The first block's bytes are on the device; an append of another thread may come while they go there again."""

    class Busy(Memory):
        def pwrite(self, file, data, position):
            if (
                position == _frames.SEGMENT_HEADER_SIZE and tail.written
            ):  # the block that holds the first frame
                room = tail.ring_size - tail.appended
                answers.append(
                    tail.append_body(_frames.KIND_POSITION, 1, bytes(room))
                )  # to the ring's very end…
                answers.append(tail.append_body(_frames.KIND_POSITION, 1, bytes(room - 64)))
                answers.append(tail.append_body(_frames.KIND_POSITION, 1, b""))  # …and beyond
            return super().pwrite(file, data, position)

    answers: list[int] = []
    memory = Busy()
    tail = tail_over(memory, ring=8192)
    tail.append_body(_frames.KIND_POSITION, 1, b"synced long ago")
    tail.write()
    tail.write_direct_from("unused", 1, 0)
    tail.append_body(_frames.KIND_POSITION, 1, bytes(5000))
    tail.write()
    assert answers == [_frames.NEEDS_ROOM, tail.ring_size, _frames.NEEDS_ROOM]
    assert tail.append_body(_frames.KIND_POSITION, 1, b"") > 0  # now it may
    tail.write()
    events = _frames.load_frames(bytes(memory.data), 0, tail.written, SALT, FrameTable(), None, 0)
    assert events[0][7] == b"synced long ago"


def test_the_first_blocks_bytes_are_left_alone_where_the_ring_no_longer_has_them(tmp_path):
    path = tmp_path / "file"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    tail = Tail()
    tail.start(file, 0, 1 << 24, SALT, CHAIN)
    tail.grow(8192)
    tail.write_direct_from(path, 1, 0)
    bodies = [os.urandom(500), os.urandom(8192 - 64), os.urandom(8192 - 64), os.urandom(100)]
    for body in bodies:
        assert tail.append_body(_frames.KIND_POSITION, 1, body) > 0
        tail.write()
    data = os.pread(file, tail.written, 4096)
    os.close(file)
    found = _frames.load_frames(data, 0, len(data), SALT, FrameTable(), None, 0)
    assert [event[7] for event in found] == bodies


def test_an_append_while_the_direct_file_is_opened_is_seen(tmp_path):
    """Opening lets other threads run, and one of them may fill the ring over the block that was written in part."""
    path = tmp_path / "file"
    file = os.open(path, os.O_RDWR | os.O_CREAT)

    class Opening:
        def __fspath__(self):
            assert tail.append_body(_frames.KIND_POSITION, 1, b"\xee" * (tail.ring_size - 5064 - 64)) > 0
            assert tail.kept > 0  # the first frame is not in the ring any more
            return str(path)

    tail = Tail()
    tail.start(file, 0, 1 << 24, SALT, CHAIN)
    tail.grow(8192)
    tail.append_body(_frames.KIND_POSITION, 1, b"synced long ago")
    first = tail.write()
    tail.write_direct_from(Opening(), 1, 0)
    tail.append_body(_frames.KIND_POSITION, 1, bytes(5000))
    tail.write()
    tail.write()
    data = os.pread(file, tail.written, 4096)
    os.close(file)
    assert _frames.check_frames(data, 0, SALT, CHAIN)[0] == len(data) > first
    assert _frames.load_frames(data, 0, first, SALT, FrameTable(), None, 0)[0][7] == b"synced long ago"


def test_where_direct_writes_are_refused_the_page_cache_takes_them(tmp_path):
    """By the open (nothing there; a device that knows no such thing) or by the write (a pipe has no places)."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (tmp_path / "none" / "file", Path("/dev/full"), pipe):
        tail = Tail()
        tail.start(file, 0, 1 << 24, SALT, CHAIN)
        tail.grow(1 << 16)
        tail.write_direct_from(path, 1, 0)
        tail.append_body(_frames.KIND_POSITION, 1, b"x" * 5000)
        assert tail.may_wait
        assert tail.write() == tail.appended
        assert tail.direct_path is None and tail.direct_bytes == 0 and not tail.may_wait
        data = os.pread(file, tail.written, 4096)
        assert _frames.check_frames(data, 0, SALT, CHAIN)[0] == len(data)
        os.pwrite(file, bytes(len(data)), 4096)
    os.close(reader)
    os.close(file)


def test_small_writes_beside_direct_ones_are_of_whole_blocks_too():
    """So that the system never has to read the rest of a block first."""

    class Blocks(Memory):
        def pwrite(self, file, data, position):
            writes.append((position, len(data)))
            return super().pwrite(file, data, position)

    writes: list[tuple[int, int]] = []
    tail = tail_over(Blocks())
    tail.write_direct_from("unused", 10_000, 0)
    for size in (100, 3000, 9000, 0, 20_000, 50):
        tail.append_body(_frames.KIND_POSITION, 1, bytes(size))
        begin = tail.written
        assert tail.write() == tail.appended
        (written,) = writes[-1:]
        assert written == (
            4096 + begin // 4096 * 4096,
            -(-tail.written // 4096) * 4096 - begin // 4096 * 4096,
        )
    assert len(writes) == 6


@pytest.mark.parametrize("slow", [True, False])
def test_a_device_is_slow_when_four_direct_writes_in_a_row_were(tmp_path, slow):
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    tail = Tail()
    tail.start(file, 0, 1 << 24, SALT, CHAIN)
    tail.grow(1 << 16)
    tail.write_direct_from(tmp_path / "file", 1, (1 << 62) if slow else 0)
    paths = []
    for _ in range(6):
        tail.append_body(_frames.KIND_POSITION, 1, bytes(5000))
        paths.append(tail.direct_path is not None)
        assert tail.write() == tail.appended
    assert _frames.check_frames(os.pread(file, tail.written, 4096), 0, SALT, CHAIN)[0] == tail.written
    os.close(file)
    if tail.direct_bytes:  # the file system takes them
        assert paths == [True] * 4 + [not slow] * 2


def test_a_ring_that_is_put_on_huge_pages_goes_on(tmp_path):
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    body, chain, base, before = os.urandom(100_000), CHAIN, 0, None
    for segment, count in enumerate((5, 30, 30)):  # half a ring, then more than one
        tail = Tail()
        tail.start(file, base, base + (1 << 26), SALT, chain)
        if before is None:
            tail.grow(2 << 20)
        else:
            tail.take_ring(before)
        assert tail.ring_collapsed == (segment == 2)  # pages that were never used are not asked for
        for number in range(count):
            start = tail.appended
            end = tail.append_body(_frames.KIND_POSITION, 1, number.to_bytes(4, "little") + body)
            assert tail.copy_ring(start + 64, 100_004) == number.to_bytes(4, "little") + body
            assert tail.write() == end
        tail.closed, chain, base, before = 1, tail.chain, tail.written, tail
    os.close(file)
    if tail.ring_huge:  # else the machine has none to give
        maps = Path("/proc/self/smaps").read_text().split("headrace-ring")
        assert any("ShmemPmdMapped:     2048 kB" in part[:1200] for part in maps[1:])
    tail.grow(4 << 20)
    assert (tail.ring_collapsed, tail.ring_huge) == (False, False)


rows_of_tables = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 9), st.integers(0, 3), st.integers(8, 30)),
    max_size=60,
)


@given(rows_of_tables, st.integers(0, 6000), st.integers(0, 5), st.integers(0, 200), st.integers(0, 90))
def test_a_table_finds_what_a_list_finds(steps, cut, shard, index, arrival):
    table, rows, offset = FrameTable(), [], 0
    following, arrivals = dict.fromkeys(range(5), 0), dict.fromkeys(range(5), 0)
    for number, gap, count, later, stride in steps:
        following[number] += gap
        arrivals[number] += later
        rows.append((number, following[number], count, arrivals[number], offset, 8 * stride))
        table.add(*rows[-1])
        following[number] += count
        offset += 8 * stride
    table.cut(cut)
    rows = [row for row in rows if row[4] < cut]
    assert table.rows() == rows and len(table) == len(rows)
    assert table.shards() == sorted({row[0] for row in rows})
    for end in (0, cut // 2, cut, 1 << 40):
        mine = [row for row in rows if row[0] == shard and row[4] + row[5] <= end]
        first = [row for row in rows if row[0] == shard][:1]
        bounds = (first[0][1], mine[-1][1] + mine[-1][2], mine[-1][3]) if mine else None
        assert table.bounds(shard, end) == bounds
        later = [row for row in rows if row[0] == shard and row[3] >= arrival][:1]
        fits = bool(later) and later[0][4] + later[0][5] <= end
        assert table.index_at_time(shard, arrival, end) == (later[0][1] if fits else None)


@settings(max_examples=60)
@given(st.lists(records, min_size=1, max_size=5), st.integers(0, SHARDS), st.integers(0, 20), st.integers(1, 9),
       st.integers(1, 800), st.floats(0, 1))  # fmt: skip
def test_a_shard_is_read_from_ring_and_file_alike(groups, slot, index, count, size, share):
    writer, memory = Writer(), Memory()
    tail = tail_over(memory)
    for rows in groups:
        tail.append(entries_of(rows), ROUTER, 0, 5)
        writer.group(rows, 5)
    tail.write()
    end = int(len(writer.data) * share)
    file = os.memfd_create("segment")
    try:
        os.pwrite(file, writer.data, _frames.SEGMENT_HEADER_SIZE)
        expected, taken = b"", 0
        for shard, first, records_here, _, offset, stride in tail.table.rows():
            if shard != 10 * slot or first + records_here <= index:
                continue
            if offset + stride > end or taken >= count or (expected and len(expected) + stride > size):
                break
            expected += writer.data[offset : offset + stride]
            taken += records_here - max(index - first, 0)
        for source in (None, tail):
            found = FrameSource(10 * slot, index, count, size, SALT, None)
            found = found.in_segment(tail.table, end, file, source)
            assert (found and found.joined()) == (expected or None)
        os.ftruncate(file, _frames.SEGMENT_HEADER_SIZE + len(expected) // 2)
        if expected:
            with pytest.raises(OSError):
                FrameSource(10 * slot, index, count, size, SALT, None).in_segment(
                    tail.table, end, file
                ).joined()
    finally:
        os.close(file)


@given(st.lists(records, min_size=1, max_size=4))
def test_loading_frames_gives_the_table_and_states_that_writing_left(groups):
    memory = Memory()
    tail = tail_over(memory)
    tail.append_body(_frames.KIND_SNAPSHOT, 0, b"snap")
    for number, rows in enumerate(groups):
        tail.append(entries_of(rows), ROUTER, 0, 5 * number, number % 2 << 16, number)
    tail.write()
    table, states = FrameTable(), ShardStates()
    data = bytes(memory.data)
    events = _frames.load_frames(data, 0, len(data), SALT, table, states, 0)
    assert table.rows() == tail.table.rows()
    assert states.dump() == tail.states.dump()
    assert events[0] == (_frames.KIND_SNAPSHOT, 0, 0, 0, 0, 0, 0, b"snap")
    assert {event[5] for event in events[1:]} == {n for n in range(len(groups)) if n % 2}
    runs = [(offset, stride) for _, _, _, _, offset, stride in table.rows()]
    file = os.memfd_create("segment")
    try:
        os.pwrite(file, data, _frames.SEGMENT_HEADER_SIZE)
        assert _frames.read_runs(file, runs) == b"".join(data[at : at + size] for at, size in runs)
    finally:
        os.close(file)
