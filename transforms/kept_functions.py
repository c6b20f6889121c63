"""Compiled functions on disk: what one kernel was compiled of is loaded for the next, and nothing that is damaged.

1. A folder belongs to the source of the packages and to numba's version: what an imported function was made of is in
   its name. A file belongs to a function, its argument types and the processor.
2. A file begins with the hash of what follows: one that is damaged is compiled again, not loaded.
3. Files are written whole and replaced at once, so processes that compile at the same time need no lock.
4. A function refers to those that it calls by module, name and argument types: they are loaded, or compiled, before it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, Final

import numba
from numba.core import serialize
from numba.core.compiler import compile_result
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from transforms.jit import is_part
from transforms.parts import (
    Fragment,
    FragmentCompiler,
    LinkedFunction,
    Part,
    PartCompiler,
    entry_point,
    holds_addresses,
    is_named,
)
from transforms.source_digest import source_digest

_DIGEST_BYTES: Final = 32


def functions_folder(cache_folder: Path, packages: Sequence[str]) -> Path:
    """Where compiled functions of these packages, as their source now is, are kept."""
    digest = hashlib.sha256((source_digest(tuple(packages)) + numba.__version__).encode()).hexdigest()
    return cache_folder / f"functions-{digest[:24]}"


class Linker:
    """Compiles functions of fragments and parts, and keeps those of the packages in the folder."""

    def __init__(self, folder: Path, packages: Sequence[str]) -> None:
        self._folder = folder
        self._packages = tuple(packages)
        self._linked: dict[int, tuple[Any, Any]] = {}

    def entry(self, function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
        """The function, for Python to call, of parts and kept in a folder of its own; as it is without the JIT."""
        if not isinstance(function, Dispatcher):
            return function
        with global_compiler_lock:
            return self._made(function, PartCompiler, folder, no_cpython_wrapper=False)

    def library(self, origin: tuple[str, str, tuple[Any, ...]]) -> Any:
        """The fragment or part of a module's function for arguments of these types, loaded or compiled."""
        module, name, arguments = origin
        linked = self._inside(getattr(sys.modules[module], name))
        linked.compile(arguments)
        return linked.overloads[arguments].library

    def _inside(self, function: Any) -> Any:
        """The function as compiled code calls it."""
        if id(function) not in self._linked:
            python = function.py_func
            kind = PartCompiler if is_part(python) else FragmentCompiler
            is_kept = python.__module__.partition(".")[0] in self._packages and is_named(python)
            self._made(function, kind, self._folder if is_kept else None, no_cpython_wrapper=True)
        return self._linked[id(function)][1]

    def _made(self, function: Any, kind: type[FragmentCompiler], folder: Path | None, **options: bool) -> Any:
        """A second function of the same code, which calls such ones too; the first stays as it is for Python."""
        python = function.py_func
        scope = dict(python.__globals__)
        cells = [CellType(each.cell_contents) for each in python.__closure__ or ()]
        copy = FunctionType(python.__code__, scope, python.__name__, python.__defaults__, tuple(cells))
        copy.__module__, copy.__qualname__ = python.__module__, python.__qualname__
        copy.__kwdefaults__ = python.__kwdefaults__
        made: Any = LinkedFunction(
            copy, targetoptions={**function.targetoptions, "no_cfunc_wrapper": True, **options}, pipeline_class=kind
        )
        made._cache = _KeptFunction(copy, folder, self)  # noqa: SLF001  # numba has no door for it
        self._linked[id(function)] = function, made
        for name in python.__code__.co_names:
            if isinstance(called := scope.get(name), Dispatcher) and _is_ours(called):
                scope[name] = self._inside(called)
        for cell in cells:
            if isinstance(called := cell.cell_contents, Dispatcher) and _is_ours(called):
                cell.cell_contents = self._inside(called)
        return made


def _is_ours(function: Any) -> bool:
    """Whether it is compiled as ``jit`` does; how another is compiled is its own affair."""
    options = {name: value for name, value in function.targetoptions.items() if not name.endswith("_wrapper")}
    return options == {"nopython": True, "error_model": "numpy", "nogil": True, "boundscheck": None}


class _KeptFunction:
    """What numba asks of the cache of one function. folder: None for one that is not kept."""

    cache_path = None

    def __init__(self, function: Any, folder: Path | None, linker: Linker) -> None:
        self._module, self._name = function.__module__, function.__qualname__
        self._folder = folder
        self._linker = linker

    def load_overload(self, signature: Any, target: Any) -> Any:  # numba's, as are those below
        if self._folder is None:
            return None
        target.refresh()
        codegen = target.codegen()
        try:
            content = self._path(self._folder, signature, codegen).read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        kind, code, origins, described, environments, found = pickle.loads(payload)  # noqa: S301  # written by us, proven
        links = [self._linker.library(each) for each in origins]
        library: Any = (
            Part.of(codegen, self._name, code, described.llvm_cpython_wrapper_name, environments[1:])
            if kind == Part.__name__
            else Fragment.of(codegen, self._name, code, links, environments[1:])
        )
        library.origin = (self._module, self._name, found.args)
        rebuilt: Any = compile_result
        return rebuilt(
            target_context=target,
            typing_context=target.typing_context,
            library=library,
            environment=environments[0],
            entry_point=entry_point(target, library, described, environments[0]),
            fndesc=described,
            signature=found,
            objectmode=False,
            lifted=(),
            reload_init=[],
        )

    def save_overload(self, signature: Any, result: Any) -> None:
        library, described = result.library, result.fndesc
        origins = [each.origin for each in library.links]
        if self._folder is None or None in origins:
            return
        if holds_addresses(library) or result.lifted or result.reload_init:
            return
        library.origin = (self._module, self._name, result.signature.args)
        described.typemap = described.calltypes = None
        write: Any = serialize.dumps
        environments = [result.environment, *library.environments]
        kept = (type(library).__name__, library.code, origins, described, environments, result.signature)
        payload: bytes = write(kept)
        path = self._path(self._folder, signature, library.codegen)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(hashlib.sha256(payload).digest() + payload)
            unfinished.replace(path)
        except OSError:
            return  # where nothing can be kept, every kernel compiles all of its own

    def _path(self, folder: Path, signature: Any, codegen: Any) -> Path:
        name = f"{self._module}.{self._name}"
        key = f"{name} {sys.version_info[:2]} {signature} {codegen.magic_tuple()}"
        return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.compiled"
