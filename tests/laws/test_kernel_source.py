"""Source rules of the kernel: nothing whose bits depend on the processor, on the clock or on chance."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import transforms
from tests.laws.columns import every_feature
from transforms.engine import FIELDS
from transforms.plan import kernel_source
from transforms.row_part import row_parts

PACKAGE: Final = Path(next(iter(transforms.__path__)))
SOURCES: Final = sorted(PACKAGE.rglob("*.py"))
ALLOWED_OF_MATH: Final = {"nan", "inf", "isnan", "sqrt"}
"""IEEE 754 rounds a square root correctly; the C library's sine, logarithm and power differ in their last bit."""
FORBIDDEN_NAMES: Final = {"prange", "fastmath", "uint8", "uint16", "uint32", "uint64", "uintp", "ulonglong", "float32"}
FORBIDDEN_MODULES: Final = {"time", "random", "secrets", "datetime", "os.urandom"}
COMPILED: Final = {"jit", "jit_alone", "jit_inside", "jit_part", "njit", "feature"}


def kernel_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The functions that are compiled."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name in COMPILED:
                    yield node


def breaches(source: str) -> list[str]:
    """What the source has that no kernel may have."""
    tree = ast.parse(source)
    found: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [f"import {alias.name}" for alias in names if alias.name in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str(module), names=names):
                found += [f"from {module}" for _ in names[:1] if module in FORBIDDEN_MODULES]
                found += [
                    f"from math import {alias.name}"
                    for alias in names
                    if module == "math" and alias.name not in ALLOWED_OF_MATH
                ]
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in FORBIDDEN_NAMES:
                found.append(name)
            case ast.keyword(arg=("fastmath" | "parallel") as option):
                found.append(f"{option}=")
            case _:
                pass
    for function in kernel_functions(tree):
        for node in ast.walk(function):
            match node:
                case ast.Attribute(value=ast.Name(id="math"), attr=name) if name not in ALLOWED_OF_MATH:
                    found.append(f"{function.name}: math.{name}")
                case ast.Attribute(value=ast.Name(id=("np" | "numpy") as module), attr=name):
                    found.append(f"{function.name}: {module}.{name}")
                case ast.BinOp(op=ast.Pow()) | ast.AugAssign(op=ast.Pow()):
                    found.append(f"{function.name}: **")
                case ast.Call(func=ast.Name(id=("pow" | "sum" | "hash" | "set") as name)):
                    found.append(f"{function.name}: {name}()")
                case ast.Call(func=ast.Attribute(attr=("sum" | "mean" | "std" | "var" | "dot" | "cumsum") as name)):
                    found.append(f"{function.name}: .{name}()")
                case ast.BinOp(op=ast.MatMult()):
                    found.append(f"{function.name}: @")
                case _:
                    pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_of_the_kernel_breaks_its_source_rules(path: Path) -> None:
    assert breaches(path.read_text()) == []


def test_the_generated_kernel_keeps_the_source_rules() -> None:
    everything = every_feature()
    source = kernel_source(everything)
    assert breaches(source) == []
    assert len(list(kernel_functions(ast.parse(source)))) == 2
    for part in row_parts(everything.columns):
        assert breaches(part.source) == []
        assert len(list(kernel_functions(ast.parse(part.source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from random import random",
        "from math import log",
        "@jit\ndef f(x): return math.log(x)",
        "@jit\ndef f(x): return x ** 2",
        "@jit\ndef f(x): return np.sum(x)",
        "@jit\ndef f(x): return x.sum()",
        "@jit\ndef f(x): return sum(x)",
        '@feature("f")\ndef f(x): return math.sin(x)',
        "@numba.njit(cache=True)\ndef f(x): return math.exp(x)",
        "numba.njit(fastmath=True)",
        "numba.njit(parallel=True)",
        "@jit\ndef f(x):\n    for i in numba.prange(x): pass",
        "x = np.uint64(1)",
    ],
)
def test_the_source_rules_see_every_breach(source: str) -> None:
    assert breaches(source) != []


def test_importing_the_transforms_loads_no_outside_system() -> None:
    # Not yaml: numba itself looks for a .numba_config.yaml where PyYAML is there.
    outside = ("feast", "redis", "pandas", "pyarrow", "fastapi", "sqlalchemy", "pydantic", "polars", "msgspec")
    program = (
        "import sys; import transforms.engine, transforms.catalogue, transforms.kernel; "
        f"print(sorted(set({outside!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_kernel_reads_the_fields_that_a_rebuild_reads() -> None:
    read = set()
    for path in SOURCES:
        for function in kernel_functions(ast.parse(path.read_text())):
            for node in ast.walk(function):
                match node:
                    case (
                        ast.Attribute(value=ast.Name(id="record"), attr=str(field), ctx=ast.Load())
                        | ast.Subscript(value=ast.Name(id="record"), slice=ast.Constant(value=field), ctx=ast.Load())
                    ):
                        read.add(field)
                    case _:
                        pass
    assert read | {"seq"} == set(FIELDS)
