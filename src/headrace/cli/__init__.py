# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The `headrace` command: finds the module of a command, runs it, and turns errors into one line.

A command is a module headrace/cli/<name>.py with `add_arguments(parser)` and `run(arguments) -> int`. It is
imported only when it is used, so that `headrace env` does not pay for SQL. A row of COMMANDS whose module is
not there is not offered.

Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 a check failed; 4 target not reachable or directory
held by another process; 5 partly done; 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from headrace import __version__
from headrace.errors import (
    AddressInUse,
    ConfigurationError,
    Corrupt,
    Error,
    LockedByOther,
    Unreachable,
)

DONE, FAILED, USAGE, CHECK_FAILED, UNREACHABLE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
AGES = ("--from", "--until", "--to")  # options that take an age, as in -10m
BROKEN_PIPE = 141  # what a shell reports of a program that SIGPIPE ended

# command: (module, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "serve a directory to Kinesis clients"),
    "env": ("env", "print the lines that point clients at the server"),
    "demo": ("demo", "see everything at work on this machine's own telemetry"),
    "put": ("put", "put lines of files or standard input into a stream"),
    "tail": ("tail", "show the last records of a stream, and follow it"),
    "streams": ("streams", "list, create, describe and change streams"),
    "firehose": ("firehose", "list, describe and watch deliveries"),
    "sql": ("sql", "run SQL windows over streams"),
    "verify": ("verify", "check a directory offline"),
    "repair": ("repair", "repair a damaged directory offline"),
    "status": ("status", "ask a server whether it is up"),
    "doctor": ("doctor", "show what this machine offers and what it costs"),
    "bench": ("bench", "measure a server or the library"),
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other failure, and takes options before and after names."""

    def error(self, message: str) -> NoReturn:
        complain(message, f"see {self.prog} --help")
        raise SystemExit(USAGE)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def available() -> dict[str, str]:
    """Commands whose module exists here, with their line of help."""
    here = Path(__file__).parent
    return {
        name: help
        for name, (module, help) in COMMANDS.items()
        if (here / f"{module}.py").exists() or (here / module / "__init__.py").exists()
    }


def overview() -> str:
    """What `headrace --help` prints."""
    commands = available()
    width = max(map(len, commands), default=0)
    lines = [f"  {name:<{width}}  {help}" for name, help in commands.items()]
    return "\n".join(
        [
            "usage: headrace COMMAND [options]",
            "",
            "A durable, native-speed Kinesis that anyone can host or embed.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help     this text; `headrace COMMAND --help` explains a command with an example",
            "  --version      the version",
            "",
            "exit codes: 0 done, 1 failed, 2 usage or configuration, 3 a check failed, 4 not reachable",
            "            or held, 5 partly done, 130 interrupted",
        ]
    )


def parser_of(command: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command; its module's docstring is the description."""
    description = (module.__doc__ or "").strip()
    parser = Parser(
        prog=f"headrace {command}", description=description, formatter_class=Formatter, allow_abbrev=False
    )
    module.add_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] in ("-h", "--help", "help") and len(words) == 1):
        print(overview(), file=sys.stdout if words else sys.stderr)
        return DONE if words else USAGE
    if words[0] in ("-V", "--version"):
        print(f"headrace {__version__}")
        return DONE
    if words[0] == "help":
        words = [words[1], "--help"]
    command = words[0]
    commands = available()
    if command not in commands:
        near = difflib.get_close_matches(command, commands, n=1)
        complain(
            f"there is no command {command!r}",
            f"did you mean {near[0]!r}?" if near else "see headrace --help",
        )
        return USAGE
    return run(command, words[1:])


def run(command: str, words: list[str]) -> int:
    """Import the command's module, parse and run it; every failure is one line on standard error."""
    set_logging()
    try:
        module = importlib.import_module(f"headrace.cli.{COMMANDS[command][0]}")
        arguments = parser_of(command, module).parse_args(joined(words))
        code = int(module.run(arguments))
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse has printed usage or help
        return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone: end quietly, also at the interpreter's own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Error as error:
        complain(error.message, error.hint)
        return exit_code(error)
    except (ConnectionError, TimeoutError) as error:
        complain(str(error), "is the server running? `headrace status` asks it")
        return UNREACHABLE
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.strerror and error.filename is not None:
            error = OSError(f"{os.fsdecode(error.filename)}: {error.strerror}")
        if os.environ.get("HEADRACE_LOG", "").lower() == "debug":
            raise
        complain(str(error) or type(error).__name__)
        return FAILED


def joined(words: list[str]) -> list[str]:
    """`--from -10m` as one word: argparse would take the age for an option."""
    found: list[str] = []
    for word in words:
        if found and found[-1] in AGES and word[:1] == "-" and word[1:2].isdigit():
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def exit_code(error: Error) -> int:
    """The exit code that says what kind of error it was."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, LockedByOther | AddressInUse | Unreachable):
        return UNREACHABLE
    return CHECK_FAILED if isinstance(error, Corrupt) else FAILED


def complain(message: str, hint: str = "") -> None:
    """One line on standard error: what happened, and what to do."""
    text = f"headrace: {message} ({hint})" if hint else f"headrace: {message}"
    print(" ".join(text.split()), file=sys.stderr)


def set_logging() -> None:
    """Send log lines of HEADRACE_LOG's level (warning if not given) to standard error."""
    import logging

    level = os.environ.get("HEADRACE_LOG", "warning").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        level = "WARNING"
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
