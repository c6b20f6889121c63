"""Commands as they are typed, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = ("-c", "from runtime.cli import main; main()")
"""What ``feature-service`` runs, for a Python."""


def feature_service(*arguments: object) -> tuple[int, Any]:
    """Exit code and the document that the command prints with ``--json``."""
    ran = subprocess.run(
        [sys.executable, *PROGRAM, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    return ran.returncode, json.loads(ran.stdout)
