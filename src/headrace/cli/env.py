# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Print the variables that point AWS clients at the server; S3, DynamoDB and the rest stay where they are.

example:
  eval "$(headrace env)"                 sh, bash, zsh
  headrace env --shell fish | source
  headrace env --shell dotenv > .env
"""

from __future__ import annotations

import argparse
import os
import shlex

from headrace import config as configuration
from headrace.errors import ConfigurationError

SHELLS = ("sh", "fish", "powershell", "dotenv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace env`."""
    parser.add_argument("--shell", choices=SHELLS, help="whose syntax; guessed from $SHELL if not given")
    parser.add_argument(
        "--endpoint", metavar="URL", help="the server's URL; HEADRACE_ENDPOINT or the configured address"
    )
    parser.add_argument("--region", metavar="NAME", help="region; AWS_REGION or us-east-1 if not given")


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each variable."""
    endpoint = arguments.endpoint or os.environ.get("HEADRACE_ENDPOINT") or configured_endpoint()
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError(f"{endpoint!r} is not a URL", hint="as in http://127.0.0.1:4567")
    region = (
        arguments.region or configuration.load().streams.region or os.environ.get("AWS_REGION") or "us-east-1"
    )
    shell = arguments.shell or guess_shell(os.environ.get("SHELL", ""))
    for name, value in variables(endpoint.rstrip("/"), region).items():
        print(line(shell, name, value))
    return 0


def configured_endpoint() -> str:
    """The URL of the address that `headrace serve` would take."""
    address = configuration.load().server.bind
    host = "127.0.0.1" if address.host in ("0.0.0.0", "::") else address.host
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def variables(endpoint: str, region: str) -> dict[str, str]:
    """Names and values. Service-specific endpoints only: a bare AWS_ENDPOINT_URL would move S3 as well.

    Credentials are set only where there are none: clients refuse to start without, and the server, which
    listens on loopback without authentication, takes any.
    """
    found = {
        "AWS_ENDPOINT_URL_KINESIS": endpoint,
        "AWS_ENDPOINT_URL_FIREHOSE": endpoint,
        "AWS_ENDPOINT_URL_KINESIS_ANALYTICS": endpoint,
        "AWS_ENDPOINT_URL_KINESIS_ANALYTICS_V2": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        found["AWS_ACCESS_KEY_ID"] = "headrace"
        found["AWS_SECRET_ACCESS_KEY"] = "headrace"
    return found


def guess_shell(path: str) -> str:
    """The syntax of the user's shell: fish, or sh for all others."""
    return "fish" if path.rsplit("/", 1)[-1] == "fish" else "sh"


def line(shell: str, name: str, value: str) -> str:
    """One assignment in the shell's syntax."""
    if shell == "fish":
        return f"set -gx {name} {shlex.quote(value)};"
    if shell == "powershell":
        return "$Env:" + name + " = '" + value.replace("'", "''") + "'"
    if shell == "dotenv":
        return f"{name}={value}"
    return f"export {name}={shlex.quote(value)}"
