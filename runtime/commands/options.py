"""Options that several commands share, and the settings that they choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from runtime.settings import Settings

DEFAULT_REGISTRY: Final = "2.1.0"
"""The newest released version, as ``feature_repo.registry_versions`` has it, which takes long to import."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
AnswerYes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
Registry = Annotated[str, typer.Option("--registry", help="Feature registry version; latest is every feature.")]
RegistryOfData = Annotated[
    str | None,
    typer.Option("--registry", help="Feature registry version; default: the one that served the data."),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with raw/ and features/, e.g. the --out of a replay; default: from the settings."
    ),
]
Symbol = Annotated[str, typer.Option("--symbol", help="Symbol, e.g. BTCUSDT.")]
SomeSymbols = Annotated[list[str] | None, typer.Option("--symbol", help="Symbol; may be repeated; default: all.")]


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


def registry_of(settings: Settings, given: str | None) -> str:
    """The registry version given, else the one that the settings' feature log was served by, else the newest."""
    if given is not None:
        return given
    from runtime.served_version import served_version

    return served_version(settings) or DEFAULT_REGISTRY
