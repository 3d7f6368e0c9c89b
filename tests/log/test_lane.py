# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane on the real file system: order, look-ups, promises, positions, threads."""

from __future__ import annotations

import os
import threading
import time

import pytest
from log_support import entries_of, put, read_shard, reopen, router_of

from headrace.errors import Closed, Fenced
from headrace.log import Log
from headrace.log import segment as segments


def test_records_come_back_in_order_per_shard_with_consecutive_indexes(log, durability):
    lane, router = log.create_lane(durability), router_of(3)
    records = [(i % 3, f"key-{i}", b"x" * i) for i in range(300)]
    given = put(lane, router, records[:200])
    given += put(lane, router, records[200:])
    for shard in range(3):
        expected = [(n, key, data) for n, (_, key, data) in enumerate(r for r in records if r[0] == shard)]
        assert read_shard(lane, shard) == expected
        assert read_shard(lane, shard, 50, max_records=7) == expected[50:]
        assert read_shard(lane, shard, max_bytes=100) == expected
        assert lane.bounds(shard) == (0, 100)
    assert [index for index, _ in given] == [i // 3 for i in range(300)]


def test_a_lane_without_records_has_no_file(log, durability):
    lane = log.create_lane(durability)
    assert lane.bounds(0) == (0, 0)
    assert len(lane.read(0, 0)) == 0
    assert not lane.directory.exists()


def test_arrival_never_decreases_when_the_clock_jumps_back(log, clock):
    lane, router = log.create_lane("process"), router_of(1)
    before = put(lane, router, [(0, "k", b"a")])[0][1]
    clock.jump(-3_600_000)
    after = put(lane, router, [(0, "k", b"b")])[0][1]
    assert after == before
    clock.jump(3_600_000 + 5)
    assert put(lane, router, [(0, "k", b"c")])[0][1] == before + 5


def test_index_at_time_finds_the_first_record_of_that_arrival_or_later(log, clock):
    lane, router = log.create_lane("process"), router_of(2)
    start = clock.now_ms()
    for _ in range(50):
        put(lane, router, [(0, "k", b"a"), (1, "k", b"b"), (0, "k", b"c")])
        clock.advance(10)
    for shard, each in ((0, 2), (1, 1)):
        for step in (0, 1, 17, 49):
            assert lane.index_at_time(shard, start + 10 * step) == each * step
            assert lane.index_at_time(shard, start + 10 * step - 5) == each * step
        assert lane.index_at_time(shard, start + 10_000) == 50 * each


def small_segments(monkeypatch, size=64 << 10):
    from headrace import limits

    monkeypatch.setattr(limits, "segment_size_first", size)
    monkeypatch.setattr(limits, "segment_size_max", size)


def test_positions_and_producers_live_with_their_group(log, durability):
    lane, router = log.create_lane(durability), router_of(1)
    first = entries_of([(0, "k", b"0"), (0, "k", b"1")], router)
    lane.commit(lane.append(first, router, 0, producer=(7, 1, 0), positions={b"app": b"at 2"}))
    assert lane.positions() == {b"app": b"at 2"}
    # The same output again in other pieces, as after a crash: what is there already is left out.
    again = entries_of([(0, "k", b"1"), (0, "k", b"2")], router)
    lane.commit(lane.append(again, router, 0, producer=(7, 1, 1), positions={b"app": b"at 3"}))
    assert [data for _, _, data in read_shard(lane, 0)] == [b"0", b"1", b"2"]
    lane_id = lane.id
    log2 = reopen(log)
    log.__dict__.update(log2.__dict__)
    lane = log.lane(lane_id)
    assert lane.positions() == {b"app": b"at 3"}
    assert lane.producers == {7: (1, 2)}
    newer = entries_of([(0, "k", b"2"), (0, "k", b"3")], router)
    lane.commit(lane.append(newer, router, 0, producer=(7, 2, 2)))
    assert [data for _, _, data in read_shard(lane, 0)] == [b"0", b"1", b"2", b"3"]
    with pytest.raises(Fenced, match="epoch 2"):
        lane.append(entries_of([(0, "k", b"4")], router), router, 0, producer=(7, 1, 4))


def test_disk_records_are_seen_only_after_a_sync(log):
    lane, router = log.create_lane("disk"), router_of(1)
    ticket = lane.append(entries_of([(0, "k", b"a")], router), router, 0)
    assert read_shard(lane, 0) == []
    lane.write()
    assert read_shard(lane, 0) == []
    lane.sync()
    assert read_shard(lane, 0) == [(0, "k", b"a")]
    lane.commit(ticket)


def test_large_and_small_groups_of_many_threads_go_past_and_through_the_page_cache(log, monkeypatch):
    """With a reader all the while, and rings that grow where groups wait behind a direct write."""
    from headrace import limits

    small_segments(monkeypatch, 1 << 20)
    monkeypatch.setattr(limits, "ring_size_first", 64 << 10)
    monkeypatch.setattr(limits, "ring_size_direct", 256 << 10)
    monkeypatch.setattr(limits, "direct_write_least", 8 << 10)
    monkeypatch.setattr(limits, "direct_speed_min", 0)
    lane, router = log.create_lane("disk"), router_of(2)
    sizes, rings, direct = (10, 300, 5_000, 30_000), set(), 0

    def work(number: int) -> None:
        for i in range(30):
            data = bytes([number]) * sizes[(i + number) % 4]
            put(lane, router, [(number % 2, f"{number}", data + b"%d.%d" % (i, part)) for part in range(3)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    seen: dict[int, list[bytes]] = {0: [], 1: []}
    while any(thread.is_alive() for thread in threads):
        tail = lane._tail
        if tail is not None:
            rings.add(tail.ring_size)
            direct = max(direct, tail.direct_bytes)
        for shard in seen:
            seen[shard] += [data for _, _, data in read_shard(lane, shard, len(seen[shard]))]
    for shard in seen:
        seen[shard] += [data for _, _, data in read_shard(lane, shard, len(seen[shard]))]
    again = reopen(log).lane(lane.id)
    for shard in (0, 1):
        assert seen[shard] == [data for _, _, data in read_shard(again, shard)]
        for number in (shard, shard + 2):
            mine = [data for data in seen[shard] if data[:1] == bytes([number])]
            assert mine == [
                bytes([number]) * sizes[(i + number) % 4] + b"%d.%d" % (i, part)
                for i in range(30)
                for part in range(3)
            ]
    assert max(rings) > 64 << 10
    try:
        os.close(os.open(log.directory / "direct", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except (AttributeError, OSError):  # a file system or a platform without such writes
        assert direct == 0
    else:
        assert direct > 0


def test_many_threads_share_a_lane_without_loss(log, durability, monkeypatch):
    small_segments(monkeypatch, 256 << 10)
    lane, router = log.create_lane(durability), router_of(2)
    rounds = 40 if durability == "disk" else 300

    def work(number):
        for i in range(rounds):
            put(lane, router, [(number % 2, f"{number}", b"%d" % i)] * 3 + [(0, f"{number}x", bytes(200))])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(key, data) for shard in range(2) for _, key, data in read_shard(lane, shard)]
    for number in range(4):
        assert [data for key, data in found if key == f"{number}"] == [
            b"%d" % i for i in range(rounds) for _ in range(3)
        ]
    assert len(found) == 4 * rounds * 4


def test_another_process_reads_what_was_published(log, durability, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane(durability), router_of(2)
    put(lane, router, [(0, "k", b"first")])
    reader = Log.open_reader(log.directory)
    other = reader.lane(lane.id)
    assert read_shard(other, 0) == [(0, "k", b"first")]
    put(lane, router, [(i % 2, "k", bytes(3000)) for i in range(100)])
    assert read_shard(other, 0) == read_shard(lane, 0)
    assert other.bounds(1) == lane.bounds(1) == (0, 50)
    log.maintenance.run_once()
    assert read_shard(other, 0) == read_shard(lane, 0)
    lane.commit(lane.append(None, None, 0, positions={b"o": b"p"}))
    assert other.positions() == {b"o": b"p"}
    reader.close()


def test_wait_returns_when_something_becomes_visible(log):
    lane, router = log.create_lane("process"), router_of(1)
    assert not lane.wait(lane.visible, 0.01)
    seen = lane.visible
    timer = threading.Timer(0.05, put, (lane, router, [(0, "k", b"x")]))
    timer.start()
    assert lane.wait(seen, 10)
    timer.join()


def test_a_closed_store_takes_nothing(tmp_path):
    log = Log.open(tmp_path / "s", background=False)
    lane, router = log.create_lane("process"), router_of(1)
    put(lane, router, [(0, "k", b"x")])
    log.close()
    log.close()
    with pytest.raises(Closed):
        put(lane, router, [(0, "k", b"y")])
    with pytest.raises(Closed):
        log.create_lane("process")


@pytest.mark.parametrize("beside", [True, False])
def test_threads_that_read_one_lane_at_a_time_find_each_record_once(log, durability, monkeypatch, beside):
    """Method: reading a file takes long, so that threads which would pass over the same frames do so at the
    same time. beside: through a reader, as in another process; otherwise over a sealed segment at rest."""
    lane, router = log.create_lane(durability), router_of(2)
    put(lane, router, [(i % 2, "k", b"%d" % i) for i in range(200)])
    whole = segments.read_all

    def slowly(*arguments):
        found = whole(*arguments)
        time.sleep(0.02)
        return found

    if beside:
        reader = Log.open_reader(log.directory)
        reading = reader.lane(lane.id)
    else:
        lane.seal_idle(0)
        lane.seal_idle(0)
        lane._segments[0].rest()
        reader, reading = None, lane
    monkeypatch.setattr(segments, "read_all", slowly)
    found = []
    threads = [threading.Thread(target=lambda: found.append(read_shard(reading, 1))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [(n, "k", b"%d" % (2 * n + 1)) for n in range(100)]
    assert found == [expected] * 4
    if reader is not None:
        reader.close()
