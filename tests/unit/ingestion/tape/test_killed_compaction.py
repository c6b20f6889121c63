"""A compaction that is killed anywhere leaves a readable store, which the next one completes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.compacted_tapes import compact, contents, seqs, write_tape

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


def check_killed(folder: Path, steps: list[int]) -> None:
    write_tape(folder / "whole", [0, 1])
    compact(folder / "whole")
    expected = contents(folder / "whole")
    for step in steps:
        root = folder / str(step)
        write_tape(root, [0, 1])
        assert killed_after(root, step) is None
        found = seqs(root)
        assert found in ([], [1, 2, 3, 4, 5], list(range(1, 11)))
        compact(root)
        assert contents(root) == expected
        assert [path for path in root.rglob(".part-*") if path.is_file()] == []


def test_compaction_killed_anywhere_leaves_a_readable_store_that_the_next_one_completes(tmp_path: Path) -> None:
    write_tape(tmp_path / "count", [0, 1])
    left = killed_after(tmp_path / "count", 10_000)
    assert left is not None
    calls = 10_000 - left
    rng = np.random.default_rng(5)
    check_killed(tmp_path, sorted({int(step) for step in rng.integers(0, calls, 4)} | {calls - 1}))


@pytest.mark.soak
def test_compaction_killed_at_every_call_of_the_system_leaves_a_readable_store(tmp_path: Path) -> None:
    write_tape(tmp_path / "count", [0, 1])
    left = killed_after(tmp_path / "count", 10_000)
    assert left is not None
    check_killed(tmp_path, list(range(10_000 - left)))
    print(f"compaction: killed at each of {10_000 - left} calls of the system, none left an unreadable store")
