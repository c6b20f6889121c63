"""Compiled functions are kept on disk for the next kernel, and what is damaged there is compiled again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from transforms.kept_functions import functions_folder, kept_functions

NAME = "kept_by_test.module"
SOURCE = """
import numba

@numba.njit
def twice(x):
    return 2 * x

@numba.njit
def twice_and_one(x):
    return twice(x) + 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    written = tmp_path / "module.py"
    written.write_text(SOURCE)
    yield written
    sys.modules.pop(NAME, None)


def loaded(path: Path) -> ModuleType:
    """As a new process has it: nothing of it is compiled."""
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


def called(path: Path, folder: Path, *arguments: float) -> tuple[list[Any], int, int]:
    """Answers of a new process, and how often it loaded and compiled ``twice``."""
    module = loaded(path)
    with kept_functions(folder, ["kept_by_test"]):
        answers = [module.twice_and_one(each) for each in arguments]
    stats = module.twice.stats
    return answers, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())


def test_a_function_is_compiled_once_for_each_type_of_its_arguments(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    assert called(path, folder, 3) == ([7], 0, 1)
    assert called(path, folder, 3) == ([7], 0, 0)  # the caller's code holds it
    assert called(path, folder, 0.25) == ([1.5], 0, 1)
    for kept in folder.glob("*twice_and_one*"):
        kept.unlink()
    assert called(path, folder, 3, 0.25) == ([7, 1.5], 2, 0)
    assert not list(folder.glob(".*"))


def test_a_damaged_file_is_not_loaded(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    called(path, folder, 3)
    for kept in folder.iterdir():
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(bytes(content))
    assert called(path, folder, 3) == ([7], 0, 1)
    assert called(path, folder, 3) == ([7], 0, 0)


def test_a_folder_that_takes_no_file_costs_the_compiling_alone(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    folder.write_text("a file")
    assert called(path, folder, 3) == ([7], 0, 1)


def test_outside_nothing_is_kept(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "functions"
    module = loaded(path)
    with kept_functions(folder, ["kept_by_test"]):
        pass
    assert module.twice_and_one(3) == 7
    assert not folder.exists()


def test_another_source_has_another_folder(tmp_path: Path) -> None:
    assert functions_folder(tmp_path, ["market"]) == functions_folder(tmp_path, ["market"])
    assert functions_folder(tmp_path, ["market"]) != functions_folder(tmp_path, ["market", "transforms"])
