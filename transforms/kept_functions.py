"""The compiled functions that kernels call, kept on disk one by one, so that a new kernel compiles its own code alone.

1. A folder belongs to the source of the packages and to numba's version: what an imported function was made of is in
   its name. A file belongs to a function, its argument types and the processor.
2. A file begins with the hash of what follows: one that is damaged is compiled again, not loaded.
3. Files are written whole and replaced at once, so processes that compile at the same time need no lock.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numba
from numba.core import serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher

from transforms.source_digest import source_digest

_DIGEST_BYTES: Final = 32


def functions_folder(cache_folder: Path, packages: Sequence[str]) -> Path:
    """Where compiled functions of these packages, as their source is now, are kept."""
    digest = hashlib.sha256((source_digest(tuple(packages)) + numba.__version__).encode()).hexdigest()
    return cache_folder / f"functions-{digest[:24]}"


@contextmanager
def kept_functions(folder: Path, packages: Sequence[str]) -> Iterator[None]:
    """Inside, functions of these packages that numba compiles are loaded from the folder, or written to it."""
    kept = [each for each in _functions(packages) if isinstance(each._cache, NullCache)]  # noqa: SLF001  # as below
    for function in kept:
        function._cache = _KeptFunction(function, folder)  # noqa: SLF001  # numba has no door for it
    try:
        yield
    finally:
        for function in kept:
            function._cache = NullCache()  # noqa: SLF001  # as above


def _functions(packages: Sequence[str]) -> list[Any]:
    """Each compiled function of the modules that are imported, once."""
    found: dict[int, Any] = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and module is not None:
            found |= {id(each): each for each in vars(module).values() if isinstance(each, Dispatcher)}
    return [each for each in found.values() if each.py_func.__module__.partition(".")[0] in packages]


class _KeptFunction:
    """What numba asks of the cache of one function."""

    def __init__(self, function: Any, folder: Path) -> None:  # numba's dispatcher
        python = function.py_func
        self._name = f"{python.__module__}.{python.__qualname__}"
        self._identity = f"{self._name}:{python.__code__.co_firstlineno}:{sys.version_info[:2]}"
        self._folder = folder
        self.cache_path = str(folder)

    def load_overload(self, signature: Any, target: Any) -> Any:  # numba's, as are those below
        target.refresh()
        try:
            content = self._path(signature, target.codegen()).read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        rebuild: Any = CompileResult._rebuild  # noqa: SLF001  # what numba's own cache calls
        return rebuild(target, *pickle.loads(payload))  # noqa: S301  # written by us, proven

    def save_overload(self, signature: Any, result: Any) -> None:
        if result.library.has_dynamic_globals or result.lifted:
            return  # its code holds addresses of this process
        write: Any = serialize.dumps
        payload: bytes = write(result._reduce())  # noqa: SLF001  # as above
        path = self._path(signature, result.codegen)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(hashlib.sha256(payload).digest() + payload)
            unfinished.replace(path)
        except OSError:
            return  # where nothing can be kept, every kernel compiles all of its own

    def _path(self, signature: Any, codegen: Any) -> Path:
        key = f"{self._identity} {signature} {codegen.magic_tuple()}"
        return self._folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.compiled"
