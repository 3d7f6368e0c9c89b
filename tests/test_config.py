# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Configuration merges file, variables and options, and refuses what it does not know by name."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import config
from headrace.config import (
    Secret,
    check_choice,
    check_count,
    load,
    parse_address,
    parse_duration,
    parse_size,
)
from headrace.errors import ConfigurationError, InvalidArgument
from headrace.firehose.buckets import Buckets

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
SECTIONS = {
    "server": config.Server, "store": config.Store, "streams": config.Streams, "buckets.NAME": config.Bucket,
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        file = tmp_path / "headrace.toml"
        file.write_text(text)
        return file

    return write


def test_without_anything_the_defaults_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load(environ={"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    assert found.server.bind == "127.0.0.1:4567" and found.server.bind.port == 4567
    assert found.store.durability == "process" and found.streams.account == "000000000000"
    assert found.path is None and found.origins == {}


def test_a_file_with_every_section_is_read(write):
    file = write("""
        [server]
        bind = "[::1]:0"
        allowed_hosts = ["kinesis.test"]
        idle = "2m"
        [store]
        directory = "/data"
        max_bytes = "8GiB"
        durability = "disk"
        [streams]
        max_bytes = "1GB"
        on_full = "drop_oldest"
        [buckets.Raw]
        url = "s3://real/prefix"
        access_key_id.env = "KEY_ID"
        secret_access_key = "hidden"
    """)
    found = load(file, environ={})
    assert (found.server.bind.host, found.server.bind.port) == ("::1", 0)
    assert found.server.idle == 120 and found.store.max_bytes == 8 * 1024**3
    assert found.streams.max_bytes == 10**9
    bucket = found.buckets["Raw"]
    assert bucket.access_key_id.reveal({"KEY_ID": "AK"}) == "AK"
    assert bucket.secret_access_key.reveal() == "hidden" and "hidden" not in repr(found)
    assert found.origins["store.max_bytes"] == str(file) == found.path


def test_options_win_over_variables_and_these_over_the_file(write):
    file = write('[server]\nbind = "127.0.0.1:1"\nidle = 5\nconnections_max = 1')
    environ = {"HEADRACE__SERVER__BIND": "127.0.0.1:2", "HEADRACE__SERVER__IDLE": "7s"}
    found = load(file, environ, {"server.bind": "127.0.0.1:3", "server.idle": None})
    assert found.server.bind == "127.0.0.1:3" and found.origins["server.bind"] == "option"
    assert found.server.idle == 7 and found.origins["server.idle"] == "HEADRACE__SERVER__IDLE"
    assert found.server.connections_max == 1 and found.origins["server.connections_max"] == str(file)


@pytest.mark.parametrize("said", ['"text"', '{ env = "A" }', '{ file = "/a" }'])
def test_a_variable_wins_over_the_file_for_the_whole_of_a_secret(write, said):
    file = write(f'[buckets.X]\nurl = "s3://x"\nsecret_access_key = {said}\naccess_key_id = {said}')
    name, key = "HEADRACE__BUCKETS__X__SECRET_ACCESS_KEY", "buckets.X.secret_access_key"
    for suffix, secret in (("", "b"), ("__ENV", {"env": "b"}), ("__FILE", {"file": "b"})):
        found = load(file, {name + suffix: "b"})
        assert found.buckets["X"].secret_access_key == Secret(secret)
        assert found.buckets["X"].access_key_id == load(file, {}).buckets["X"].access_key_id
        origins = {each: where for each, where in found.origins.items() if each.startswith(key)}
        assert origins == {key + suffix.lower().replace("__", "."): name + suffix}
    with pytest.raises(ConfigurationError, match="a secret is a text"):
        load(file, {name + "__ENV": "b", name + "__FILE": "b"})


def test_variables_take_the_type_of_their_key(write):
    file = write('[buckets.Raw]\nurl = "s3://x"')
    environ = {
        "HEADRACE__STREAMS__ACCOUNT": "123456789012",
        "HEADRACE__SERVER__INSECURE": "true",
        "HEADRACE__SERVER__ALLOWED_HOSTS": "a.test, b.test",
        "HEADRACE__SERVER__CONNECTIONS_MAX": "9",
        "HEADRACE__BUCKETS__RAW__REGION": "eu-central-1",
        "HEADRACE__BUCKETS__RAW__ACCESS_KEY_ID__ENV": "KEY_ID",
        "HEADRACE__STORE__MAX_BYTES": "1GB",
    }
    found = load(file, environ)
    assert found.streams.account == "123456789012" and found.server.insecure is True
    assert found.server.allowed_hosts == ("a.test", "b.test") and found.server.connections_max == 9
    assert found.buckets["Raw"].region == "eu-central-1" and found.store.max_bytes == 10**9
    assert found.buckets["Raw"].access_key_id == Secret({"env": "KEY_ID"})
    assert load(file, {"HEADRACE_INSECURE": "1"}).server.insecure is True
    assert load(file, {"HEADRACE__SERVER__ALLOWED_HOSTS": '["a"]'}).server.allowed_hosts == ("a",)


def test_names_that_clients_use_are_taken(write):
    hosts = ["kinesis", "kinesis.test", "Kinesis_1.test.", "xn--bcher-kva.test", "192.0.2.1", "2001:db8::1"]
    found = load(write(f"[server]\nallowed_hosts = {hosts}"), {"AWS_REGION": "eu-north-1"})
    assert found.server.allowed_hosts == tuple(hosts)


def test_the_region_of_the_environment_is_checked_too(write):
    with pytest.raises(ConfigurationError, match="AWS_REGION: region 'eu north' is not letters"):
        load(write(""), {"AWS_REGION": "eu north"})
    assert load(write("[streams]\nregion = 'a'"), {"AWS_REGION": "eu north"}).streams.region == "a"


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ('[server]\nbnid = "x"', {}, r"unknown key 'bnid' in \[server\] \(did you mean 'bind'\?\)"),
        ("[sever]", {}, r"unknown key 'sever' at the top \(did you mean 'server'\?\)"),
        ("[server]\nzzz = 1", {}, r"unknown key 'zzz' in \[server\] \(known: allowed_hosts, bind"),
        ('[buckets.a]\nurll = "x"', {}, r"unknown key 'urll' in \[buckets.a\]"),
        ("[buckets.a]", {}, "missing required field `url`"),
        ('[server]\nbind = "x:y"', {}, r"server.bind: 'x:y' is not host:port"),
        ("[server]\nbind = 1", {}, r"server.bind: 1 is not host:port"),
        ('[store]\nmax_bytes = "8 Gubs"', {}, r"store.max_bytes: '8 Gubs' is not a size"),
        ('[store]\ndurability = "none"', {}, r"Invalid enum value 'none'; it is one of 'process', 'disk'"),
        ('[server]\nconnections_max = "x"', {}, r"server.connections_max: Expected `int`, got `str`"),
        ("server = 1", {}, "server: Expected `object`, got `int`"),
        ("a =", {}, "is not TOML"),
        ("path = 'x'", {}, "unknown key 'path'"),
        ("", {"HEADRACE__SERVER__IDEL": "1"}, r"HEADRACE__SERVER__IDEL: unknown key 'idel'"),
        (
            "",
            {"HEADRACE__SERVER__IDLE": "soon"},
            r"HEADRACE__SERVER__IDLE: server.idle: 'soon' is not a duration",
        ),
        ("[server]\nconnections_max = 0", {}, "server.connections_max is 0; the least is 1"),
        ("[server]\nconnections_max = -3", {}, "server.connections_max is -3; the least is 1"),
        ("[server]\nidle = 0", {}, "server.idle is 0; it must be more than that"),
        ("[server]\nbody_timeout = '0s'", {}, "server.body_timeout is 0; it must be more than that"),
        ("[store]\nmax_bytes = 0", {}, "store.max_bytes is 0 bytes; the least is 65536"),
        ("", {"HEADRACE__STORE__MAX_BYTES": "1KiB"}, "store.max_bytes is 1024 bytes; the least is 65536"),
        ("[streams]\nmax_bytes = '0'", {}, "streams.max_bytes is 0 bytes; the least is 1048576"),
        ("[server]\nallowed_hosts = ['*']", {}, r"server.allowed_hosts: '\*' is not the name of a host"),
        (
            "[server]\nallowed_hosts = ['a.test', 'b.test:80']",
            {},
            "'b.test:80' is not the name .*without scheme, port",
        ),
        ("[server]\nallowed_hosts = ['http://a.test']", {}, "'http://a.test' is not the name of a host"),
        ("[server]\nallowed_hosts = ['[::1]']", {}, r"'\[::1\]' is not the name of a host"),
        ("[server]\nallowed_hosts = ['']", {}, "'' is not the name of a host"),
        ("[streams]\nregion = 'bad region'", {}, "region 'bad region' is not letters, digits and hyphens"),
        ("[streams]\nregion = ''", {}, "region '' is not letters, digits and hyphens"),
        ("", {"HEADRACE__STREAMS__REGION": "a:b"}, "region 'a:b' is not letters, digits and hyphens"),
        ("[streams]\naccount = '12'", {}, "account '12' is not 12 digits"),
        ("", {"HEADRACE__SERVER": "1"}, "does not name a key"),
        ("", {"HEADRACE__SERVER__BIND__X": "1"}, "does not name a key"),
        ("[buckets.a]\nurl = 'x'\naccess_key_id = {nev = 'A'}", {}, "a secret is a text"),
        ("[buckets.a]\nurl = 'x'\naccess_key_id = {env = 1}", {}, "a secret is a text"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(write, text, environ, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(write(text), environ)
    assert "headrace.toml" in str(caught.value) or "HEADRACE__" in str(caught.value)


def test_a_file_that_is_missing_or_unreadable_is_said_so(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(tmp_path / "bytes.toml", {})


def test_the_file_is_looked_for_in_three_places(tmp_path):
    here, home = tmp_path / "here", tmp_path / "home" / "headrace"
    here.mkdir()
    home.mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(home.parent)}
    assert config.find_file(environ, here) is None
    (home / "headrace.toml").write_text("")
    assert config.find_file(environ, here) == home / "headrace.toml"
    (here / "headrace.toml").write_text("")
    assert config.find_file(environ, here) == here / "headrace.toml"
    assert config.find_file({**environ, "HEADRACE_CONFIG": "/x.toml"}, here).name == "x.toml"


def test_the_default_directory_follows_the_environment():
    assert str(config.default_directory({"HEADRACE_STORE": "/a"})) == "/a"
    assert str(config.default_directory({"XDG_DATA_HOME": "/b"})) == "/b/headrace"
    assert config.default_directory({}).name == "headrace"


def test_secrets_are_read_late_and_missing_ones_named(tmp_path):
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    assert Secret({"file": str(file)}).reveal() == "s3cret"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Secret({"file": str(tmp_path / "none")}).reveal()
    with pytest.raises(ConfigurationError, match=r"the variable X, which a secret names, is not set"):
        Secret({"env": "X"}).reveal({})
    assert repr(Secret("a")) == "Secret(****)" and hash(Secret("a")) == hash(Secret("a"))


@given(
    st.integers(0, 10**6),
    st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "kb", "MB", "gb", "TB", ""]),
    st.booleans(),
)
def test_sizes_scale_by_their_unit(number, unit, space):
    base, power = (1024 if "i" in unit else 1000), "_KMGT".find(unit[:1].upper() or "_")
    assert parse_size(f"{number}{' ' if space else ''}{unit}") == number * base ** max(power, 0)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_durations_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize("value", ["", "8 GiX", "-1", -1, True, None, 1.5, "1e3", "GiB"])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(InvalidArgument, match="size"):
        parse_size(value)


@pytest.mark.parametrize(
    "value", ["", "5 minutes", "-1s", -1, True, None, float("inf"), float("nan"), "1s5", "s"]
)
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(InvalidArgument, match="duration"):
        parse_duration(value)


def test_sizes_and_durations_take_fractions():
    assert parse_size("1.5KiB") == 1536 and parse_duration("1.5s") == 1.5 and parse_duration("250ms") == 0.25
    assert parse_duration("2") == 2.0 and parse_duration(0.5) == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:4567", ("127.0.0.1", 4567)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("4567", ("127.0.0.1", 4567)),
        ("example.test", ("example.test", 4567)),
    ],
)
def test_addresses_are_split(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", ":", "::1:80", "a:b", "a:65536", ":80", "a:-1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="host:port"):
        parse_address(text)


# --- docs/configuration.md ---


def documented(section: str) -> dict[str, str]:
    """The keys of a section's table, with what it says of their defaults."""
    part = re.split(r"^##", PAGE.split(f"### `[{section}]`", 1)[1], maxsplit=1, flags=re.M)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| ", part, re.M))


def test_the_page_has_every_section_and_key_that_the_loader_takes_and_no_other():
    taken = {field.name for field in msgspec.structs.fields(config.Config)} - {"path", "origins"}
    assert {section.partition(".")[0] for section in SECTIONS} == taken
    assert re.findall(r"^### `\[([\w.]+)\]`", PAGE, re.M) == list(SECTIONS)
    for section, struct in SECTIONS.items():
        assert list(documented(section)) == [field.name for field in msgspec.structs.fields(struct)]


@pytest.mark.parametrize("section", ["server", "store", "streams"])
def test_the_defaults_on_the_page_are_the_loaders(write, section):
    """Method: what the page gives as a value of TOML is loaded, and is what there is without it."""
    values = {key: text[1:-1] for key, text in documented(section).items() if re.fullmatch(r"`[^`$]+`", text)}
    written = load(
        write(f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())), {}
    )
    assert getattr(written, section) == getattr(config.Config(), section)
    unset = {key for key in documented(section) if getattr(getattr(written, section), key) is None}
    assert unset == documented(section).keys() - values.keys()


def test_the_example_on_the_page_loads_and_maps_its_buckets(write, tmp_path, monkeypatch):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    found = load(write(example), {})
    assert found.server.bind == "127.0.0.1:4567" and found.store.max_bytes == 100 * 1024**3
    assert (found.store.durability, found.streams.on_full) == ("disk", "drop_oldest")
    monkeypatch.setenv("S3_SECRET", "hidden")
    buckets = Buckets(found, tmp_path)
    assert buckets.find("archive").described == "s3://telemetry/raw at http://127.0.0.1:7070"
    assert buckets.find("cold.logs").described == "file:///srv/archive/cold"


def test_choices_and_counts_say_what_was_seen_and_what_is_allowed():
    for value in ("a", "b", None):
        check_choice("letter", value, ("a", "b", None))
    for value, message in (
        ("A", r"letter is 'A'; allowed are 'a', 'b', None \(did you mean 'a'\?\)"),
        ("", r"letter is ''; allowed are 'a', 'b', None$"),
        (0, "letter is 0"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            check_choice("letter", value, ("a", "b", None))
    assert check_count("n", 0, 0) == 0 and check_count("n", 5, 1, 5) == 5
    for value, message in (
        (6, "n is 6; allowed are 1 to 5"),
        ("5", "n is '5'; expected a whole number"),
        (True, "n is True; expected a whole number"),
        (2.0, "n is 2.0; expected a whole number"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            check_count("n", value, 1, 5)
    with pytest.raises(InvalidArgument, match="n is -1; the least is 0"):
        check_count("n", -1, 0)
