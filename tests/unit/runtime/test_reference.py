"""The pages of docs/reference are those that the code makes, and tell of every command, route and setting."""

from __future__ import annotations

import json

import pytest

from api.queue_messages import MESSAGES
from runtime.reference import FOLDER, reference_pages


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference_pages()


PAGES = ("commands.md", "http-api.md", "settings.md", "openapi.json", *(f"{name}.schema.json" for name in MESSAGES))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_not_stale(pages: dict[str, str], name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == pages[name], "stale: make reference writes it"


def test_there_is_no_other_page(pages: dict[str, str]) -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(pages)


def test_a_page_tells_of_options_parameters_and_defaults(pages: dict[str, str]) -> None:
    assert "## feature-service dataset build" in pages["commands.md"]
    assert "`--horizon`" in pages["commands.md"]
    assert "## GET /features/history" in pages["http-api.md"]
    assert "| `FEATURE_SERVICE_PORT` | `4900` |" in pages["settings.md"]


def test_every_parameter_of_a_route_is_described_and_success_comes_before_errors(pages: dict[str, str]) -> None:
    document = json.loads(pages["openapi.json"])
    operations = {f"{method} {path}": each for path, of in document["paths"].items() for method, each in of.items()}
    bare = [
        f"{name}: {each['name']}"
        for name, operation in operations.items()
        for each in operation.get("parameters", ())
        if not each.get("description")
    ]
    assert bare == []
    answers = [line for line in pages["http-api.md"].splitlines() if line.startswith("Responses: ")]
    assert len(answers) == len(operations)
    assert all(line.startswith("Responses: `2") for line in answers)


def test_code_has_the_backticks_of_markdown_and_stands_as_it_is(pages: dict[str, str]) -> None:
    assert "`from <= row time < to`" in pages["http-api.md"]
    assert [line for name in PAGES if name.endswith(".md") for line in pages[name].splitlines() if "``" in line] == []
