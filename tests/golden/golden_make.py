# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""How the golden files were made: `python tests/golden/golden_make.py NAME` writes tests/golden/NAME.

Once for each released version of a format, with the code of that version; what is there is never made again. The
store holds every format and every kind of frame: a `process` stream whose lane was compressed with zstd, with lz4,
and not at all; a `disk` stream likewise; a split shard (CLOSE, OPEN); positions and a producer; a catalogue with
documents; and a lane that was damaged and repaired (GAP). expected.json says what a reader must find.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "log"))

from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.core._entries import Entries
from headrace.log import Log, control
from headrace.log.cold import ColdSegment
from headrace.log.manifest import read_manifest
from headrace.log.repair import repair
from headrace.log.segment import RawSegment
from headrace.streams import StreamDefaults, Streams

HERE = Path(__file__).resolve().parent
STARTED_MS = 1_764_000_000_000


def small() -> None:
    """Files of a few KiB."""
    limits.segment_size_first = limits.segment_size_max = limits.segment_size_least = 2 << 10
    control.SLOTS_STEP = 4


def fill(directory: Path) -> None:
    """Three openings, one for each codec."""
    clock = FrozenClock(STARTED_MS)
    for turn, codec in enumerate(("zstd", "lz4", None)):
        log = Log.open(directory, clock=clock, background=False, max_bytes=1 << 30, codec=codec)
        streams = Streams(log, clock=clock, defaults=StreamDefaults(cores=1))
        for name in ("process", "disk"):
            stream = streams.get(name) or streams.create(name, 2, durability=name, tags={"made": "golden"})
            for number in range(8):
                entries = Entries()
                entries.add(f"{name} {turn} {number} ".encode() * 12, f"key-{number}-é")
                stream.append(entries)
                stream.commit()
                clock.advance(250)
            lane = stream.lanes[0]
            lane.commit(lane.append(None, None, 0, positions={b"application": b"turn %d" % turn}))
            entries = Entries()
            entries.add(b"traced", "key")
            stream.router.route(entries)
            lane.commit(lane.append(entries, stream.router, 0, producer=(7, 1, turn)))
            if turn:
                stream.split(turn - 1, (turn - 1 << 127) + (1 << 100))
        if codec is not None:
            for lane in log.loaded_lanes():
                lane.seal_idle(0)
                lane.seal_idle(0)
            log.maintenance.run_once()
        log.close()


def mend(directory: Path) -> None:
    """One more lane, damaged and repaired: its raw segment holds a GAP."""
    log = Log.open(directory, clock=FrozenClock(STARTED_MS), background=False, codec=None)
    lane, router = log.create_lane("process"), router_of(1)
    for number in range(4):
        put(lane, router, [(0, "k", b"%d" % number * 100)])
    log.close()
    (path,) = lane.directory.glob("*.raw")
    data = bytearray(path.read_bytes())
    at = data.index(b"1" * 100)
    data[at : at + 10] = bytes(10)
    path.write_bytes(data)
    repair(directory, "skip")
    for left in (lane.directory / "damaged").iterdir():
        left.unlink()
    (lane.directory / "damaged").rmdir()
    Log.open(directory, clock=FrozenClock(STARTED_MS), background=False, codec=None).close()


def facts(directory: Path) -> dict:
    """What a reader finds: by lane the records, positions, producers, bounds and the fields of each file."""
    log = Log.open_reader(directory)
    found: dict = {"lanes": {}, "documents": {}, "control": {}}
    for lane_id, durability in log.catalogue.lanes().items():
        lane = log.lane(lane_id)
        lane._refresh()
        manifest = read_manifest(log.disk, lane.directory)
        files = []
        for segment in lane._all():
            if isinstance(segment, RawSegment):
                head = segment.header
                files.append([segment.path.name, head.lane, head.disk, head.base, head.salt, head.previous_crc,
                              head.created_ms, head.arrival_before_ms, head.epoch, head.chain])  # fmt: skip
            else:
                assert isinstance(segment, ColdSegment)
                files.append([segment.path.name, segment.lane, segment._codec, segment.base, segment.end, segment.salt,
                              segment.last_crc, segment.arrival_before_ms, segment.last_arrival_ms, segment.records,
                              segment.raw_bytes, segment.epoch])  # fmt: skip
        shards = sorted(
            {shard for segment in lane._all() for shard in segment.start_states().shards()} | {0, 1}
        )
        found["lanes"][str(lane_id)] = {
            "durability": durability,
            "records": {
                str(shard): [[index, key, data.decode()] for index, key, data in read_shard(lane, shard)]
                for shard in shards
            },
            "bounds": {str(shard): list(lane.bounds(shard)) for shard in shards},
            "last arrival": {str(shard): lane.last_arrival(shard) for shard in shards},
            "positions": {owner.decode(): data.decode() for owner, data in lane.positions().items()},
            "manifest": [manifest.lane, manifest.floor, manifest.dropped_bytes, manifest.disk]
            if manifest
            else None,
            "files": files,
        }
    for kind in ("stream", "log"):
        found["documents"][kind] = {name: value.hex() for name, value in log.catalogue.items(kind)}
    found["control"] = {
        "store": log.control.store_id.hex(), "generation": log.control.generation, "clean": log.control.clean,
        "max bytes": log.control.max_bytes, "visible": [log.control.visible(lane) for lane in (1, 2, 3)],
    }  # fmt: skip
    log.close()
    return found


def main(name: str) -> None:
    target = HERE / name
    if target.exists():
        raise SystemExit(f"{target} is there already; golden files are never made again")
    small()
    fill(target / "store")
    mend(target / "store")
    for left in [
        *(target / "store").rglob("*.tmp"),
        *(target / "store").glob("ballast"),
        target / "store" / "lock",
    ]:
        left.unlink()
    with tempfile.TemporaryDirectory() as copy:  # a look at it leaves files of SQLite's
        shutil.copytree(target / "store", f"{copy}/store")
        found = facts(Path(copy, "store"))
    (target / "expected.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
