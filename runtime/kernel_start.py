"""The start of a kernel: what is compiled for the first time takes a while, and says so meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from transforms.kernel import Kernel, compile_kernel, process_name
from transforms.rows import FeatureSet

TOLD_EACH_S: Final = 10.0
ASKED_EACH_S: Final = 0.2


def warm_up(kernel: Kernel, tell: Callable[[str], None], *, told_each_s: float = TOLD_EACH_S) -> None:
    """Compile or load the kernel's machine code.

    tell: called at once when it must be compiled, and every ``told_each_s`` until it is, with a line for a person,
    which names the process that is waited for where another compiles it.
    """
    with _telling(kernel, tell, told_each_s):
        kernel.warm_up()


def warm_up_elsewhere(kernel: Kernel, tell: Callable[[str], None], stopping: threading.Event) -> bool:
    """Load the kernel's machine code, which a process of its own compiles; whether it is there.

    numba compiles and loads for one thread of a process at a time, so where other threads build, compiling among them
    would be theirs to wait. False once ``stopping`` is set before it is compiled.
    """
    with _telling(kernel, tell, TOLD_EACH_S):
        with compiling_beside(kernel) as compiling:
            while compiling is not None and compiling.is_alive():
                if stopping.wait(ASKED_EACH_S):
                    return False
        kernel.warm_up()
    return True


@contextmanager
def _telling(kernel: Kernel, tell: Callable[[str], None], told_each_s: float) -> Iterator[None]:
    if (kernel.folder / "compiled").exists():
        yield
        return
    chosen = kernel.feature_set
    what = f"compiling {len(chosen.columns)} features of registry {chosen.version}, once on this machine"
    tell(f"{what}{_elsewhere(kernel)}")
    with telling_each(told_each_s, lambda spent_s: tell(f"{what}{_elsewhere(kernel)}: {spent_s:.0f} s so far")):
        yield


@contextmanager
def telling_each(each_s: float, tell: Callable[[float], None]) -> Iterator[None]:
    """While the block runs, say every so many seconds how many it has taken."""
    begun = time.monotonic()
    done = threading.Event()

    def keep_telling() -> None:
        while not done.wait(each_s):
            tell(time.monotonic() - begun)

    telling = threading.Thread(target=keep_telling, name="compiling", daemon=True)
    telling.start()
    try:
        yield
    finally:
        done.set()
        telling.join()


def _elsewhere(kernel: Kernel) -> str:
    """Which process is waited for; nothing where it is this one or one of its own."""
    who = kernel.compiled_by()
    own = {process_name(pid) for pid in (os.getpid(), *(child.pid for child in active_children())) if pid is not None}
    return "" if who is None or who in own else f", waiting for process {who}, which does it"


@contextmanager
def compiling_beside(kernel: Kernel) -> Iterator[BaseProcess | None]:
    """Another process compiles the kernel while the block does something else; ``warm_up`` in it waits for that.

    Nothing is started for a kernel that is compiled. A process that fails leaves the compiling to ``warm_up``.
    """
    if (kernel.folder / "compiled").exists():
        yield None
        return
    process = get_context("spawn").Process(
        target=_compile, args=(kernel.feature_set, kernel.folder.parent), daemon=True
    )
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def _compile(chosen: FeatureSet, folder: Path) -> None:
    compile_kernel(chosen, folder).warm_up()
