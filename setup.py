# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of native modules: which Cython module owns which C kernel.

A kernel is one file pair `native/<name>.c` and `native/<name>.h` and is compiled into exactly one
module. All other metadata stands in pyproject.toml.

Switches (environment, at build time):
  HEADRACE_DEBUG=1     bounds checks in Cython and asserts in C
  HEADRACE_SANITIZE=1  address and undefined-behaviour sanitizers (run Python with libasan preloaded)

A build with other switches than the last one's, into whichever directory, builds everything anew.
"""

import os
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("HEADRACE_DEBUG") == "1"
SANITIZE = os.environ.get("HEADRACE_SANITIZE") == "1"
STAMP = Path("build/switches")  # the switches of the last build; every module is older than a new stamp
CYTHON_DIRECTORY = "build/cython-debug" if DEBUG else "build/cython"  # Cython compares times, not directives

# module: kernels it owns
MODULES: dict[str, list[str]] = {
    "headrace.core._arrow": [],
    "headrace.core._arrow_input": ["arrow_values"],
    "headrace.api._producer": [],
    "headrace.core._batch": [],
    "headrace.core._rows": ["json_rows", "double_text"],
    "headrace.core._columns": ["json_columns", "json_values"],
    "headrace.core._entries": ["md5", "route"],
    "headrace.core._entry_parts": [],
    "headrace.core._frame_batch": [],
    "headrace.core._frame_source": [],
    "headrace.core._frame_table": ["frame_table"],
    "headrace.core._frames": ["crc32c", "frame", "ring"],
    "headrace.core._records_answer": [],
    "headrace.core._shared": ["shared"],
    "headrace.core._states": [],
    "headrace.core._wire": ["base64", "sequence", "wire_scan", "wire_write"],
    "headrace.core._http": ["http_head"],
    "headrace.log._intake": [],
    "headrace.server._answering": [],
    "headrace.server._answers": [],
    "headrace.server._buffers": [],
    "headrace.server._commit": [],
    "headrace.server._connection": [],
    "headrace.server._context": [],
    "headrace.bench._load": ["answer", "corpus", "histogram", "ledger", "load", "plain_disk"],
    "headrace.bench._sink": ["sink"],
}


def extension(module: str, kernels: list[str]) -> Extension:
    """Describe one extension module together with the kernels compiled into it."""
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
    flags += ["-O1", "-g", "-fno-omit-frame-pointer"] if SANITIZE else ["-O3"]
    links: list[str] = []
    macros: list[tuple[str, str | None]] = [
        ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
        ("_GNU_SOURCE", None),
    ]
    if not (DEBUG or SANITIZE):
        macros.append(("NDEBUG", None))
    else:
        flags.append("-UNDEBUG")
    if SANITIZE:
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        links += ["-fsanitize=address,undefined"]
    source = "src/" + module.replace(".", "/") + ".pyx"
    headers = [f"native/{name}" for name in sorted(os.listdir("native")) if name.endswith(".h")]
    return Extension(
        module,
        sources=[source, *(f"native/{kernel}.c" for kernel in kernels)],
        include_dirs=["native", numpy.get_include()],
        depends=headers,
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=links,
        language="c",
    )


def stamp() -> str:
    """Note the switches if they are not those of the last build, and return the note's path."""
    switches = f"HEADRACE_DEBUG={DEBUG:d} HEADRACE_SANITIZE={SANITIZE:d}\n"
    if not STAMP.exists() or STAMP.read_text() != switches:
        STAMP.parent.mkdir(exist_ok=True)
        STAMP.write_text(switches)
    return str(STAMP)


extensions = cythonize(
    [extension(module, kernels) for module, kernels in MODULES.items()],
    include_path=["src"],
    build_dir=CYTHON_DIRECTORY,
    nthreads=0 if sys.platform == "darwin" else (os.cpu_count() or 1),
    compiler_directives={
        "language_level": 3,
        "boundscheck": DEBUG,
        "wraparound": False,
        "initializedcheck": DEBUG,
        "cdivision": True,
        "freethreading_compatible": False,
        "embedsignature": False,
    },
)
for each in extensions:
    each.depends.append(stamp())

setup(ext_modules=extensions, options={"build_ext": {"parallel": True}})  # a compiler on each core
