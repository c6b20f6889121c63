"""A client of the API that openapi-python-client makes of the document in docs/reference."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "reference" / "openapi.json"
PACKAGE: Final = "feature_service_client"


def generate(folder: Path) -> None:
    """Write the package into a folder. A piece that cannot be made, or a warning of any kind, fails."""
    # It formats what it makes with ruff, which stands beside the interpreter.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(DOCUMENT), "--meta", "none",
         "--output-path", str(folder / PACKAGE), "--fail-on-warning"],
        env={**os.environ, "PATH": programs, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    assert "arning" not in made.stdout, made.stdout
