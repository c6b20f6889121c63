"""Commands that ask before they destroy, and what the command says of itself; nothing is started."""

from __future__ import annotations

import fcntl
import inspect
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from runtime.cli import app
from runtime.commands.dataset_request import feature_choice
from tests.commands import PROGRAM
from training_sets.request.features import FeatureChoice

ROOT = Path(__file__).parents[3]


def test_the_version_is_told() -> None:
    answered = CliRunner().invoke(app, ["--version"])
    assert answered.exit_code == 0
    assert answered.output.startswith("feature-service 0.")


@pytest.mark.parametrize("arguments", [("db", "downgrade", "base"), ("dataset", "delete", "abc")])
def test_what_destroys_asks_first_and_no_is_the_default(arguments: tuple[str, ...]) -> None:
    answered = CliRunner().invoke(app, arguments, input="\n")
    assert answered.exit_code == 1
    assert "[y/N]" in answered.output


def test_features_of_a_dataset_are_named_by_options() -> None:
    assert feature_choice(None, None, is_beside=True) is None
    chosen = feature_choice(["beta:value"], ["venue=bybit", "lot=7"], is_beside=False)
    assert chosen == FeatureChoice(("beta:value",), is_beside=False, keys={"venue": "bybit", "lot": "7"})
    for references, keys in ((None, ["venue=bybit"]), (["beta:value"], ["venue"])):
        with pytest.raises(typer.BadParameter):
            feature_choice(references, keys, is_beside=True)


TELL_NO_DOCUMENT = {
    "run": "it goes on until it is stopped; its log is JSON by a setting",
    "features new": "a file to begin with",
    "features page": "a page in Markdown",
    "mcp": "it speaks a protocol of its own",
}


def named_commands(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401  # Typer's own copy of click
    inner = getattr(command, "commands", None)
    if inner is None:
        yield names, command
    else:
        for name, each in inner.items():
            yield from named_commands(each, (*names, name))


def test_every_command_answers_as_json_but_those_that_have_nothing_to_answer() -> None:
    told = {
        " ".join(names)
        for names, command in named_commands(get_command(app))
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert told == set(TELL_NO_DOCUMENT)


def test_a_command_that_must_be_given_something_shows_an_example_that_it_takes() -> None:
    shown = 0
    for names, command in named_commands(get_command(app)):
        example = re.search(r"Example: (.+)", inspect.cleandoc(command.help or ""))
        assert example or not any(each.required for each in command.params), names
        if example is None:
            continue
        # Without variables before it, and without what is done with its output.
        typed = re.split(r" [|>] ", re.sub(r"^([A-Z_]+=\S+ )+", "", example[1]))[0]
        words = shlex.split(typed)
        assert tuple(words[: len(names) + 1]) == ("feature-service", *names)
        command.make_context(names[-1], words[len(names) + 1 :])  # exits where an option or an argument is not taken
        shown += 1
    assert shown > 40


def on_a_terminal(words: list[str], **environment: str) -> str:
    ours, theirs = pty.openpty()
    others = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLORTERM"}}
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 80, 0, 0))
    try:
        done = subprocess.run(
            [sys.executable, *PROGRAM, *words],
            cwd=ROOT,
            stdout=theirs,
            stderr=theirs,
            env={**others, "TERM": "xterm-256color", **environment},
            check=False,
        )
        assert done.returncode == 0
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_colours_are_for_a_terminal_that_wants_them() -> None:
    words = ["dataset", "--help"]
    coloured = re.compile(r"\x1b\[(\d+;)*[39]\d(;\d+)*m")
    assert coloured.search(on_a_terminal(words))
    assert not coloured.search(on_a_terminal(words, NO_COLOR="1"))
    piped = subprocess.run([sys.executable, *PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\x1b" not in piped.stdout


def test_a_shell_completes_commands_and_options() -> None:
    for typed, expected in (("feature-service da", "dataset"), ("feature-service dataset bu", "build")):
        asked = {"_FEATURE_SERVICE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
        program = Path(sys.executable).with_name("feature-service")
        told = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
        assert told.stdout.split() == [expected]


_NEEDED_BY_OTHERS = ("feast", "great_expectations", "fastapi", "numba", "pandas")
"""Libraries that take long to import."""


@pytest.mark.parametrize(
    "imported",
    [
        pytest.param(
            "api.vectors, runtime.servers, runtime.wiring, storage.online.store, feature_repo.project",
            id="features latest",
        ),
        pytest.param("runtime.servers, runtime.wiring, storage.database.metadata, runtime.doctor", id="dataset list"),
        pytest.param("api.freshness_document, runtime.upkeep, runtime.wiring, storage.database.freshness", id="status"),
        pytest.param("runtime.cli", id="--help"),
    ],
)
def test_a_command_that_looks_imports_nothing_that_takes_long(imported: str) -> None:
    code = f"import sys; import {imported}; print([each for each in {_NEEDED_BY_OTHERS} if each in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_a_process_that_the_program_spawns_imports_no_command_line() -> None:
    program = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["feature-service"]
    module, _, function = program.partition(":")
    code = f"import sys; from {module} import {function}; print('typer' in sys.modules); {function}()"
    told = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"False\nfeature-service \S+\n", told.stdout)
