"""What the machine refuses ends a command by one line, never by a traceback."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import cli

ROOT = Path(__file__).parents[3]


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr("sys.argv", ["feature-service", *arguments])
    cli.run_command()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "; let this user write there, or name another folder with --data"),
        (errno.ENOSPC, "; free some space there, or name another folder with --data"),
        (errno.EACCES, "; let this user write there, or name another folder with --data"),
        (errno.EMFILE, "; raise the limit of open files, as with ulimit -n"),
        (errno.ENAMETOOLONG, ""),
    ],
)
def test_a_disk_that_refuses_is_one_line_that_names_the_file_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, advice: str
) -> None:
    with pytest.raises(SystemExit, match=r"^1$"):
        ended(monkeypatch, OSError(number, "refused", "/data/redis"), "run", "--json")
    told = capsys.readouterr()
    error, step = told.err.splitlines()
    assert error == f"error: /data/redis: cannot be used: refused{advice}"
    assert step.startswith("next: feature-service doctor ")
    assert json.loads(told.out) == {"error": "StoreUnavailable", "message": error.removeprefix("error: ")}


def test_an_error_of_ours_that_nobody_expected_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionResetError):
        ended(monkeypatch, ConnectionResetError(errno.ECONNRESET, "reset"))


def test_a_process_ends_soon_after_its_command_although_a_thread_goes_on() -> None:
    hanging = """\
import sys, threading
import runtime.cli
runtime.cli.EXIT_DEADLINE_S = 0.2
threading.Thread(target=threading.Event().wait).start()
sys.argv = ["feature-service", "--version"]
runtime.cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", hanging], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "exit: must take at most 0.2 s, did not, was forced\n")
    assert done.stdout.startswith("feature-service ")
