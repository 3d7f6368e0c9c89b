# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Ask a server whether it is up, for scripts and containers: exit code 0 if so, 4 if not.

example:
  headrace status --wait 10 && echo ready
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import time
from typing import Any
from urllib.parse import urlsplit

from headrace.cli.env import configured_endpoint
from headrace.cli.output import add_output_arguments, show_one
from headrace.errors import ConfigurationError, Unreachable

ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace status`."""
    parser.add_argument(
        "--endpoint", metavar="URL", help="the server's URL; HEADRACE_ENDPOINT or the configured address"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long for it to come up"
    )
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the server's health; Unreachable (exit code 4) if it does not answer in time."""
    endpoint = arguments.endpoint or os.environ.get("HEADRACE_ENDPOINT") or configured_endpoint()
    if arguments.wait < 0:
        raise ConfigurationError(f"--wait {arguments.wait} is negative")
    deadline = time.monotonic() + arguments.wait
    while True:
        try:
            found = health(endpoint)
            break
        except Unreachable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
    show_one({"endpoint": endpoint, **found}, arguments)
    return 0


def health(endpoint: str) -> dict[str, Any]:
    """What `/-/health` says. Unreachable if nothing answers there, or something else than headrace."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{endpoint!r} is not a URL", hint="as in http://127.0.0.1:4567")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/-/health")
        answer = connection.getresponse()
        body = json.loads(answer.read(65_536))
        if not isinstance(body, dict) or "status" not in body:
            raise ValueError("no status")
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"no server answers at {endpoint}: {error}", hint="start one with `headrace serve`"
        ) from None
    except ValueError:
        raise Unreachable(f"what answers at {endpoint} is not headrace", hint="see --endpoint") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Unreachable(
            f"the server at {endpoint} is {body['status']}", hint="wait for it with --wait SECONDS"
        )
    return body
