"""``features``: the catalogue, the newest vector of a symbol, and the parts of the feature log."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runtime.commands.options import AsJson, DataFolder, SomeSymbols, print_document, print_table, settings_for

app = typer.Typer(help="The catalogue, the newest vector of a symbol, the feature log.", no_args_is_help=True)


@app.command("list")
def list_features(as_json: AsJson = False) -> None:
    """Every feature of the catalogue with its formula."""
    from market.clock import SECOND_NS
    from transforms.catalogue import FEATURES

    rows: list[dict[str, Any]] = [
        {
            "name": declared.name,
            "group": declared.group,
            "inputs": [declared.source.name.lower()] if declared.source.value is not None else [],
            "horizon_seconds": declared.horizon_ns // SECOND_NS,
            "unit": declared.unit,
            "formula": declared.formula,
            "nan_rule": declared.nan_rule,
        }
        for declared in FEATURES.values()
    ]
    if as_json:
        print_document(rows, as_json=True)
    else:
        print_table(list(rows[0]), [[", ".join(v) if isinstance(v, list) else v for v in row.values()] for row in rows])


@app.command("document")
def document() -> None:
    """Write docs/features.md from the declarations."""
    from runtime.feature_page import PAGE, feature_page

    PAGE.write_text(feature_page(), encoding="utf-8")
    print(PAGE)


@app.command("lock")
def lock() -> None:
    """Record every group's fingerprint in transforms/fingerprints.json, after a change that is meant."""
    from transforms.lock import LOCK, lock_text

    LOCK.write_text(lock_text(), encoding="utf-8")
    print(LOCK)


@app.command("latest")
def latest(symbol: Annotated[str, typer.Argument(help="Symbol, e.g. BTCUSDT.")], as_json: AsJson = False) -> None:
    """The newest vector of a symbol in the online store of a running service."""
    from api.vectors import feature_vector
    from market.clock import SystemClock
    from market.errors import NotFound
    from runtime.servers import require_servers_of_another_process, running_servers
    from runtime.wiring import online_store

    settings = settings_for(None)
    require_servers_of_another_process(settings)
    with running_servers(settings) as servers:
        [found] = online_store(servers).read([symbol])
    if found is None:
        raise NotFound(f"symbol: must be one that has sent data, was {symbol!r}")
    print_document(feature_vector(found, now_ns=SystemClock().now_ns(), trace_id=""), as_json=as_json)


@app.command("merge")
def merge(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Merge the many parts that each day of the feature log was served in; safe at any time, and to be killed.

    What was merged is removed by the first merge an hour later. Answers stay the same meanwhile and after.
    """
    from market.clock import SystemClock
    from storage.features.merging import merge_days

    done = merge_days(settings_for(data).feature_log_storage_path, symbols, now_ns=SystemClock().now_ns())
    print_document({"days": done.days, "parts": done.parts}, as_json=as_json)
