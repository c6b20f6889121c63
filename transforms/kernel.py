"""The kernel: the compiled functions of a feature set, kept beside their generated source.

The generated module lives in a cache folder named by the hash of its source and of this package's; what it shares with
other kernels, see ``row_part`` and ``kept_functions``, in one named by the hash of the package's source.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Final

import numba
import numpy as np

from market.events import empty_events
from transforms.kept_functions import Linker, functions_folder
from transforms.plan import kernel_source
from transforms.repetition import repetition_source
from transforms.row_part import PARTS, row_parts
from transforms.rows import FeatureSet
from transforms.source_digest import source_digest
from transforms.state import new_state
from transforms.steps import begin

_PACKAGES: Final = ("market", "transforms")
_LOADING: Final = threading.Lock()


@dataclass(frozen=True)
class Kernel:
    """A compiled feature set; the two functions are documented in the generated module."""

    feature_set: FeatureSet
    run: Callable[..., int]
    begin: Callable[..., None]
    folder: Path
    """Where its module is, and its machine code."""

    def warm_up(self) -> None:
        """Compile or load the machine code now instead of at the first record.

        Of several processes one compiles; the others wait, and load what it made. One that dies lets the next compile.
        Functions that another kernel has compiled already are loaded.
        """
        with _compiled_by_one(self.folder), _no_garbage_collected():
            self._call_each()

    def compiled_by(self) -> str | None:
        """The process that compiles it now, as ``pid of host``; None where none does."""
        try:
            with (self.folder / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return (self.folder / "lock").read_text() or None
        except OSError:
            return None
        return None

    def _call_each(self) -> None:
        state = new_state(price_scale=1.0, quantity_scale=1.0)
        columns, groups = len(self.feature_set.columns), len(self.feature_set.groups)
        room = (
            np.empty((1, columns)),
            np.empty((1, columns), np.int8),
            np.empty((1, groups), np.int8),
        )
        self.begin(state, 0)
        self.run(state, empty_events(), 0, np.empty(0, np.int64), *room)


@lru_cache(maxsize=32)
def compile_kernel(feature_set: FeatureSet, cache_folder: Path) -> Kernel:
    """The kernel of a feature set, generated on first use; numba compiles it, or loads it, at the first call.

    cache_folder: where generated modules and their machine code are kept.
    """
    functions = _functions_folder(cache_folder)
    for part in row_parts(feature_set.columns):
        _load(part.module, functions / f"{part.name}.py", part.source)
    source = kernel_source(feature_set)
    identity = hashlib.sha256((source_digest(_PACKAGES) + numba.__version__ + source).encode()).hexdigest()[:24]
    folder = cache_folder / identity
    name = f"feature_service_kernel_{identity}"
    module = _load(name, folder / f"{name}.py", source)
    linker = _linker(functions)
    return Kernel(feature_set, linker.entry(module.run, folder), linker.entry(begin, functions), folder)


@lru_cache(maxsize=1)
def compile_repetition(names: tuple[str, ...], cache_folder: Path) -> Callable[..., None]:
    """The function ``repeat`` of ``transforms.repetition`` for these features, compiled or loaded at the first call."""
    functions = _functions_folder(cache_folder)
    for name in names:
        for part in row_parts([name]):
            _load(part.module, functions / f"{part.name}.py", part.source)
    source = repetition_source(names)
    module_name = f"feature_service_repetition_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    module = _load(module_name, functions / f"{module_name}.py", source)
    return _linker(functions).entry(module.repeat, functions)


def kernel_folders(feature_sets: Iterable[FeatureSet], cache_folder: Path) -> set[Path]:
    """The folders that kernels of these feature sets use: each its own, and that of the functions of all."""
    return {compile_kernel(each, cache_folder).folder for each in feature_sets} | {_functions_folder(cache_folder)}


def _functions_folder(cache_folder: Path) -> Path:
    return functions_folder(cache_folder, _PACKAGES)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Compiling makes so many objects that looking for those out of reach took a ninth of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@lru_cache(maxsize=32)
def _linker(folder: Path) -> Linker:
    return Linker(folder, (*_PACKAGES, PARTS))


def _load(name: str, path: Path, source: str) -> ModuleType:
    """The module of that source, which its name is unique for, and a file of it."""
    # One thread: another would stage a file of the same name, and find a module that is being executed without its
    # functions.
    with _LOADING:
        # The source too is what it was made of: it would run whatever stands in it.
        if not path.is_file() or path.read_bytes() != source.encode():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{name}.{os.getpid()}")
            unfinished.write_text(source)
            unfinished.replace(path)
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return sys.modules[name]


def process_name(pid: int) -> str:
    """Of a process of this machine or container, as ``Kernel.compiled_by`` has it."""
    return f"{pid} of {os.uname().nodename}"


@contextmanager
def _compiled_by_one(folder: Path) -> Iterator[None]:
    compiled = folder / "compiled"
    if compiled.exists() or not os.access(folder, os.W_OK):
        yield
        return
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(process_name(os.getpid()))
        lock.flush()
        yield
        # Before the lock goes: whoever gets it then loads.
        compiled.touch()
