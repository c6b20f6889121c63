"""A compaction that is killed anywhere leaves a readable store, which the next one completes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.compacted_tapes import compact, contents, seqs, write_tape

MOST = 10_000
"""More calls than a compaction makes."""

KILLED = """
import os, signal, sys
from pathlib import Path
import storage.durable_files, storage.raw.parquet, storage.raw.manifest
from ingestion.tape.compaction import compact_tape
from storage.instruments import InstrumentPins
left = int(sys.argv[2])
real = {name: getattr(os, name) for name in ("fsync", "replace", "open", "unlink")}
def counted(name):
    def step(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*arguments, **options)
    return step
for name in real:
    setattr(os, name, counted(name))
compact_tape(Path(sys.argv[1]), "BTCUSDT", InstrumentPins(Path(sys.argv[1])))
print(left)
"""


def killed_after(root: Path, steps: int) -> int | None:
    """Compact in a process that dies after so many calls of the system; None when it did, else the calls left."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(steps)],
        cwd=Path(__file__).parents[4],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return int(done.stdout)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return None


def check_killed(folder: Path, chosen: Callable[[int], Sequence[int]]) -> int:
    """Kill compactions at the chosen ones of so many calls; their number."""
    write_tape(folder / "whole", [0, 1])
    compact(folder / "whole")  # first: what it compiles on a new machine are calls too, which are made once
    expected = contents(folder / "whole")
    write_tape(folder / "count", [0, 1])
    left = killed_after(folder / "count", MOST)
    assert left is not None
    for step in chosen(MOST - left):
        root = folder / str(step)
        write_tape(root, [0, 1])
        assert killed_after(root, step) is None
        found = seqs(root)
        assert found in ([], [1, 2, 3, 4, 5], list(range(1, 11)))
        compact(root)
        assert contents(root) == expected
        assert [path for path in root.rglob(".part-*") if path.is_file()] == []
    return MOST - left


def test_compaction_killed_anywhere_leaves_a_readable_store_that_the_next_one_completes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    check_killed(tmp_path, lambda calls: sorted({int(step) for step in rng.integers(0, calls, 4)} | {calls - 1}))


@pytest.mark.soak
def test_compaction_killed_at_every_call_of_the_system_leaves_a_readable_store(tmp_path: Path) -> None:
    calls = check_killed(tmp_path, range)
    print(f"compaction: killed at each of {calls} calls of the system, none left an unreadable store")
