"""Machine code that was made of several files is made again when one of them changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CALLED = """
from transforms.jit import jit_inside

@jit_inside
def called(x):
    return x + {number}
"""
CALLING = """
import called_module
from called_module import called
from transforms.jit import jit_over

@jit_over(called_module)
def calling(x):
    return called(x)

print(calling(1), sum(calling.stats.cache_hits.values()))
"""
ROOT = Path(__file__).resolve().parents[3]


def test_a_function_is_compiled_again_once_a_module_that_it_calls_changes(tmp_path: Path) -> None:
    (tmp_path / "calling_module.py").write_text(CALLING)
    answers = []
    for number in (1, 1, 2, 2):
        (tmp_path / "called_module.py").write_text(CALLED.format(number=number))
        command = [
            sys.executable,
            "-B",
            "-c",
            f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; import calling_module",
        ]
        answers.append(
            subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        )
    assert answers == [["2", "0"], ["2", "1"], ["3", "0"], ["3", "1"]]
