"""``registry``: the feature registry versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.commands.options import AsJson, settings_for
from runtime.commands.printing import print_document, print_table

app = typer.Typer(help="The feature registry versions.", no_args_is_help=True)


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """Every released version, oldest first, and latest, the whole catalogue."""
    from feature_repo.registry_versions import LATEST, load_registry_version, registry_versions

    folder = settings_for(None).feature_registry_versions_dir
    rows: list[dict[str, Any]] = []
    for version in (*registry_versions(folder), LATEST):
        loaded = load_registry_version(version, folder)
        rows.append(
            {
                "version": version,
                "features": len(loaded.feature_set.columns),
                "groups": [group.name for group in loaded.feature_set.groups],
                "feature_set": loaded.feature_set.fingerprint,
                "warnings": list(loaded.warnings),
            }
        )
    if as_json:
        print_document(rows, as_json=True)
    else:
        print_table(
            ("version", "features", "groups", "feature set"),
            [(row["version"], row["features"], ", ".join(row["groups"]), row["feature_set"]) for row in rows],
        )


@app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="Version, e.g. 2.0.0, or latest.")], as_json: AsJson = False
) -> None:
    """One version: its columns in order and the identity of each group."""
    from feature_repo.registry_versions import load_registry_version

    loaded = load_registry_version(version, settings_for(None).feature_registry_versions_dir)
    chosen = loaded.feature_set
    print_document(
        {
            "version": version,
            "path": None if loaded.path is None else str(loaded.path),
            "feature_set": chosen.fingerprint,
            "groups": {group.name: group.fingerprint for group in chosen.groups},
            "columns": list(chosen.columns),
            "warnings": list(loaded.warnings),
        },
        as_json=as_json,
    )


@app.command("validate")
def validate(file: Annotated[Path, typer.Argument(help="A registry YAML file.")], as_json: AsJson = False) -> None:
    """Check a registry file; lists every problem at once, each with its feature. Exits 1 when there is any."""
    from feature_repo.registry_versions import load_registry_file
    from market.errors import InvalidRegistry

    problems: list[str] = []
    warnings: list[str] = []
    try:
        warnings = list(load_registry_file(file).warnings)
    except InvalidRegistry as error:
        problems = list(error.problems)
    document = {"is_valid": not problems, "validation_errors": problems, "warnings": warnings}
    if as_json:
        print_document(document, as_json=True)
    else:
        for line in (*(f"error: {problem}" for problem in problems), *(f"warning: {text}" for text in warnings)):
            print(line)
        print(f"{file}: {'valid' if not problems else f'{len(problems)} problems'}")
    if problems:
        raise typer.Exit(1)
