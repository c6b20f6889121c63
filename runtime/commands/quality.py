"""``quality``: how good the data of a symbol is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from runtime.commands.options import (
    AsJson,
    DataFolder,
    RegistryOfData,
    Symbol,
    parse_time_ns,
    registry_of,
    settings_for,
)
from runtime.commands.printing import print_document, print_line, print_table

MOST_DISAGREEMENTS: Final = 50
"""Of a day, printed for a person."""

app = typer.Typer(help="Quality of a symbol's data.", no_args_is_help=True)


@app.command("report")
def report(
    symbols: Annotated[list[str], typer.Option("--symbol", help="Symbol, e.g. BTCUSDT; may be given again.")],
    begin: Annotated[str | None, typer.Option("--from", help="ISO time; default: where raw Parquet begins.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="ISO time; default: where raw Parquet ends.")] = None,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write an HTML page with charts to this file; of one symbol.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Missing and duplicated messages, silences and outliers in a period, and what to do about them.

    Reports of several symbols are made in parallel, where FEATURE_SERVICE_ENGINE says. Printed as JSON they are a list.

    Example: feature-service quality report --symbol BTCUSDT --data out/
    """
    from contextlib import ExitStack

    from feature_repo.registry_versions import load_registry_version
    from ingestion.tape.quality import SymbolReport
    from market.errors import InvalidRequest
    from quality.data_page import render_page
    from runtime.engines import engine_of_command
    from runtime.stores import open_stores
    from runtime.wiring import quality_limits
    from training_sets.engines.engine import performed

    if html is not None and len(set(symbols)) > 1:
        raise InvalidRequest(f"--html: must be of one symbol, was {', '.join(symbols)}")
    settings = settings_for(data)
    stores = open_stores(settings)
    from_ns, to_ns = parse_time_ns(begin, "--from"), parse_time_ns(end, "--to")
    version = registry_of(settings, registry)
    served = load_registry_version(version, settings.feature_registry_versions_dir).feature_set
    reports = []
    for symbol in dict.fromkeys(symbols):
        first_ns, last_ns = stores.raw.parquet.period(symbol)
        reports.append(
            SymbolReport(
                raw=stores.raw.parquet,
                log=stores.features,
                symbol=symbol,
                served=served,
                from_ns=first_ns if from_ns is None else from_ns,
                to_ns=last_ns + 1 if to_ns is None else to_ns,
                limits=quality_limits(settings),
            )
        )
    with ExitStack() as stack:
        engine = None
        if len(reports) > 1:  # an engine may begin servers
            engine = stack.enter_context(engine_of_command(settings, stores, settings.feature_service_engine_workers))
        by_symbol = {each["symbol"]: each for each in performed(reports, engine)}
    found = [by_symbol[each.symbol] for each in reports]
    if html is not None:
        html.write_text(render_page(found[0]), encoding="utf-8")
    if as_json:
        print_document(found[0] if len(found) == 1 else found, as_json=True)
        return
    for each in found:
        _print(each)


@app.command("reconcile")
def reconcile(
    symbol: Symbol,
    start: Annotated[str, typer.Option("--from", help="First UTC day, YYYY-MM-DD.")],
    end: Annotated[str | None, typer.Option("--to", help="Last UTC day, included; default: the first.")] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare days as received live with the exchange's archives and settlements, and store the reports.

    Trades by id, candles against trades, order books level by level, funding rates against settlements. Exits 1 unless
    every check was made and found nothing.

    Example: feature-service quality reconcile --symbol BTCUSDT --from 2026-01-05
    """
    import time

    from backfill.reconciliation import DayReconciliation
    from backfill.request import BackfillRequest, parse_date
    from market.clock import SystemClock, to_datetime
    from market.errors import InvalidRequest
    from runtime.backfilling import backfill_place
    from runtime.commands.progress import showing_progress
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.wiring import metadata_store, quality_reports

    settings = settings_for(data)
    first = parse_date(start, "--from")
    days = BackfillRequest(symbol, first, first if end is None else parse_date(end, "--to"), ()).dates
    if not days:
        raise InvalidRequest(f"--to: must not be before --from, {start}, was {end}")
    place, found = backfill_place(settings, time.sleep), []
    try:
        reconciliation = DayReconciliation(place, open_stores(settings).raw.open_whole)
        with (
            showing_progress() as steps,
            running_servers(settings) as servers,
            metadata_store(servers),
            quality_reports(servers) as reports,
        ):
            steps.begin(f"reconciling {symbol}", total=len(days))
            for day in days:
                found.append(reports.keep(reconciliation.of(symbol, day), to_datetime(SystemClock().now_ns())))
                steps.reach(len(found))
    finally:
        place.rest.close()
    if as_json:
        print_document(found, as_json=True)
    else:
        for each in found:
            _print_reconciliation(each)
    if not all(each["agrees"] for each in found):
        raise typer.Exit(1)


def _print_reconciliation(found: Mapping[str, Any]) -> None:
    verdict = {True: "agrees", False: "disagrees", None: "not everything could be checked"}[found["agrees"]]
    print_line(f"{found['symbol']}, {found['date']}: {verdict}")
    rows = [
        (name, ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in check.items()))
        for name, check in found["checks"].items()
    ]
    print_table(("check", "counts"), rows)
    for check, reason in found["unchecked"].items():
        print_line(f"not checked, {check}: {reason}")
    columns = ("check", "at", "what", "live", "history", "messages")
    disagreements = [
        [*(each[column] or "none" for column in columns[:-1]), "; ".join(each["messages"])]
        for each in found["disagreements"][:MOST_DISAGREEMENTS]
    ]
    print_table(columns, disagreements, nothing="no disagreement")


@app.command("drift")
def drift(
    dataset_id: Annotated[str, typer.Option("--dataset", metavar="ID", help="Id of a ready dataset.")],
    hours: Annotated[int, typer.Option(min=1, max=24, help="Hours of served rows to compare.")] = 1,
    until: Annotated[str | None, typer.Option("--to", help="ISO time; default: now.")] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """How far recently served rows are from those that a model was trained on. Exits 1 when a column has drifted.

    Example: feature-service quality drift --dataset 4f1c --hours 2
    """
    from market.clock import SystemClock
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.wiring import drift_limits, metadata_store
    from training_sets.dataset.drift import ServedDrift

    settings = settings_for(data)
    until_ns = parse_time_ns(until, "--to")
    with running_servers(settings) as servers, metadata_store(servers) as metadata:
        served = ServedDrift(
            open_stores(settings).features, settings.feature_registry_versions_dir, drift_limits(settings)
        )
        found = served.of(
            metadata.get_dataset(dataset_id),
            until_ns=SystemClock().now_ns() if until_ns is None else until_ns,
            hours=hours,
        )
    if as_json:
        print_document(found, as_json=True)
    else:
        _print_drift(found)
    if any(each["drifted"] for each in found["symbols"].values()):
        raise typer.Exit(1)


def _print_drift(found: Mapping[str, Any]) -> None:
    print_line(f"dataset {found['dataset_id']}  {found['from']} to {found['to']}")
    for symbol, each in found["symbols"].items():
        print_line(f"{symbol}: {each['rows']} rows served, {len(each['drifted'])} columns have drifted")
        rows = [
            [
                name,
                *("not known" if drift[measure] is None else f"{drift[measure]:.3f}" for measure in ("psi", "ks")),
                f"{drift['missing_then']:.1%}",
                f"{drift['missing_now']:.1%}",
                ", ".join(drift["drifted"]),
            ]
            for name, drift in each["columns"].items()
            if drift["drifted"]
        ]
        columns = ("column", "PSI", "KS", "missing then", "missing now", "by")
        print_table(columns, rows, nothing="none has drifted")


def _print(found: Mapping[str, Any]) -> None:
    print_line(f"{found['symbol']}  {found['period_start']} to {found['period_end']}")
    columns = ("stream", "received", "expected", "missing", "late", "duplicates", "silences")
    print_table(
        columns,
        [
            [name, *(_counted(name, column, stream[column]) for column in columns[1:])]
            for name, stream in found["streams"].items()
        ],
        nothing="no stream has data in this period",
    )
    print_line(
        f"order book gaps {found['sequence_gaps']}, "
        f"interruptions {found['desynchronization_events'] - found['sequence_gaps']}, outliers {found['anomalies']}"
    )
    for thing, reason in found["unchecked"].items():
        print_line(f"not checked, {thing}: {reason}")
    for line in found["recommendations"] or ["Nothing to do."]:
        print_line(f"- {line}")


def _counted(stream: str, column: str, number: int | None) -> str:
    """Messages; of candles, of which an open one is sent again and again, minutes are expected and missing."""
    if number is None:
        return "not known"
    return f"{number} min" if stream == "kline" and column in {"expected", "missing"} else str(number)
