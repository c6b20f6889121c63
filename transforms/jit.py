"""How every kernel function is compiled: IEEE division, no GIL, no fast math, and the same bits with the JIT off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from transforms.machine_code import prove

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile ``function`` on its first call; with NUMBA_DISABLE_JIT=1 it stays plain Python."""
    return cast("F", numba.njit(error_model="numpy", nogil=True)(function))


def jit_inside(function: F) -> F:
    """Compile ``function`` for calls from other compiled functions alone, which takes half the time."""
    # numba's stubs leave these two options out.
    without_wrappers: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast("F", numba.njit(error_model="numpy", nogil=True, **without_wrappers)(function))


def jit_part(function: F) -> F:
    """``jit`` for a function that kernels call by its name, machine code of its own, where they contain others."""
    function.__dict__["is_part"] = True
    return jit(function)


def is_part(function: Callable[..., Any]) -> bool:
    """Whether a plain Python function was given to ``jit_part``."""
    return "is_part" in function.__dict__


def jit_alone(function: F) -> F:
    """Compile ``function``, which Python calls and which calls no other compiled one; kept beside its source.

    numba's own cache sees when that source changes, but not when an imported compiled function does.
    """
    compiled = cast("F", numba.njit(error_model="numpy", nogil=True, cache=True)(function))
    prove(compiled)
    return compiled


def jit_over(*modules: ModuleType) -> Callable[[F], F]:
    """``jit_alone`` for a function that calls compiled ones of these modules, which call none of others.

    Compiled again once the source of one of them is another.
    """

    def compiled(function: F) -> F:
        made = cast("F", numba.njit(error_model="numpy", nogil=True, cache=True)(function))
        prove(made, [Path(cast("str", module.__file__)) for module in modules])
        return made

    return compiled


def python_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The plain Python function behind a compiled one."""
    return cast("Callable[..., Any]", getattr(function, "py_func", function))


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether a kernel function runs as machine code; it does not with NUMBA_DISABLE_JIT=1."""
    return hasattr(function, "py_func")


def for_compiled(function: Callable[..., Any], records: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The records as ``function`` takes them: without the JIT they must answer to attribute names."""
    return records if is_compiled(function) else records.view(np.recarray)
