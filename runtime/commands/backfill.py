"""``backfill``: history from the exchange into raw Parquet, here and now; jobs listed, shown and cancelled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from market.errors import StoreUnavailable
from runtime.commands.options import DEFAULT_REGISTRY, AsJson, DataFolder, Registry, settings_for
from runtime.commands.printing import print_document

if TYPE_CHECKING:
    from storage.database.backfill_jobs import BackfillRecord

NO_JOB: Final = (
    "no backfill job: feature-service backfill run begins one; "
    "what dataset builds fetched is of no job, and tape coverage tells of it"
)

app = typer.Typer(help="History from the exchange: fetch it, follow and cancel jobs.", no_args_is_help=True)


@app.command("run")
def run(
    symbol: Annotated[str, typer.Option("--symbol", help="Instrument of the exchange, e.g. BTCUSDT.")],
    start: Annotated[str, typer.Option("--from", help="First UTC day, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option("--to", help="Last UTC day, included.")],
    data_types: Annotated[
        list[str] | None,
        typer.Option("--type", help="klines, trades, orderbook, ticker, funding; may be repeated. Default: as needed."),
    ] = None,
    registry: Registry = DEFAULT_REGISTRY,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a period and wait. Without --type: what the registry version reads. Days with data are left alone.

    Example: feature-service backfill run --symbol BTCUSDT --from 2026-01-05 --to 2026-01-06
    """
    from api.backfill import backfill_document
    from backfill.jobs import dates_total
    from backfill.request import BackfillRequest, checked_data_types, data_types_of_kinds, parse_date
    from feature_repo.registry_versions import load_registry_version
    from runtime.backfilling import backfill_jobs
    from runtime.commands.progress import remaining, showing_progress
    from runtime.engines import rebuild_engine
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.wiring import metadata_store
    from transforms.catalogue import set_kinds

    settings = settings_for(data)
    if data_types:
        chosen = checked_data_types(data_types)
    else:
        version = load_registry_version(registry, settings.feature_registry_versions_dir)
        chosen = data_types_of_kinds(set_kinds(version.feature_set), settings.feature_service_market.category)
    request = BackfillRequest(symbol, parse_date(start, "--from"), parse_date(end, "--to"), chosen)
    with showing_progress() as steps:
        steps.begin("starting servers")
        with (
            running_servers(settings) as servers,
            metadata_store(servers),
            rebuild_engine(settings, servers, open_stores(settings), settings.feature_service_engine_workers) as engine,
            backfill_jobs(settings, servers, engine=engine) as jobs,
        ):
            begun_s = time.monotonic()
            told = -1
            steps.begin(f"fetching {', '.join(chosen)} of {symbol}", total=len(request.dates))

            def tell(record: BackfillRecord) -> None:
                nonlocal told
                done = len(record.completed_dates) + len(record.failed_dates)
                if done == told:
                    return
                told = done
                left = dates_total(record) - done
                steps.reach(done)
                eta = remaining(elapsed_s=time.monotonic() - begun_s, done=done, left=left)
                steps.tell(f"{done} of {dates_total(record)} days, {len(record.failed_dates)} failed, {eta}")

            record = jobs.run_here(request, on_progress=tell)
    document = backfill_document(record).model_dump(mode="json") | {"details": dict(record.details)}
    print_document(document, as_json=as_json)
    if record.status != "completed":
        raise StoreUnavailable(f"backfill: must complete every day, was {record.status}: {record.error_message}")


@app.command("list")
def list_jobs(
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only jobs of this symbol.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The newest jobs, newest first. Days that a dataset build fetched itself belong to no job.

    What is stored of a day, live or backfilled, is shown by feature-service tape coverage.
    """
    from api.backfill import backfill_document
    from runtime.backfilling import backfill_jobs
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store

    settings = settings_for(data)
    with running_servers(settings) as servers, metadata_store(servers), backfill_jobs(settings, servers) as jobs:
        found = [
            backfill_document(record).model_dump(mode="json") for record in jobs.newest(symbol=symbol, limit=limit)
        ]
    if not as_json:
        columns = ("job_id", "status", "symbol", "start_date", "end_date", "error_message")
        found = [{column: document[column] for column in columns} for document in found]
    print_document(found, as_json=as_json, nothing=NO_JOB)


@app.command("show")
def show(job_id: str, data: DataFolder = None, as_json: AsJson = False) -> None:
    """One job: what was filled, held by live data and missing, by day and data type.

    Example: feature-service backfill show 5e0c1a7f
    """
    from api.backfill import backfill_document
    from runtime.backfilling import backfill_jobs
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store

    settings = settings_for(data)
    with running_servers(settings) as servers, metadata_store(servers), backfill_jobs(settings, servers) as jobs:
        record = jobs.get(job_id)
    print_document(backfill_document(record).model_dump(mode="json") | {"details": record.details}, as_json=as_json)


@app.command("cancel")
def cancel(job_id: str, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Stop a job at its next step; fetched data stays.

    Example: feature-service backfill cancel 5e0c1a7f
    """
    from api.backfill import backfill_document
    from runtime.backfilling import backfill_jobs
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store

    settings = settings_for(data)
    with running_servers(settings) as servers, metadata_store(servers), backfill_jobs(settings, servers) as jobs:
        record = jobs.cancel(job_id)
    print_document(backfill_document(record).model_dump(mode="json"), as_json=as_json)
