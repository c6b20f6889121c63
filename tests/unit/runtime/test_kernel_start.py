"""A kernel that must be compiled says so while it is; one that is there is loaded in silence."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from runtime.kernel_start import compiling_beside, warm_up, warm_up_elsewhere
from tests.waiting import eventually
from transforms.catalogue import feature_set
from transforms.kernel import Kernel, compile_kernel, process_name


class Slow:
    """A kernel that compiles until it was told of twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.feature_set = feature_set("1.0.0", ["mid_price"])
        self.told: list[str] = []
        self.compiler: str | None = None
        self._is_told_twice = threading.Event()

    def tell(self, line: str) -> None:
        self.told.append(line)
        if len(self.told) == 2:
            self._is_told_twice.set()

    def compiled_by(self) -> str | None:
        return self.compiler

    def warm_up(self) -> None:
        if not (self.folder / "compiled").exists():
            assert self._is_told_twice.wait(30)


def test_compiling_is_told_until_it_is_done(tmp_path: Path) -> None:
    kernel = Slow(tmp_path)
    warm_up(cast("Kernel", kernel), kernel.tell, told_each_s=0.01)
    assert kernel.told[0] == "compiling 1 features of registry 1.0.0, once on this machine"
    assert kernel.told[1].endswith("s so far")


def test_it_is_told_which_process_is_waited_for(tmp_path: Path) -> None:
    what = "compiling 1 features of registry 1.0.0, once on this machine"
    for compiler, told in (
        ("7 of elsewhere", ", waiting for process 7 of elsewhere, which does it"),
        (process_name(os.getpid()), ""),
    ):
        kernel = Slow(tmp_path)
        kernel.compiler = compiler
        warm_up(cast("Kernel", kernel), kernel.tell, told_each_s=0.01)
        assert kernel.told[0] == f"{what}{told}"
        assert kernel.told[1].startswith(f"{what}{told}: ")


def test_of_several_processes_one_compiles_and_one_that_is_killed_lets_the_next(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("1.0.0", ["mid_price"]), tmp_path)
    assert kernel.compiled_by() is None
    lock = kernel.folder / "lock"
    holds = f"import fcntl, time\nlock = open({str(lock)!r}, 'a')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
    holds += "lock.write('7 of elsewhere')\nlock.flush()\nprint(flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert kernel.compiled_by() == "7 of elsewhere"
        holder.kill()
    assert kernel.compiled_by() is None


def test_what_is_compiled_is_loaded_in_silence(tmp_path: Path) -> None:
    (tmp_path / "compiled").touch()
    kernel = Slow(tmp_path)
    warm_up(cast("Kernel", kernel), kernel.tell)
    assert kernel.told == []


@pytest.mark.soak
def test_a_kernel_is_compiled_beside_what_else_is_done(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("1.0.0", ["mid_price"]), tmp_path)
    with compiling_beside(kernel):
        eventually((kernel.folder / "compiled").exists, deadline_s=300)
    told: list[str] = []
    with compiling_beside(kernel):
        warm_up(kernel, told.append)
    assert told == []


@pytest.mark.soak
def test_what_is_compiled_elsewhere_is_loaded_here(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("1.0.0", ["mid_price"]), tmp_path)
    assert warm_up_elsewhere(kernel, list[str]().append, threading.Event())
    run: Any = kernel.run
    assert sum(run.stats.cache_hits.values()) == 1
    assert not run.stats.cache_misses


def test_compiling_elsewhere_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("1.0.0", ["mid_price"]), tmp_path)
    stopping = threading.Event()
    stopping.set()
    assert not warm_up_elsewhere(kernel, list[str]().append, stopping)
    assert not (kernel.folder / "compiled").exists()
    assert multiprocessing.active_children() == []
