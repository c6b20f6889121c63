"""Every code block of the pages is one that works: those of the demo's data are run by ``test_demo``, others are read.

A block that needs servers of its own, such as those of compose, is checked by its syntax and by what it names.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml
from typer.main import get_command

from api.build_request import BuildRequest
from feature_repo.registry_versions import check_registry
from runtime import cli
from storage.tables.mapping import load_mapping
from tests.code_blocks import ROOT, Block, blocks, parsed, shell_lines
from tests.deployed import SERVICES, SETTINGS

FOUND: Final = blocks()
OF: Final = {
    language: [each for each in FOUND if each.language == language] for language in {b.language for b in FOUND}
}
USAGE: Final = typer.BadParameter.__bases__[0]
"""What Typer raises for words that a command does not take."""
PROGRAMS: Final = {"feature-service", "make", "python", "pytest", "docker", "helm"}
"""Whose arguments are looked at; of others, ``curl`` and ``git`` say, the syntax alone."""


def test_every_block_is_in_a_language_that_is_checked() -> None:
    assert set(OF) == {"bash", "python", "json", "yaml", "toml", "env", "sql", "drawing"}
    assert len(FOUND) > 45


@pytest.mark.parametrize("block", OF["bash"], ids=str)
def test_a_block_of_commands_is_what_a_shell_and_the_programs_understand(block: Block, tmp_path: Path) -> None:
    subprocess.run(["bash", "-n"], input=block.text.replace("<id>", "ID"), text=True, check=True, capture_output=True)  # noqa: S607
    for line in shell_lines(block):
        words = shlex.split(line)
        if words and words[0] in PROGRAMS:
            check(words, tmp_path)


def check(words: list[str], folder: Path) -> None:
    program, arguments = words[0], words[1:]
    if program == "feature-service":
        parse(arguments, folder)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif program == "python" and arguments[0] == "-m":
        module = ROOT / arguments[1].replace(".", "/")
        assert arguments[1] == "pytest" or module.is_dir() or module.with_suffix(".py").is_file(), words
    elif program == "python":
        assert (ROOT / arguments[0]).is_file(), words
    elif program == "pytest":
        assert all((ROOT / each).exists() for each in arguments if each.startswith("tests/")), words
    elif program == "docker":
        named = set(arguments) & {"feature-service", *SERVICES}
        assert arguments[0] == "compose", words
        assert named <= set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]), words
    elif program == "helm":
        assert (ROOT / arguments[2] / "Chart.yaml").is_file(), words


def parse(arguments: list[str], folder: Path) -> None:
    """Read the words as the command would, without running it; files that they name are there."""
    command: Any = get_command(cli.app)
    context, given = None, [each for each in arguments if each != "..."]
    for each in given:
        if Path(each).suffix in {".yaml", ".json", ".gz"} and not Path(each).is_absolute():
            path = folder / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    here = Path.cwd()
    os.chdir(folder)
    try:
        while hasattr(command, "commands"):
            context = command.context_class(command, info_name=command.name, parent=context)
            name, *given = given
            assert name in command.commands, arguments
            command = command.commands[name]
        command.make_context(command.name, given, parent=context)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("words", ["dataset build --bogus 1", "datasets list", "features latest", "run --data"])
def test_a_command_that_is_not_one_is_noticed(words: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, USAGE)):
        parse(words.split(), tmp_path)


@pytest.mark.parametrize("block", OF["python"], ids=str)
def test_a_block_of_python_compiles(block: Block) -> None:
    """Where a declaration stands without a body, its docstring is the body."""
    text = block.text if not block.text.endswith(":") else f"{block.text}\n    pass"
    ast.parse(text)


def test_the_block_that_checks_a_message_takes_one_that_is_sent() -> None:
    [block] = [each for each in OF["python"] if "Draft202012Validator" in each.text]
    vector = {
        "timestamp": "2026-01-05T12:00:01Z",
        "symbol": "BTCUSDT",
        "features": {"mid_price": 65000.5},
        "missing": {},
        "groups": {"price": "OK"},
        "feature_registry_version": "1.0.0",
        "feature_set": "0" * 16,
        "age_ms": 12,
        "trace_id": "1",
    }
    for given, code in ((vector, 0), ({**vector, "age_ms": "12"}, 1)):
        script = f"body = {json.dumps(given)!r}\n{block.text}"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize("block", OF["json"] + OF["toml"], ids=str)
def test_a_document_is_one_that_its_reader_takes(block: Block) -> None:
    document = parsed(block)
    assert isinstance(document, dict)
    if "features" in document:
        assert set(document) <= set(BuildRequest.model_fields) | {
            each.alias for each in BuildRequest.model_fields.values() if each.alias
        }
    if "target_config" in document and "..." not in block.text:
        BuildRequest.model_validate(document).to_request("2.1.0")
    if "project" in document:
        [(_, entries)] = document["project"]["entry-points"].items()
        for place in entries.values():
            assert (ROOT / "examples" / "own_features" / place.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("block", OF["yaml"], ids=str)
def test_a_block_of_yaml_is_one_that_its_reader_takes(block: Block, tmp_path: Path) -> None:
    document: dict[str, Any] = yaml.safe_load(block.text)
    if "features" in document:
        check_registry(document, tmp_path / f"{document['version']}.yaml")
    elif "table" in document:
        (tmp_path / "daily_bars.yaml").write_text(block.text)
        assert load_mapping(tmp_path / "daily_bars.yaml").table == "daily_bars"
    assert document


@pytest.mark.parametrize("block", OF["env"], ids=str)
def test_every_variable_of_a_block_is_a_setting(block: Block) -> None:
    of_compose = set(re.findall(r"[A-Z][A-Z_]+", (ROOT / "docker-compose.yml").read_text()))
    named = {line.partition("=")[0] for line in block.text.splitlines()}
    assert {name for name in named if not name.startswith("AWS_")} <= SETTINGS | of_compose  # AWS_: of its SDK's chain
