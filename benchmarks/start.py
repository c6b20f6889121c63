"""Starting: compiling 2.0.0, what shares code with it, loading it compiled, and the command line's first answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import KERNEL_CACHE, Figure, median_seconds, seconds
from benchmarks.offline import VERSION

NEXT_VERSION: Final = "2.1.0"
_LOAD: Final = """\
import sys
import time
from pathlib import Path
from feature_repo.registry_versions import load_registry_version
from transforms.kernel import compile_kernel
begin_s = time.perf_counter()
compile_kernel(load_registry_version(sys.argv[1]).feature_set, Path(sys.argv[2])).warm_up()
print(time.perf_counter() - begin_s)
"""
_COMPILE: Final = """\
import sys
import time
from pathlib import Path
from feature_repo.registry_versions import load_registry_version
from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel
version, name, folder = sys.argv[1:]
chosen = feature_set(name, load_registry_version(version).feature_set.columns)
begin_s = time.process_time()
compile_kernel(chosen, Path(folder)).warm_up()
print(time.process_time() - begin_s)
"""
_REPEATS: Final = 5


def run(folder: Path) -> Iterator[Figure]:
    yield from _compiled(folder / "compiled")
    python = sys.executable
    compile_s = seconds(partial(_wait_for, [python, "-c", _LOAD, VERSION, str(folder / "kernels")]))
    load = partial(_wait_for, [python, "-c", _LOAD, VERSION, str(KERNEL_CACHE)])
    load_s, numba_s = median_seconds(load, partial(_wait_for, [python, "-c", "import numba"]))
    yield Figure(
        f"start: {VERSION} compiled from nothing, once",
        compile_s,
        "s",
        "lower",
        yardstick="loaded from the cache",
        yardstick_value=load_s,
        details={"repeats": 1},
    )
    cached = [python, "-c", _LOAD, VERSION, str(KERNEL_CACHE)]
    inside_s = statistics.median(
        float(subprocess.run(cached, check=True, capture_output=True, text=True).stdout) for _ in range(_REPEATS)
    )
    yield Figure(
        f"start: {VERSION} loaded from the cache, imports apart",
        inside_s,
        "s",
        "lower",
        goal="<= 1",
        details={"repeats": _REPEATS},
    )
    yield Figure(
        f"start: a process until {VERSION} is loaded from the cache",
        load_s,
        "s",
        "lower",
        yardstick="a process that imports numba",
        yardstick_value=numba_s,
    )
    command = Path(python).with_name("feature-service")
    help_s, python_s = median_seconds(
        partial(_wait_for, [str(command), "--help"]), partial(_wait_for, [python, "-c", "pass"])
    )
    yield Figure(
        "start: feature-service --help",
        help_s,
        "s",
        "lower",
        yardstick="a process that does nothing",
        yardstick_value=python_s,
    )


def _compiled(folder: Path) -> Iterator[Figure]:
    """Seconds of a processor, which other work on the machine does not change much."""
    for version, name, said, goal in (
        (VERSION, VERSION, f"{VERSION} compiled from nothing", "<= 12"),
        (NEXT_VERSION, NEXT_VERSION, f"{NEXT_VERSION} compiled after it", "-"),
        (VERSION, "another", f"the columns of {VERSION} as another version compiled after them", "<= 5"),
    ):
        command = [sys.executable, "-c", _COMPILE, version, name, str(folder)]
        compile_s = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        yield Figure(f"start: {said}, of a processor, imports apart", compile_s, "s", "lower", goal=goal)


def _wait_for(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
