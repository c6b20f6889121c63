"""The guide to trying a new registry version: each of its commands is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from runtime.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "registry.md"
[GUIDE] = re.findall(r"^## Trying a new version\n(.*?)^## ", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [line.strip() for line in GUIDE.splitlines() if line.startswith("    feature-service ")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_guide_is_taken(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3.0.0.yaml").touch()
    _, group, name, *words = shlex.split(line, comments=True)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group's
    command = commands[group].commands[name]
    with command.make_context(name, words) as context:
        assert context.params


def test_the_guide_goes_from_a_file_to_served_rows_and_back() -> None:
    steps = [shlex.split(line, comments=True)[2] for line in COMMANDS]
    assert " ".join(steps) == "validate create diff build activate list end-shadow activate rollback delete"
