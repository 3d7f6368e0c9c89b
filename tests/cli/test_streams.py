# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace streams`: listed, made, described, changed and deleted, in a directory and on an endpoint."""

from __future__ import annotations

import pytest

import headrace
from headrace.cli.streams import rates_of
from headrace.clock import FrozenClock


def test_streams_are_made_described_scaled_and_deleted(cli, tmp_path):
    where = ["--store", str(tmp_path / "store")]
    options = [
        "--shards",
        "2",
        "--durability",
        "disk",
        "--max-bytes",
        "64MiB",
        "--on-full",
        "drop_oldest",
        "--retention",
        "48h",
    ]
    cli.run("streams", "create", "s", *options, *where)
    row = cli.rows(cli.run("streams", *where))[0]
    assert (row["durability"], row["max_bytes"], row["on_full"], row["retention_hours"]) == (
        "disk",
        64 << 20,
        "drop_oldest",
        48,
    )
    cli.run("streams", "scale", "s", "4", *where)
    cli.run("streams", "split", "s", str(cli.rows(cli.run("streams", "s", *where))[-1]["shard"]), *where)
    assert cli.rows(cli.run("streams", *where))[0]["shards"] == 5
    assert cli.rows(cli.run("streams", "delete", "s", "--dry-run", *where))[0]["would_delete"] == "s"
    assert b"add --yes" in cli.run("streams", "delete", "s", *where, code=2).stderr
    cli.run("streams", "delete", "s", "--yes", *where)
    assert cli.rows(cli.run("streams", *where)) == []


def test_a_dry_run_deletes_nothing(cli, where):
    cli.run("put", "s", "--create", "2", *where, data=b"x\n" * 10)
    done = cli.run("streams", "delete", "s", "--dry-run", *where)
    assert cli.rows(done)[0]["would_delete"] == "s"
    assert done.stderr == b""
    cli.run("streams", "delete", "s", "--dry-run", "--yes", *where)
    assert len(cli.run("tail", "s", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()) == 10
    assert "t" in cli.fails("streams", "delete", "t", "--dry-run", *where)
    cli.run("streams", "delete", "s", "--yes", *where)
    assert cli.rows(cli.run("streams", *where)) == []


def test_a_stream_that_exists_fails_the_same_way_everywhere(cli, where):
    cli.run("put", "s", "--create", "1", *where, data=b"x\n")
    said = cli.fails("streams", "create", "s", *where, code=1)
    assert "s" in said
    assert "exists" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "a", "b"], "streams create takes one name"),
        (["delete", "a", "zzz", "--yes"], "streams delete takes one name"),
        (["describe", "a", "b"], "streams describe takes one name"),
        (["list", "a"], "streams list takes no name"),
        (["create", "a", "--dry-run"], "--dry-run belongs to streams delete"),
        (["split", "a", "0", "--yes"], "--yes belongs to streams delete"),
    ],
)
def test_what_is_said_too_much_is_refused_before_anything_is_done(cli, tmp_path, words, message):
    assert message in cli.fails("streams", *words, *cli.store, code=2)
    assert not (tmp_path / "store" / "catalogue.sqlite").exists()


def test_rates_are_those_of_the_last_seconds(tmp_path):
    clock = FrozenClock()
    with headrace.open(tmp_path / "store", clock=clock) as store:
        stream = store.stream("s", shards=2)
        stream.put_many([b"x" * 100] * 1000)
        clock.advance(60_000)
        assert rates_of(stream) == (0.0, 0.0)
        stream.put_many([b"y" * 1000] * 50, [str(number) for number in range(50)])
        clock.advance(5_000)
        assert rates_of(stream) == (5.0, 5000.0)


def test_what_the_api_cannot_say_is_refused_by_name(cli, server):
    done = cli.run("streams", "create", "s", "--durability", "disk", "--endpoint", server[0], code=1)
    assert b"the API cannot say --durability" in done.stderr
    done = cli.run("streams", "create", "s", "--shards", "0", "--endpoint", server[0], code=1)
    assert b"shardCount" in done.stderr


def test_a_shard_is_split_and_two_are_merged_on_either(cli, where):
    cli.run("put", "s", "--create", "1", *where, data=b"x\n" * 10)
    cli.run("streams", "split", "s", "0", *where)
    assert cli.rows(cli.run("streams", *where))[0]["shards"] == 2
    cli.run("streams", "merge", "s", "1", "shardId-000000000002", *where)
    assert cli.rows(cli.run("streams", *where))[0]["shards"] == 1
    assert "has no shard" in cli.fails("streams", "split", "s", "9", *where)
    assert "wants 2 shards" in cli.fails("streams", "merge", "s", "1", *where, code=2)
    assert len(cli.run("tail", "s", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()) == 10


def test_what_makes_no_sense_is_one_line(cli):
    assert "there is no store in" in cli.fails("streams", *cli.store)
    cli.run("streams", "create", "s", *cli.store)
    assert "is not a stream name" in cli.fails("streams", "create", "a b", *cli.store)
    assert "shards is 0" in cli.fails("streams", "create", "t", "--shards", "0", *cli.store)
    assert "max_bytes of a stream is 10" in cli.fails(
        "streams", "create", "t", "--max-bytes", "10", *cli.store
    )
    assert "is not a size" in cli.fails("streams", "create", "t", "--max-bytes", "lots", *cli.store)
    assert "is not a duration" in cli.fails("streams", "create", "t", "--retention", "soon", *cli.store)
    assert "invalid choice" in cli.fails("streams", "create", "t", "--durability", "Disk", *cli.store, code=2)
    assert "wants a NAME" in cli.fails("streams", "scale", *cli.store, code=2)
    assert "wants a number of shards" in cli.fails("streams", "scale", "s", "x", *cli.store, code=2)
    assert "is no action" in cli.fails("streams", "bogus", "s", *cli.store, code=2)
    assert "there is no stream t" in cli.fails("streams", "t", *cli.store)
    assert "belongs to streams create" in cli.fails("streams", "list", "--shards", "2", *cli.store, code=2)
    assert "are both set" in cli.fails(
        "streams", code=2, HEADRACE_STORE="x", HEADRACE_ENDPOINT="http://127.0.0.1:1"
    )
    said = cli.fails("streams", "--endpoint", "http://127.0.0.1:1", code=4)
    assert "does not answer" in said


def test_the_variable_names_the_directory_and_an_option_wins(cli, tmp_path):
    cli.run("streams", "create", "s", *cli.store)
    assert cli.rows(cli.run("streams", HEADRACE_STORE=cli.store[1]))[0]["stream"] == "s"
    cli.run("streams", *cli.store, HEADRACE_ENDPOINT="http://127.0.0.1:1")


def test_at_a_terminal_of_80_columns_no_word_is_broken(cli):
    cli.run(
        "streams", "create", "telemetry-of-web", "--max-bytes", "2GiB", "--on-full", "drop_oldest", *cli.store
    )
    _, shown = cli.at_a_terminal("streams", *cli.store, NO_COLOR="1")
    for word in ("telemetry-of-web", "2.0 GiB", "24h", "records/s", "MB/s", "oldest"):
        assert word in shown
    assert "promise" not in shown
    _, shown = cli.at_a_terminal("streams", *cli.store, NO_COLOR="1", columns=120)
    for word in ("telemetry-of-web", "2.0 GiB", "24h", "records/s", "process", "promise"):
        assert word in shown
    _, shown = cli.at_a_terminal("streams", "telemetry-of-web", *cli.store, NO_COLOR="1")
    assert "00000000…" in shown


def test_a_stream_that_has_dropped_records_says_so(cli):
    cli.run("streams", "create", "s", "--max-bytes", "1MiB", "--on-full", "drop_oldest", *cli.store)
    assert cli.rows(cli.run("streams", *cli.store))[0]["dropped_records"] == 0
    with headrace.open(cli.store[1]) as store:
        for _ in range(30):
            store.stream("s").put_many([bytes(1_000)] * 100)
        dropped = store.stream("s").info.dropped_records
    shown = cli.run("streams", *cli.store)
    (row,) = cli.rows(shown)
    assert row["dropped_records"] == dropped > 0 and row["dropped_bytes"] > 0
    assert f"s was full and has dropped {dropped:,} records so far" in shown.stderr.decode()
