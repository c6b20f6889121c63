"""Compiled functions are kept on disk for the next kernel, and what is damaged there is compiled again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numba.core import event

from transforms.kept_functions import Linker, functions_folder

PACKAGE = "kept_by_test"
SOURCE = """
import numpy as np
from transforms.jit import jit, jit_part

@jit
def twice(x):
    return 2 * x

@jit
def twice_and_one(x):
    return twice(x) + 1

@jit_part
def apart(x, y):
    return twice(x) + y

@jit
def calls_a_part(x):
    return apart(x, 1) + apart(x, 2)

@jit
def total(x):
    return np.ones(x).sum()

@jit
def calls_numpy(x):
    return total(x) + 1.0

@jit
def factorial(x):
    return 1 if x < 2 else x * factorial(x - 1)

@jit
def calls_itself(x):
    return factorial(x)

@jit
def even(x):
    return True if x == 0 else odd(x - 1)

@jit
def odd(x):
    return False if x == 0 else even(x - 1)

@jit
def calls_a_circle(x):
    return even(x)

def added(number):
    @jit
    def add(x):
        return x + number
    return add

add_one, add_two = added(1), added(2)

@jit
def calls_two_of_a_name(x):
    return add_one(x) * add_two(x)
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    written = tmp_path / "module.py"
    written.write_text(SOURCE)
    yield written
    for name in [each for each in sys.modules if each.startswith((PACKAGE, "outside_of_test"))]:
        del sys.modules[name]


class Compiled(event.Listener):
    """The names of the functions that numba compiles."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def on_start(self, event: event.Event) -> None:
        self.names.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event: event.Event) -> None:
        pass


def loaded(path: Path, name: str) -> ModuleType:
    """As a new process has it: nothing of it is compiled."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def called(
    path: Path, folder: Path, function: str, *arguments: float, module: str = f"{PACKAGE}.module"
) -> tuple[list[Any], set[str]]:
    """Answers of a new process, and what it compiled of the module."""
    entry = Linker(folder, [PACKAGE]).entry(getattr(loaded(path, module), function), folder)
    compiled = Compiled()
    with event.install_listener("numba:compile", compiled):
        answers = [entry(each) for each in arguments]
    return answers, {name for name in compiled.names if f"def {name}(" in SOURCE}


def damage(files: Iterator[Path]) -> None:
    for kept in files:
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(bytes(content))


def test_a_function_is_compiled_once_for_each_type_of_its_arguments(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    both = {"twice_and_one", "twice"}
    assert called(path, folder, "twice_and_one", 3) == ([7], both)
    assert called(path, folder, "twice_and_one", 3) == ([7], set())
    assert called(path, folder, "twice_and_one", 0.25) == ([1.5], both)
    for kept in folder.glob("*twice_and_one*"):
        kept.unlink()
    assert called(path, folder, "twice_and_one", 3, 0.25) == ([7, 1.5], {"twice_and_one"})
    assert not list(folder.glob(".*"))


def test_a_function_is_compiled_once_for_all_numbers_that_stand_in_calls(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    called(path, folder, "calls_a_part", 3)
    assert len(list(folder.glob("*.apart-*"))) == 1


def test_a_part_is_compiled_apart_from_what_calls_it(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    assert called(path, folder, "calls_a_part", 3) == ([15], {"calls_a_part", "apart", "twice"})
    for kept in folder.glob("*calls_a_part*"):
        kept.unlink()
    assert called(path, folder, "calls_a_part", 3) == ([15], {"calls_a_part"})
    damage(folder.glob("*.apart-*"))
    assert called(path, folder, "calls_a_part", 3) == ([15], {"apart"})
    assert called(path, folder, "calls_a_part", 3) == ([15], set())


@pytest.mark.parametrize(
    ("function", "answer", "compiled"),
    [
        ("calls_numpy", 5.0, {"calls_numpy"}),
        ("calls_itself", 24, {"calls_itself"}),
        ("calls_two_of_a_name", 30, {"calls_two_of_a_name", "add"}),
    ],
)
def test_what_is_loaded_gives_the_same(
    path: Path, tmp_path: Path, function: str, answer: float, compiled: set[str]
) -> None:
    folder = tmp_path / "functions"
    assert called(path, folder, function, 4)[0] == [answer]
    assert called(path, folder, function, 4) == ([answer], set())
    for kept in folder.glob(f"*.{function}-*"):
        kept.unlink()
    assert called(path, folder, function, 4) == ([answer], compiled)


def test_functions_that_call_each_other_in_a_circle_are_compiled_for_each_kernel(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    compiled = {"calls_a_circle", "even", "odd"}
    assert called(path, folder, "calls_a_circle", 4, 5) == ([True, False], compiled)
    assert called(path, folder, "calls_a_circle", 4, 5) == ([True, False], compiled)


def test_a_damaged_file_is_not_loaded(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    called(path, folder, "twice_and_one", 3)
    damage(folder.iterdir())
    assert called(path, folder, "twice_and_one", 3) == ([7], {"twice_and_one", "twice"})
    assert called(path, folder, "twice_and_one", 3) == ([7], set())


def test_a_folder_that_takes_no_file_costs_the_compiling_alone(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.write_text("a file")
    assert called(path, folder, "twice_and_one", 3)[0] == [7]


def test_of_other_packages_nothing_is_kept_for_other_kernels(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    assert called(path, folder, "twice_and_one", 3, module="outside_of_test")[0] == [7]
    assert [kept.name.partition("-")[0] for kept in folder.iterdir()] == ["outside_of_test.twice_and_one"]


def test_for_python_a_function_stays_as_it_is(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    module = loaded(path, f"{PACKAGE}.module")
    Linker(folder, [PACKAGE]).entry(module.twice_and_one, folder)
    assert module.twice_and_one(3) == 7
    assert not folder.exists()


def test_another_source_has_another_folder(tmp_path: Path) -> None:
    assert functions_folder(tmp_path, ["market"]) == functions_folder(tmp_path, ["market"])
    assert functions_folder(tmp_path, ["market"]) != functions_folder(tmp_path, ["market", "transforms"])
