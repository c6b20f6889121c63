"""``verify``: proofs on stored data."""

from __future__ import annotations

import typer

from runtime.commands.options import (
    DEFAULT_REGISTRY,
    AsJson,
    DataFolder,
    Registry,
    SomeSymbols,
    print_document,
    settings_for,
)

app = typer.Typer(help="Proofs on stored data.", no_args_is_help=True)


@app.command("parity")
def parity(
    symbols: SomeSymbols = None, registry: Registry = DEFAULT_REGISTRY, data: DataFolder = None, as_json: AsJson = False
) -> None:
    """Compare the rows that were served with the same rows rebuilt from raw Parquet, bit by bit.

    Counts are rows. Exits 1 on any difference, and when there was nothing to compare.
    """
    from runtime.wiring import compiled_kernel
    from training_sets.verification import verify_parity

    settings = settings_for(data)
    found = verify_parity(
        settings.raw_data_storage_path,
        settings.feature_log_storage_path,
        compiled_kernel(settings, registry),
        symbols,
    )
    print_document(
        {
            "compared": found.compared,
            "mismatched": found.mismatched,
            "missing": found.missing,
            "extra": found.extra,
            "first_divergence": None if found.first_divergence is None else str(found.first_divergence),
        },
        as_json=as_json,
    )
    if not found.is_exact:
        raise typer.Exit(1)
