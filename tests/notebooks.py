"""The notebooks of ``examples/notebooks``, run as scripts where their data is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NOTEBOOKS: Final = ROOT / "examples" / "notebooks"
DEADLINE_S: Final = 400


def run_notebooks(names: list[str], folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What each prints, one after the other in one interpreter, each with names of its own, in ``folder``."""
    script = (
        "import runpy, sys\n"
        "for path in sys.argv[1:]:\n"
        "    print(f'\\f{path}')\n"
        "    runpy.run_path(path, run_name='__main__')\n"
    )
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", script, *(f"{NOTEBOOKS / name}.py" for name in names)],
        cwd=folder,
        env={**environment, "PATH": programs, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert ran.returncode == 0, (ran.stdout[-2000:], ran.stderr[-3000:])
    told = [part.partition("\n") for part in ran.stdout.split("\f")[1:]]
    return {Path(path).stem: text for path, _, text in told}
