"""Kernels on the disk: of several processes that want one, one compiles it."""

from __future__ import annotations

import hashlib
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from transforms import kernel
from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel

ROOT: Final = Path(__file__).resolve().parents[3]
NAMES: Final = ("time_of_day_sin",)
# Prints how many functions the process compiled, rather than loaded.
WARM_UP: Final = f"""
import sys
from pathlib import Path
from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel
kernel = compile_kernel(feature_set("1", {NAMES}), Path(sys.argv[1]))
kernel.warm_up()
print(sum(sum(each.stats.cache_misses.values()) for each in (kernel.run, kernel.begin)))
"""


class NotedLock:
    """A lock that tells who comes to it."""

    def __init__(self) -> None:
        self.arrivals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self.arrivals.put(None)
        self._lock.acquire()

    def __exit__(self, *_exception: object) -> None:
        self._lock.release()


def test_a_thread_never_gets_a_module_that_another_is_executing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, may_end = NotedLock(), threading.Event()
    monkeypatch.setattr(kernel, "_LOADING", lock)
    monkeypatch.setattr(sys, "may_end", may_end, raising=False)
    name = "module_of_two_threads"
    monkeypatch.setitem(sys.modules, name, None)
    del sys.modules[name]

    def load() -> Any:  # noqa: ANN401  # whatever a module has
        return kernel._load(name, tmp_path / f"{name}.py", "import sys\nsys.may_end.wait(30)\nrun = 7\n").run

    with ThreadPoolExecutor(2) as pool:
        loads = [pool.submit(load), pool.submit(load)]
        for _ in loads:
            lock.arrivals.get(timeout=30)
        may_end.set()
        assert [each.result() for each in loads] == [7, 7]


@pytest.mark.soak
def test_one_of_several_processes_compiles_and_the_others_load(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WARM_UP, str(tmp_path)]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    compiled = sorted(int(process.communicate()[0]) for process in started)
    assert compiled[:2] == [0, 0]
    assert compiled[2] > 0


@pytest.mark.soak
def test_damaged_machine_code_is_compiled_again_and_never_run(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WARM_UP, str(tmp_path)]

    def compiled() -> int:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return int(done.stdout)

    assert compiled() > 0
    assert compiled() == 0
    [run] = tmp_path.glob("*/*.run-*.compiled")
    [begin] = tmp_path.glob("*/*.begin-*.compiled")
    [part] = tmp_path.glob("*/*.apply_records-*.compiled")
    [source] = tmp_path.glob("*/feature_service_kernel_*.py")
    for path, calls in ((run, 1), (begin, 1), (part, 0)):
        content = bytearray(path.read_bytes())
        for at in range(len(content) // 4, len(content), 997):
            content[at] ^= 0x55
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert compiled() == calls, path.name
        assert hashlib.sha256(path.read_bytes()[32:]).digest() == path.read_bytes()[:32]
        assert compiled() == 0
    source.write_text("raise SystemExit('not ours')\n")
    compiled()
    assert compiled() == 0


def test_a_folder_that_cannot_be_written_is_loaded_from(tmp_path: Path) -> None:
    kernel = compile_kernel(feature_set("2", NAMES), tmp_path)
    kernel.warm_up()
    marked = {path.name for path in kernel.folder.iterdir()}
    assert {"compiled", "lock"} <= marked
    kernel.warm_up()
    assert {path.name for path in kernel.folder.iterdir()} == marked
