"""Files that wait for an object store: each process has a folder, and what a killed one left is removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_WRITES_AND_WAITS = """
from storage.objects.staging import staging_folder
(staging_folder() / "file").write_bytes(b"half")
print(staging_folder(), flush=True)
input()
"""


@pytest.fixture
def temporary(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose temporary files are here."""
    return {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}


def _process(environment: dict[str, str]) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITES_AND_WAITS],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(temporary: dict[str, str]) -> None:
    killed, left = _process(temporary)
    living, kept = _process(temporary)
    assert (left / "file").exists()
    killed.kill()
    killed.communicate()

    third, _ = _process(temporary)
    third.communicate("\n")

    assert not left.exists()
    assert (kept / "file").read_bytes() == b"half"
    living.communicate("\n")
    assert not kept.exists(), "a process that ends removes its own"
