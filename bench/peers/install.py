# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Install the peers into build/peers, in the versions that the figures name; nothing of them is committed.

python bench/peers/install.py            # all
python bench/peers/install.py kinesalite
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build" / "peers"
KINESALITE = "3.3.3"  # npm
MINISTACK = "1.5.33"  # PyPI, extra full
LMDB = "lmdb>=1.5"  # PyPI, into the environment of the benchmark itself


def kinesalite() -> None:
    """kinesalite under build/peers/kinesalite/node_modules."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is not installed, and kinesalite needs it: apt-get install nodejs npm")
    directory = BUILD / "kinesalite"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"name": "peers", "private": true}\n')
    subprocess.run([npm, "install", "--silent", f"kinesalite@{KINESALITE}"], cwd=directory, check=True)


def ministack() -> None:
    """ministack in a virtual environment of its own, build/peers/ministack."""
    directory = BUILD / "ministack"
    venv.create(directory, with_pip=True)
    pip = directory / "bin" / "pip"
    subprocess.run([pip, "install", "--quiet", f"ministack[full]=={MINISTACK}"], check=True)


def lmdb() -> None:
    """lmdb beside the benchmark: it is measured in process."""
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", LMDB], check=True)


PEERS = {"kinesalite": kinesalite, "ministack": ministack, "lmdb": lmdb}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}; all if none is named"
    )
    chosen = parser.parse_args().peers
    if unknown := [name for name in chosen if name not in PEERS]:
        parser.error(f"there is no peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    for name in chosen or PEERS:
        PEERS[name]()
        print(f"{name}: installed")
