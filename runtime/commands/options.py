"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from runtime.settings import Settings

DEFAULT_REGISTRY: Final = "2.0.0"
"""The newest released version."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Registry = Annotated[str, typer.Option("--registry", help="Feature registry version; latest is every feature.")]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with raw/ and features/, e.g. the --out of a replay; default: the settings'."),
]
Symbol = Annotated[str, typer.Option("--symbol", help="Symbol, e.g. BTCUSDT.")]
SomeSymbols = Annotated[
    list[str] | None, typer.Option("--symbol", help="Symbol; may be repeated; default: every one there is.")
]


def settings_for(data: Path | None, *, embedded: bool = False) -> Settings:
    """The settings, with every folder under ``data`` when it is given.

    embedded: use embedded servers whatever is configured.
    """
    from runtime.settings import load_settings

    overrides: dict[str, str | None] = {}
    if data is not None:
        overrides = {
            "FEATURE_SERVICE_DATA_PATH": str(data),
            "RAW_DATA_STORAGE_PATH": str(data / "raw"),
            "FEATURE_LOG_STORAGE_PATH": str(data / "features"),
            "DATASET_STORAGE_PATH": str(data / "datasets"),
        }
    if embedded:
        overrides |= {"REDIS_HOST": None, "POSTGRES_HOST": None, "RABBITMQ_HOST": None}
    return load_settings(overrides)


def parse_time_ns(text: str | None, option: str) -> int | None:
    """Nanoseconds of an ISO time option. Raises typer.BadParameter naming the option."""
    from market.clock import parse_iso_ns

    if text is None:
        return None
    try:
        return parse_iso_ns(text)
    except ValueError:
        raise typer.BadParameter(f"must be an ISO 8601 time, was {text!r}", param_hint=option) from None


def print_document(document: Mapping[str, Any] | Sequence[Any], *, as_json: bool) -> None:
    """One JSON document, or ``key: value`` lines for a person."""
    if as_json:
        print(json.dumps(document))
    elif isinstance(document, Mapping):
        for key, value in document.items():
            print(f"{key}: {_plain(value)}")
    else:
        for item in document:
            print(_plain(item))


_WIDE: Final = 1000
"""Columns that no table needs."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output, as wide as its rows where that is no terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)
