"""Kernels on the disk: of several processes that want one, one compiles it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel

NAMES = ("time_of_day_sin",)


def warm_up_and_see(cache: str) -> int:
    """How many functions this process compiled, rather than loaded."""
    kernel = compile_kernel(feature_set("1", NAMES), Path(cache))
    kernel.warm_up()
    functions: tuple[Any, ...] = (kernel.run, kernel.begin, kernel.look)
    return sum(sum(function.stats.cache_misses.values()) for function in functions)


def test_one_of_several_processes_compiles_and_the_others_load(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        compiled = sorted(pool.map(warm_up_and_see, [str(tmp_path)] * 3))
    assert compiled[:2] == [0, 0]
    assert compiled[2] > 0


def test_a_folder_that_cannot_be_written_is_loaded_from(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("2", NAMES), tmp_path)
    kernel.warm_up()
    marked = {path.name for path in kernel.folder.iterdir()}
    assert {"compiled", "lock"} <= marked
    kernel.warm_up()
    assert {path.name for path in kernel.folder.iterdir()} == marked
