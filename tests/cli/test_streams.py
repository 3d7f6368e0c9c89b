# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace streams`: listed, made, described, changed and deleted, in a directory and on an endpoint."""

from __future__ import annotations


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


def test_what_the_api_cannot_say_is_refused_by_name(cli, server):
    done = cli.run("streams", "create", "s", "--durability", "disk", "--endpoint", server[0], code=1)
    assert b"the API cannot say --durability" in done.stderr


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
    assert "stream s exists" in cli.fails("streams", "create", "s", *cli.store, code=2)
    assert "is not a stream name" in cli.fails("streams", "create", "a b", *cli.store)
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
    for word in ("telemetry-of-web", "2.0 GiB", "24h", "process", "promise"):
        assert word in shown
    _, shown = cli.at_a_terminal("streams", "telemetry-of-web", *cli.store, NO_COLOR="1")
    assert "00000000…" in shown
