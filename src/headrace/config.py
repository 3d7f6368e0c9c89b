# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The operator's configuration: headrace.toml, variables HEADRACE__SECTION__KEY and options, merged.

    config = load()                    # ./headrace.toml, then $XDG_CONFIG_HOME/headrace/headrace.toml
    config.server.bind                 # frozen structs; sizes as bytes, durations as seconds
    config.origins["server.bind"]      # "headrace.toml", "HEADRACE__SERVER__BIND", "--bind" or "default"

An unknown key is an error that names the nearest known one. Options win over variables, variables over the
file, the file over defaults. Another room adds a section by adding a struct and a field of Config.
"""

from __future__ import annotations

import difflib
import ipaddress
import operator
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from headrace import limits
from headrace.errors import ConfigurationError, InvalidArgument

FILE_NAME = "headrace.toml"
DEFAULT_PORT = 4567

_SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SIZES |= {"KIB": 1024, "MIB": 1024**2, "GIB": 1024**3, "TIB": 1024**4}
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET_KEYS = ("env", "file")


def parse_size(value: int | str) -> int:
    """Bytes of 1048576, "1048576", "8GiB" or "1.5 MB"; InvalidArgument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidArgument(f"{value!r} is not a size; write bytes or a text such as '8GiB'")
    if isinstance(value, int):
        if value < 0:
            raise InvalidArgument(f"{value} is a negative size")
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    unit = match[2].upper() if match else None
    if match is None or unit not in _SIZES:
        raise InvalidArgument(f"{value!r} is not a size; write bytes or a text such as '8GiB' or '500MB'")
    return int(float(match[1]) * _SIZES[unit]) if "." in match[1] else int(match[1]) * _SIZES[unit]


def parse_duration(value: float | str) -> float:
    """Seconds of 30, "30", "250ms", "10s", "5m", "24h", "7d" or "1h30m"; InvalidArgument otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidArgument(f"{value!r} is not a duration; write seconds or a text such as '24h'")
    if isinstance(value, int | float):
        if not 0 <= value < float("inf"):
            raise InvalidArgument(f"{value} is not a duration: it must be 0 or more and finite")
        return float(value)
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        raise InvalidArgument(
            f"{value!r} is not a duration; write seconds or a text such as '250ms', '10s' or '24h'"
        )
    return sum(float(number) * _DURATIONS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h|d)", text))


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """InvalidArgument where `value` is none of what is allowed."""
    if not any(type(value) is type(each) and value == each for each in allowed):
        texts = [each for each in allowed if isinstance(each, str)]
        near = difflib.get_close_matches(str(value).lower(), texts, n=1)
        raise InvalidArgument(
            f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}",
            hint=f"did you mean {near[0]!r}?" if near else "",
        )


def check_count(name: str, value: object, least: int, most: int | None = None) -> int:
    """The number, as an int; InvalidArgument where it is no whole number or out of bounds."""
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidArgument(f"{name} is {value!r}; expected a whole number") from None
    if count < least or (most is not None and count > most):
        bounds = f"allowed are {least} to {most}" if most is not None else f"the least is {least}"
        raise InvalidArgument(f"{name} is {count}; {bounds}")
    return count


def parse_address(value: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:4567", "[::1]:4567", "localhost:0" or "4567"; ValueError otherwise."""
    host, colon, port = value.rpartition(":")
    if not colon:
        host, port = ("127.0.0.1", value) if value.isdigit() else (value, str(DEFAULT_PORT))
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{value!r} is not host:port; write an IPv6 address in brackets, as in [::1]:4567")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r} is not host:port, as in 127.0.0.1:4567")
    return host, int(port)


class Size(int):
    """Bytes; in TOML a number or a text such as "8GiB"."""


class Duration(float):
    """Seconds; in TOML a number or a text such as "24h"."""


class Address(str):
    """host:port, checked."""

    @property
    def host(self) -> str:
        return parse_address(self)[0]

    @property
    def port(self) -> int:
        return parse_address(self)[1]


class Secret:
    """A secret, or where it stands: "text", {env = "NAME"} or {file = "path"}. It never shows itself."""

    __slots__ = ("_kind", "_value")

    def __init__(self, value: str | Mapping[str, str]) -> None:
        if isinstance(value, str):
            self._kind, self._value = "text", value
            return
        if not isinstance(value, Mapping) or len(value) != 1 or not set(value) <= set(_SECRET_KEYS):
            raise ValueError('a secret is a text, {env = "NAME"} or {file = "path"}')
        ((self._kind, self._value),) = value.items()
        if not isinstance(self._value, str):
            raise ValueError('a secret is a text, {env = "NAME"} or {file = "path"}')

    def reveal(self, environ: Mapping[str, str] = os.environ) -> str:
        """The secret itself, read now; ConfigurationError where the variable or file is missing."""
        if self._kind == "text":
            return self._value
        if self._kind == "env":
            if self._value not in environ:
                raise ConfigurationError(f"the variable {self._value}, which a secret names, is not set")
            return environ[self._value]
        try:
            return Path(self._value).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the file {self._value}, which a secret names, cannot be read: {error}"
            ) from None

    def __repr__(self) -> str:
        return "Secret(****)" if self._kind == "text" else f"Secret({self._kind}={self._value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self._kind, self._value) == (other._kind, other._value)

    def __hash__(self) -> int:
        return hash((self._kind, self._value))


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """[server]: the listener."""

    bind: Address = Address(f"127.0.0.1:{DEFAULT_PORT}")
    insecure: bool = False  # listen beyond loopback without authentication
    allowed_hosts: tuple[str, ...] = ()  # Host names accepted beside localhost
    metrics_token: Secret | None = None  # what /-/metrics asks for beyond loopback
    connections_max: int = 4096
    idle: Duration = Duration(60)
    head_timeout: Duration = Duration(10)
    body_timeout: Duration = Duration(30)  # without a byte
    request_timeout: Duration = Duration(300)  # from head to the last byte
    stop_timeout: Duration = Duration(10)


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """[store]: the directory and its bounds."""

    directory: str | None = None
    max_bytes: Size | None = None  # half of the free disk at creation where it is not given
    durability: Literal["process", "disk"] = "process"


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """[streams]: what new streams get unless they ask for something else."""

    account: str = "000000000000"
    region: str | None = None  # AWS_REGION, or us-east-1
    max_bytes: Size | None = None
    on_full: Literal["throttle", "drop_oldest"] = "throttle"
    enforce_limits: bool = False  # ten UpdateShardCount a day, as the real service


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """[buckets.NAME]: the real place of a bucket that clients name."""

    url: str  # s3://bucket/prefix, file:///directory
    endpoint: str | None = None
    region: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, merged. `path`: the file that was read, if any; `origins`: where each value is from."""

    server: Server = Server()
    store: Store = Store()
    streams: Streams = Streams()
    buckets: dict[str, Bucket] = {}
    path: str | None = None
    origins: dict[str, str] = {}


_OWN_FIELDS = ("path", "origins")
_LEAST = {
    "server.connections_max": 1,
    "store.max_bytes": limits.store_size_least,
    "streams.max_bytes": limits.stream_size_least,
}
_HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the data are unless told otherwise: $HEADRACE_STORE, else $XDG_DATA_HOME/headrace."""
    if environ.get("HEADRACE_STORE"):
        return Path(environ["HEADRACE_STORE"]).expanduser()
    base = environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    return Path(base) / "headrace"


def find_file(environ: Mapping[str, str] = os.environ, directory: Path | None = None) -> Path | None:
    """The file that applies, or None: $HEADRACE_CONFIG, ./headrace.toml, $XDG_CONFIG_HOME/headrace/…"""
    if environ.get("HEADRACE_CONFIG"):
        return Path(environ["HEADRACE_CONFIG"]).expanduser()
    local = (directory or Path.cwd()) / FILE_NAME
    if local.exists():
        return local
    base = environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    personal = Path(base) / "headrace" / FILE_NAME
    return personal if personal.exists() else None


def load(
    path: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Read and merge. `options`: command-line values by dotted key ("server.bind"), None where not given.

    Raises ConfigurationError that names the file, the key and what would be right.
    """
    file = Path(path).expanduser() if path is not None else find_file(environ)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        merged = _read(file)
        _check_known(merged, Config, str(file), ())
        _note(merged, (), str(file), origins)
    for name, value in sorted(environ.items()):
        if name.startswith("HEADRACE__"):
            keys = _variable_keys(name, merged)
            hint = _type_at(keys, name)
            if Secret in get_args(hint):
                _forget(merged, keys[:-1] if keys[-1] in _SECRET_KEYS else keys, str(file), origins)
            _put(merged, keys, _typed(value, hint))
            origins[".".join(keys)] = name
    if environ.get("HEADRACE_INSECURE") == "1":
        _put(merged, ("server", "insecure"), True)
        origins["server.insecure"] = "HEADRACE_INSECURE"
    for dotted, value in (options or {}).items():
        if value is not None:
            _put(merged, tuple(dotted.split(".")), value)
            origins[dotted] = "option"
    try:
        config = msgspec.convert(merged, Config, dec_hook=_decode, str_keys=True)
    except msgspec.ValidationError as error:
        raise _invalid(error, origins, file) from None
    _check_numbers(config, origins)
    for host in config.server.allowed_hosts:
        _check_host(host, origins["server.allowed_hosts"])
    _check_names(config, origins, environ.get("AWS_REGION"))
    return msgspec.structs.replace(config, path=str(file) if file is not None else None, origins=origins)


def _check_numbers(config: Config, origins: Mapping[str, str]) -> None:
    """Refuse numbers that would be ignored or leave nothing to work with."""
    for key, least in _LEAST.items():
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if value is not None and value < least:
            unit = " bytes" if isinstance(value, Size) else ""
            raise ConfigurationError(f"{origins[key]}: {key} is {value}{unit}; the least is {least}")
    for name in ("idle", "head_timeout", "body_timeout", "request_timeout"):
        if getattr(config.server, name) <= 0:
            key = f"server.{name}"
            raise ConfigurationError(f"{origins[key]}: {key} is 0; it must be more than that, as in '60s'")


def _check_host(host: str, origin: str) -> None:
    """Refuse what no Host header names."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(_HOST_NAME, host):
            raise ConfigurationError(
                f"{origin}: server.allowed_hosts: {host!r} is not the name of a host",
                hint="write each name alone, without scheme, port, brackets or wildcard: kinesis.test",
            ) from None


def _check_names(config: Config, origins: Mapping[str, str], variable: str | None) -> None:
    """Refuse what ARNs cannot have. variable: the region where none is configured."""
    account, region = config.streams.account, config.streams.region
    if not re.fullmatch(r"[0-9]{12}", account):
        origin = origins["streams.account"]
        raise ConfigurationError(f"{origin}: account {account!r} is not 12 digits", hint="see --account")
    if region is None:
        region = variable or None
    if region is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,63}", region):
        raise ConfigurationError(
            f"{origins.get('streams.region', 'AWS_REGION')}: region {region!r} is not letters, digits and hyphens",
            hint="as in us-east-1; see --region",
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as source:
            return tomllib.load(source)
    except FileNotFoundError:
        raise ConfigurationError(f"the configuration file {file} does not exist") from None
    except OSError as error:
        raise ConfigurationError(f"the configuration file {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is not TOML: {error}") from None


def _fields(struct: type) -> dict[str, Any]:
    """Names and types that a file may set in a struct."""
    hints = get_type_hints(struct)
    return {name: hint for name, hint in hints.items() if not (struct is Config and name in _OWN_FIELDS)}


def _struct_in(hint: Any) -> tuple[type | None, bool]:
    """(the struct that a type holds, is it behind names as in dict[str, Struct])."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint, False
    if get_origin(hint) is dict:
        inner, _ = _struct_in(get_args(hint)[1])
        return inner, True
    return None, False


def _unknown(key: str, known: Mapping[str, Any], where: str, section: tuple[str, ...]) -> ConfigurationError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    place = f"in [{'.'.join(section)}]" if section else "at the top"
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    return ConfigurationError(f"{where}: unknown key {key!r} {place}", hint=hint)


def _check_known(table: Mapping[str, Any], struct: type, where: str, section: tuple[str, ...]) -> None:
    """Refuse keys that no field of the struct has, with the nearest name."""
    fields = _fields(struct)
    for key, value in table.items():
        if key not in fields:
            raise _unknown(key, fields, where, section)
        inner, named = _struct_in(fields[key])
        if inner is None or not isinstance(value, dict):
            continue
        for name, part in value.items() if named else [(None, value)]:
            if isinstance(part, dict):
                _check_known(part, inner, where, (*section, key) if name is None else (*section, key, name))


def _note(table: Mapping[str, Any], keys: tuple[str, ...], where: str, origins: dict[str, str]) -> None:
    for key, value in table.items():
        if isinstance(value, dict):
            _note(value, (*keys, key), where, origins)
        else:
            origins[".".join((*keys, key))] = where


def _variable_keys(name: str, merged: Mapping[str, Any]) -> tuple[str, ...]:
    """HEADRACE__BUCKETS__RAW__URL -> ("buckets", "raw", "url"); names keep the case they have in the file."""
    keys: list[str] = []
    table: Any = merged
    for part in name.removeprefix("HEADRACE__").split("__"):
        known = {key.lower(): key for key in table} if isinstance(table, dict) else {}
        keys.append(known.get(part.lower(), part.lower()))
        table = table.get(keys[-1]) if isinstance(table, dict) else None
    return tuple(keys)


def _type_at(keys: tuple[str, ...], variable: str) -> Any:
    """The type of the field that the keys lead to."""
    struct: type = Config
    rest = list(keys)
    section: tuple[str, ...] = ()
    while rest:
        key = rest.pop(0)
        fields = _fields(struct)
        if key not in fields:
            raise _unknown(key, fields, f"the variable {variable}", section)
        inner, named = _struct_in(fields[key])
        section = (*section, key)
        if inner is None:
            if not rest or (Secret in get_args(fields[key]) and rest in [[key] for key in _SECRET_KEYS]):
                return fields[key]
            break
        if named and rest:
            section = (*section, rest.pop(0))
        struct = inner
    raise ConfigurationError(f"the variable {variable} does not name a key; write HEADRACE__SECTION__KEY")


def _typed(text: str, hint: Any) -> Any:
    """A variable's text as the field wants it: numbers, booleans and lists are written as in TOML."""
    plain = set(get_args(hint)) or {hint}
    if get_origin(hint) is tuple:
        return _toml(text) if text.startswith("[") else [part.strip() for part in text.split(",")]
    return _toml(text) if plain & {int, float, bool} else text


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(table: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[keys[-1]] = value


def _forget(table: dict[str, Any], keys: tuple[str, ...], where: str, origins: dict[str, str]) -> None:
    """Drop what a place says of a secret, the whole of it: half of it is none."""
    dotted = ".".join(keys)
    said = [key for key in origins if key == dotted or key.startswith(dotted + ".")]
    for key in said:
        if origins[key] == where:
            del origins[key]
            _put(table, keys, {})


def _decode(kind: type, value: Any) -> Any:
    """Make one of our own value types; msgspec adds the key to a ValueError."""
    if kind is Size:
        return Size(parse_size(value))
    if kind is Duration:
        return Duration(parse_duration(value))
    if kind is Address:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not host:port, as in 127.0.0.1:4567")
        parse_address(value)
        return Address(value)
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind)


def _invalid(error: Exception, origins: Mapping[str, str], file: Path | None) -> ConfigurationError:
    """msgspec's error with the place the value came from."""
    text, _, place = str(error).partition(" - at `$.")
    key = place.rstrip("`")
    if text.startswith("Invalid enum value"):
        text += _choices(key)
    where = origins.get(key) or (str(file) if file is not None else "configuration")
    return ConfigurationError(f"{where}: {key}: {text}" if key else f"{where}: {text}")


def _choices(key: str) -> str:
    """The values that a key may have, for the message."""
    choices = get_args(_type_at(tuple(key.split(".")), key))
    return f"; it is one of {', '.join(repr(choice) for choice in choices)}" if choices else ""
