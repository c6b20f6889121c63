"""The pages and schemas under docs/reference, made from the code and env.example: `make reference` writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer.main

from api.app import openapi_document
from api.queue_messages import message_schemas
from runtime.cli import app

CHECKOUT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = CHECKOUT / "docs" / "reference"
_MADE: Final = "<!-- Made by `make reference` from {}. Do not edit. -->\n"


def reference_pages() -> dict[str, str]:
    """Each file of docs/reference by its name; a file that differs is out of date."""
    document = openapi_document()
    return {
        "commands.md": _commands_page(),
        "http-api.md": _api_page(document),
        "settings.md": _settings_page((CHECKOUT / "env.example").read_text(encoding="utf-8")),
        "openapi.json": _json(document),
        **{name: _json(schema) for name, schema in message_schemas().items()},
    }


def write_reference() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in reference_pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _commands_page() -> str:
    lines = [
        "# Commands\n",
        _MADE.format("the commands themselves"),
        (
            "Every command exits 0 when it succeeded, 1 when it failed, 2 when it was called wrongly. "
            "With `--json`, where available, the result or the error is one JSON document.\n"
        ),
    ]
    for names, command in _commands(typer.main.get_command(app)):
        lines.append(f"## {' '.join(names)}\n")
        lines.append(f"    {_usage(names, command)}\n")
        lines.append(_unfolded(command.help or ""))
        described = [_parameter_row(each) for each in command.params if each.name != "help"]
        if described:
            lines += ["| | | default |", "|---|---|---|", *described, ""]
    return "\n".join(lines)


def _commands(command: Any, names: tuple[str, ...] = ("feature-service",)) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401  # Typer's own copy of click
    inner = getattr(command, "commands", None)
    if inner is None:
        yield names, command
    else:
        for name, each in sorted(inner.items()):
            yield from _commands(each, (*names, name))


def _usage(names: tuple[str, ...], command: Any) -> str:  # noqa: ANN401  # likewise
    context = command.make_context(names[-1], [], resilient_parsing=True)
    return " ".join([" ".join(names), *command.collect_usage_pieces(context)])


def _parameter_row(parameter: Any) -> str:  # noqa: ANN401  # likewise
    is_option = parameter.param_type_name == "option"
    name = (
        ", ".join(parameter.opts + parameter.secondary_opts)
        if is_option
        else (parameter.metavar or parameter.name).upper()
    )
    told = _cell(getattr(parameter, "help", None) or "")
    default = parameter.default
    shown = "" if default is None or default is False or callable(default) or default in ((), "") else f"`{default}`"
    if parameter.required:
        shown = "required"
    return f"| `{name}` | {told} | {shown} |"


def _api_page(document: dict[str, Any]) -> str:
    lines = [
        "# HTTP API\n",
        _MADE.format("the routes"),
        (
            "The content of [openapi.json](openapi.json), from which clients can be generated, and of `/docs` of a "
            "running service. [What the routes are for](../http-api.md).\n"
        ),
    ]
    for path, methods in sorted(document["paths"].items()):
        for method, operation in methods.items():
            lines.append(f"## {method.upper()} {path}\n")
            lines.append(_unfolded(operation.get("description", operation["summary"] + ".")))
            lines += _route_parameters(operation)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                lines.append(f"Body: {_type_of(body['schema'])}.\n")
            lines.append(f"Responses: {', '.join(f'`{status}`' for status in sorted(operation['responses']))}.\n")
    return "\n".join(lines)


def _route_parameters(operation: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{each['name']}` | {each['in']} | {_type_of(each['schema'])}{_when_left_out(each)} "
        f"| {_cell(each.get('description', ''))} |"
        for each in operation.get("parameters", ())
    ]
    return ["| parameter | in | type | |", "|---|---|---|---|", *rows, ""] if rows else []


def _when_left_out(parameter: dict[str, Any]) -> str:
    if parameter["required"]:
        return ""
    default = parameter["schema"].get("default")
    return ", optional" if default is None else f", default `{json.dumps(default).strip(chr(34))}`"


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in schema:
        return " or ".join(_type_of(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("format") == "date-time":
        return "time, ISO 8601"
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['type']}, {schema['minimum']:g} to {schema['maximum']:g}"
    return str(schema.get("type", "any"))


def _settings_page(example: str) -> str:
    """A table per section of env.example; a variable without its own comment shares the previous one's."""
    lines = [
        "# Settings\n",
        _MADE.format("env.example"),
        "Environment variables, or lines of `.env`; the environment wins. A variable left empty counts as not set.\n",
    ]
    told: list[str] = []
    begun = False
    for line in example.splitlines():
        section = re.fullmatch(r"# --- (.+) ---", line)
        if section:
            begun, told = True, []
            lines += [f"\n## {section[1]}\n", "| variable | default | |", "|---|---|---|"]
        elif line.startswith("#"):
            told.append(line[1:].strip())
        elif "=" in line and begun:
            name, _, default = line.partition("=")
            shown = f"`{default}`" if default else ""
            lines.append(f"| `{name}` | {shown} | {_cell(' '.join(told)) or 'as above'} |")
            told = []
    return "\n".join(lines) + "\n"


def _unfolded(text: str) -> str:
    """Paragraphs as Markdown: lines that begin with Example are code."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text.replace("\b", ""))]
    written = []
    for part in paragraphs:
        example = re.match(r"Examples?:\s*", part)
        if example:
            written.append("\n".join(f"    {line.strip()}" for line in part[example.end() :].splitlines()))
        else:
            written.append(_markdown(re.sub(r"\s*\n\s*", " ", part)))
    return "\n\n".join(filter(None, written)) + "\n"


def _cell(text: str) -> str:
    return _markdown(re.sub(r"\s+", " ", text)).replace("|", "\\|")


def _markdown(text: str) -> str:
    """A docstring's words: code has single backticks and stands as it is, what else could be HTML does not."""
    pieces = re.split(r"(`[^`]*`)", text.replace("``", "`"))
    return "".join(piece if piece.startswith("`") else piece.replace("<", "&lt;") for piece in pieces)


if __name__ == "__main__":
    write_reference()
