# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Serve a directory to Kinesis clients until Ctrl-C or SIGTERM.

example:
  headrace serve                                    the default directory on 127.0.0.1:4567
  headrace serve data --init metrics:4 --durability disk
  headrace serve --ephemeral --port 0 --ready-file ready.json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace import config as configuration
from headrace.config import Config
from headrace.errors import ConfigurationError, LockedByOther

if TYPE_CHECKING:
    from headrace.server.app import Site
    from headrace.server.listener import Listener

FILES_WANTED = 65_536
SWITCH_SECONDS = (
    0.0005  # how long a background thread may keep the interpreter from the requests (5 ms otherwise)
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace serve`."""
    parser.add_argument("directory", nargs="?", metavar="DIR", help="where the data are (made if missing)")
    parser.add_argument("--bind", metavar="HOST:PORT", help="where to listen; 127.0.0.1:4567 if not given")
    parser.add_argument("--port", type=int, metavar="N", help="port on the bound host; 0 takes a free one")
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="allow addresses beyond loopback"
    )
    parser.add_argument("--config", metavar="FILE", help="headrace.toml to use")
    parser.add_argument("--ephemeral", action="store_true", help="a temporary directory, removed at the end")
    parser.add_argument("--init", metavar="NAME:SHARDS,…", help="create these streams if they are missing")
    parser.add_argument(
        "--durability", choices=("process", "disk"), help="what an answer promises for new streams"
    )
    parser.add_argument("--max-bytes", metavar="SIZE", help="most that the store may take, as in 8GiB")
    parser.add_argument("--account", metavar="ID", help="account in ARNs; 000000000000 if not given")
    parser.add_argument(
        "--region", metavar="NAME", help="region in ARNs; AWS_REGION or us-east-1 if not given"
    )
    parser.add_argument(
        "--ready-file", metavar="FILE", help="JSON with host, port, url and pid, once requests are answered"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = load_config(arguments)
    wanted = parse_init(arguments.init or "")
    from headrace.server.listener import bind_socket, check_exposure

    address = config.server.bind
    check_exposure(address.host, config.server.insecure)
    os.umask(0o077)
    raise_file_limit()
    sys.setswitchinterval(SWITCH_SECONDS)
    bound = bind_socket(address.host, address.port)
    ephemeral = None
    try:
        if arguments.ephemeral:
            ephemeral = tempfile.mkdtemp(prefix="headrace-")
        directory = Path(
            ephemeral or arguments.directory or config.store.directory or configuration.default_directory()
        )
        code = serve_directory(directory.expanduser(), config, bound, wanted, arguments)
    finally:
        bound.close()
        if ephemeral is not None:
            shutil.rmtree(ephemeral, ignore_errors=True)
    leave(code)
    return code


def leave(code: int) -> None:
    """End the process here if a delivery's thread would hold it: everything of ours is closed by now."""
    from headrace.firehose import hanging

    if hanging():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def load_config(arguments: argparse.Namespace) -> Config:
    """The configuration with this command line's options on top."""
    if arguments.ephemeral and arguments.directory:
        raise ConfigurationError(
            "--ephemeral and a directory exclude each other", hint="leave one of them out"
        )
    found = configuration.load(arguments.config)
    bind = arguments.bind
    if arguments.port is not None:
        if bind is not None:
            raise ConfigurationError("--port and --bind exclude each other", hint="write --bind HOST:PORT")
        host = found.server.bind.host
        bind = f"[{host}]:{arguments.port}" if ":" in host else f"{host}:{arguments.port}"
    options = {
        "server.bind": bind,
        "server.insecure": arguments.insecure,
        "store.durability": arguments.durability,
        "store.max_bytes": arguments.max_bytes,
        "streams.account": arguments.account,
        "streams.region": arguments.region,
    }
    return configuration.load(arguments.config, options=options)


def parse_init(text: str) -> list[tuple[str, int]]:
    """("a:2,b") -> [("a", 2), ("b", 1)]."""
    streams = []
    for item in filter(None, text.split(",")):
        name, colon, shards = item.strip().partition(":")
        if not name or (colon and not (shards.isascii() and shards.isdigit() and int(shards))):
            raise ConfigurationError(
                f"--init {item!r} is not NAME or NAME:SHARDS", hint="as in --init metrics:4,logs"
            )
        streams.append((name, int(shards or 1)))
    return streams


def raise_file_limit() -> None:
    """Connections, segments and maps need files: take as many as the hard limit allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve_directory(
    directory: Path,
    config: Config,
    bound: object,
    wanted: list[tuple[str, int]],
    arguments: argparse.Namespace,
) -> int:
    """Open the store, serve it, close it."""
    import uvloop

    from headrace.api.store import Store
    from headrace.log import Log
    from headrace.server.app import Site, serve

    ready_file = ready_path(arguments.ready_file)
    try:
        log = Log.open(directory, max_bytes=config.store.max_bytes)
    except LockedByOther as error:
        hint = f"stop that process, or use --store {directory} with put, tail, streams and sql beside it"
        raise LockedByOther(error.message, hint=hint) from None
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)  # of a server that was killed
    closing: Callable[[], None] = log.close
    try:
        site = Site(log, config)
        # Other processes of this user open the same directory and put through this one's local socket.
        closing = Store(log, durability=config.store.durability, streams=site.streams).close
        for name, shards in wanted:
            if site.streams.get(name) is None:
                site.streams.create(name, shards)

        async def main() -> None:
            stop = asyncio.Event()
            handle_signals(stop, ready_file)

            def ready(listener: Listener) -> None:
                print(banner(site, listener), flush=True)
                if ready_file is not None:
                    write_ready_file(ready_file, site, listener)

            await serve(site, bound, ready, stop)  # type: ignore[arg-type]

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
        return 0
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        closing()


def ready_path(text: str | None) -> Path | None:
    """Where the ready file will stand; ConfigurationError where none can."""
    if not text:
        return None
    path = Path(text)
    if path.is_dir():
        problem = f"{path} is a directory"
    elif not path.parent.is_dir():
        problem = f"there is no directory {path.parent}"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"{path.parent} may not be written"
    else:
        return path
    raise ConfigurationError(
        f"--ready-file: {problem}", hint="name a file in a directory that exists and may be written"
    )


def handle_signals(stop: asyncio.Event, ready_file: Path | None) -> None:
    """The first SIGTERM or Ctrl-C ends in order; a second Ctrl-C ends at once."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if stop.is_set():
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)
            os._exit(130)
        print(
            "stopping: requests under way are answered; Ctrl-C again ends at once",
            file=sys.stderr,
            flush=True,
        )
        stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    loop.add_signal_handler(signal.SIGTERM, stop.set)


def banner(site: Site, listener: Listener) -> str:
    """What is served where, and the lines that point clients at it."""
    from headrace.cli.env import line, variables

    config = site.config
    from headrace.server.listener import is_loopback

    auth = (
        "off (loopback only)"
        if is_loopback(listener.host)
        else "OFF, and other machines can reach this (--insecure)"
    )
    durability = config.store.durability
    promise = "an answer survives kill -9" if durability == "process" else "an answer survives power loss"
    lines = [
        f"headrace serves {listener.url}",
        f"  directory   {site.log.directory}",
        f"  durability  {durability}: {promise} (new streams)",
        f"  limit       {site.log.max_bytes / 2**30:.1f} GiB for the whole store",
        f"  streams     {len(site.streams.list())}, region {site.streams.region}, account {site.streams.account}",
        f"  auth        {auth}",
    ]
    if config.path:
        lines.append(f"  config      {config.path}")
    elif is_loopback(listener.host):
        lines.append(f"  buckets     {site.log.directory}/buckets/NAME, as no configuration maps them")
    lines += [f"  note        {note}" for note in notes(site)]
    lines += [
        "",
        *(line("sh", name, value) for name, value in variables(listener.url, site.streams.region).items()),
    ]
    return "\n".join(lines)


def notes(site: Site) -> list[str]:
    """What the operator should know at the start."""
    found = list(site.log.reports)
    ignored = sorted(name for name in os.environ if name.startswith("AWS_ENDPOINT_URL"))
    if ignored:
        found.append(f"{', '.join(ignored)} is ignored by the server; it is for clients")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        found.append("running as root: a user of its own is safer")
    return found


def write_ready_file(path: Path, site: Site, listener: Listener) -> None:
    """Write the ready file so that a reader sees all of it or none."""
    content = {
        "host": listener.host,
        "port": listener.port,
        "url": listener.url,
        "pid": os.getpid(),
        "directory": str(site.log.directory),
        "region": site.streams.region,
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    temporary.replace(path)
