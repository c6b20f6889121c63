"""Commands as they are typed: in a process of their own, or in this one, which has imported what they need."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Final

import pytest

from runtime.cli import exit_code

PROGRAM: Final = ("-c", "from runtime.cli import main; main()")
"""What ``feature-service`` runs, for a Python."""
_SEVERAL: Final = """
import json, sys
from runtime.cli import exit_code
sys.exit(max(exit_code(*words) for words in json.loads(sys.argv[1])))
"""
SEVERAL: Final = ("-c", _SEVERAL)
"""Commands one after the other in a process that imports once; their words as a JSON list of lists."""


def typed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in this process; to import what it needs takes most commands longer than to run."""
    out, err = io.StringIO(), io.StringIO()
    words = [*map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", sys.argv)  # which the command line sets
        code = exit_code(*words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def feature_service(*arguments: object) -> tuple[int, Any]:
    """Exit code and the document that the command prints with ``--json``, in this process."""
    ran = typed(*arguments, "--json")
    return ran.returncode, json.loads(ran.stdout)
