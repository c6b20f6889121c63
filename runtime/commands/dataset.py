"""``dataset``: training sets, built here and now, listed and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.built_dataset import built_document
from runtime.commands.dataset_request import PERIOD_NAMES, feature_choice, given_time_ns, plain_request, request_of_file
from runtime.commands.options import (
    AnswerYes,
    AsJson,
    DataFolder,
    RegistryOfData,
    registry_of,
    settings_for,
)
from runtime.commands.printing import print_document, print_table

if TYPE_CHECKING:
    from runtime.settings import Settings
    from training_sets.builds.builder import Dataset
    from training_sets.request.request import DatasetRequest

app = typer.Typer(help="Training sets: build, list, show, download, cancel, delete.", no_args_is_help=True)


@app.command("build")
def build(
    symbols: Annotated[list[str] | None, typer.Option("--symbol", help="Symbol; may be repeated.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Start of a period split 70/15/15, ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="End of that period.")] = None,
    train_start: Annotated[
        str | None, typer.Option("--train-start", help="Instead: start of the train period, ISO 8601.")
    ] = None,
    train_end: Annotated[str | None, typer.Option("--train-end")] = None,
    validation_start: Annotated[str | None, typer.Option("--validation-start")] = None,
    validation_end: Annotated[str | None, typer.Option("--validation-end")] = None,
    test_start: Annotated[str | None, typer.Option("--test-start")] = None,
    test_end: Annotated[str | None, typer.Option("--test-end")] = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far ahead the return looks, e.g. 60s, 5m.")] = "60s",
    sample_interval: Annotated[str, typer.Option("--sample-interval", help="1s, 3s, 15s, 1m or 1d.")] = "1s",
    calendar: Annotated[
        str | None,
        typer.Option("--calendar", help="One sample per session of this exchange, e.g. XNYS."),
    ] = None,
    sample_kind: Annotated[
        str, typer.Option("--sample-kind", help="on_row: act when row t arrives; at_time: ask at t.")
    ] = "on_row",
    read_delay_ms: Annotated[
        int, typer.Option("--read-delay-ms", min=0, max=60_000, help="How long after that the model acts.")
    ] = 0,
    features: Annotated[
        list[str] | None,
        typer.Option(
            "--feature",
            help="view:name in addition to those of --registry, or instead of them without it; may be repeated.",
        ),
    ] = None,
    feature_keys: Annotated[
        list[str] | None,
        typer.Option("--feature-key", help="key=value for keys of other views except the symbol; may be repeated."),
    ] = None,
    request_file: Annotated[
        Path | None, typer.Option("--request", help="JSON file as for POST /dataset/build, instead of all the above.")
    ] = None,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Build a training set and wait for it. Periods are [start, end); a time without an offset means UTC.

    A request file supports every strategy, target, missing-value policy and format.

    Example: feature-service dataset build --symbol BTCUSDT --from 2026-01-05T12:01 --to 2026-01-05T12:10 --horizon 30s
    """
    settings = settings_for(data)
    sides = (train_start, train_end, validation_start, validation_end, test_start, test_end)
    if request_file is not None:
        if symbols or features or (begin, end) != (None, None) or any(side is not None for side in sides):
            raise typer.BadParameter("give either --request or a symbol and periods, not both")
        request = request_of_file(request_file, settings, registry)
    else:
        request = plain_request(
            symbols or [],
            begin,
            end,
            sides,
            horizon=horizon,
            sample_interval=sample_interval,
            sample_kind=sample_kind,
            read_delay_ms=read_delay_ms,
            registry=registry_of(settings, registry),
            features=feature_choice(features, feature_keys, is_beside=registry is not None),
            calendar=calendar,
        )
    built = _built(request, settings)
    document = built_document(built)
    if not as_json:
        del document["splits"]  # the manifest has them, row by row
    print_document(document, as_json=as_json)


@app.command("list")
def list_datasets(
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only datasets with this status: building, ready, failed or cancelled."),
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only datasets with this symbol.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 100,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The newest training sets, newest first.

    Example: feature-service dataset list --data demo
    """
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store

    with running_servers(settings_for(data)) as servers, metadata_store(servers) as metadata:
        found = metadata.list_datasets(status=_status(status), symbol=symbol, limit=limit)
    if as_json:
        from api.dataset_documents import dataset_document

        print_document([dataset_document(record).model_dump(mode="json") for record in found], as_json=True)
        return
    print_table(
        ("dataset_id", "status", "symbols", "train", "created, UTC"),
        [
            (each.dataset_id, each.status, each.symbols, each.train_records, f"{each.created_at:%Y-%m-%d %H:%M}")
            for each in found
        ],
        whole=("dataset_id", "created, UTC"),
        nothing="no dataset yet: feature-service dataset build makes one",
    )


@app.command("show")
def show(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """One training set.

    Example: feature-service dataset show 51b28d6ede9840a49a9ea067d1b47f78
    """
    from api.dataset_documents import dataset_document
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store
    from training_sets.dataset.downloads import dataset_folder
    from training_sets.dataset.manifest import read_performance

    with running_servers(settings_for(data)) as servers, metadata_store(servers) as metadata:
        record = metadata.get_dataset(dataset_id)
    performance = read_performance(dataset_folder(record)) if record.status == "ready" else None
    document = dataset_document(record).model_dump(mode="json", exclude={"download_urls", "timeline", "manifest"})
    print_document(document | {"performance": performance, "path": record.path}, as_json=as_json)


@app.command("lags")
def lags(
    symbol: Annotated[str, typer.Option("--symbol", help="Symbol whose served rows are measured.")],
    begin: Annotated[str, typer.Option("--from", help="Start of the period, ISO 8601.")],
    end: Annotated[str, typer.Option("--to", help="End of the period, exclusive.")],
    quantile: Annotated[float, typer.Option("--quantile", min=0.0, max=1.0, help="Quantile of an hour's lags.")] = 0.95,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """How long served rows took to become readable, by hour of the UTC day: history_lag_ms of a request.

    Example: feature-service dataset lags --symbol BTCUSDT --from 2026-01-01 --to 2026-01-31 --json
    """
    from feature_repo.registry_versions import load_registry_version
    from runtime.stores import open_stores
    from training_sets.samples.history_lags import measured_lags

    from_ns, to_ns = given_time_ns(begin, "--from"), given_time_ns(end, "--to")
    settings = settings_for(data)
    stores = open_stores(settings)
    chosen = load_registry_version(registry_of(settings, registry), settings.feature_registry_versions_dir).feature_set
    found = measured_lags(stores.features, chosen, symbol, from_ns=from_ns, to_ns=to_ns, quantile=quantile)
    if as_json:
        print_document({"history_lag_ms": list(found.lag_ms), "rows": list(found.rows)}, as_json=True)
        return
    rows = [
        (str(hour), str(lag_ms), str(count))
        for hour, (lag_ms, count) in enumerate(zip(found.lag_ms, found.rows, strict=True))
    ]
    print_table(("hour", "lag_ms", "rows"), rows, nothing="no row was served")


@app.command("cancel")
def cancel(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a build, in whichever process it runs; it stops at its next piece and leaves no files.

    Example: feature-service dataset cancel 51b28d6ede9840a49a9ea067d1b47f78
    """
    from runtime.building import dataset_builds
    from runtime.servers import running_servers
    from runtime.stores import open_stores

    settings = settings_for(data)
    with running_servers(settings) as servers, dataset_builds(settings, servers, open_stores(settings)) as builds:
        record = builds.cancel(dataset_id)
    print_document({"dataset_id": dataset_id, "status": record.status}, as_json=as_json)


@app.command("delete")
def delete(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset.")],
    yes: AnswerYes = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Permanently remove a dataset and its files, after asking.

    Example: feature-service dataset delete 51b28d6ede9840a49a9ea067d1b47f78
    """
    from runtime.building import dataset_builds
    from runtime.servers import running_servers
    from runtime.stores import open_stores

    settings = settings_for(data)
    if not yes:
        typer.confirm(f"Remove dataset {dataset_id} and its files?", abort=True, err=True)
    with running_servers(settings) as servers, dataset_builds(settings, servers, open_stores(settings)) as builds:
        builds.delete(dataset_id)
    print_document({"dataset_id": dataset_id, "status": "deleted"}, as_json=as_json)


@app.command("download")
def download(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "all",
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Copy the file of a split, or a zip of all files; with folds, a zip of that split's file of every fold.

    Example: feature-service dataset download 51b28d6ede9840a49a9ea067d1b47f78 --to dataset.zip
    """
    from api.archive import zip_chunks
    from runtime.servers import running_servers
    from runtime.wiring import metadata_store
    from storage.places import file_pieces
    from training_sets.dataset.downloads import download_files

    if split not in {*PERIOD_NAMES, "all"}:
        raise typer.BadParameter(f"must be train, validation, test or all, was {split!r}", param_hint="--split")
    with running_servers(settings_for(data)) as servers, metadata_store(servers) as metadata:
        found = download_files(metadata.get_dataset(dataset_id), split)
    pieces = file_pieces(found.paths[0]) if found.is_one_file else zip_chunks(found.paths, found.folder)
    with to.open("wb") as file:
        file.writelines(pieces)
    print_document({"dataset_id": dataset_id, "split": split, "path": str(to)}, as_json=as_json)


def _built(request: DatasetRequest, settings: Settings) -> Dataset:
    from runtime.building import dataset_builds
    from runtime.commands.progress import showing_progress
    from runtime.feature_repository import apply_feature_store
    from runtime.servers import running_servers
    from runtime.stores import open_stores

    with showing_progress() as steps:
        steps.begin("starting servers, registering features")
        with running_servers(settings) as servers:
            apply_feature_store(settings, servers)
            with dataset_builds(settings, servers, open_stores(settings)) as builds:
                return builds.build(request, on_step=lambda name: steps.begin(name, total=1.0), on_progress=steps.reach)


def _status(text: str | None) -> Any:  # noqa: ANN401  # a DatasetStatus, whose module is not loaded for --help
    if text not in {None, "building", "ready", "failed", "cancelled"}:
        raise typer.BadParameter(f"must be building, ready, failed or cancelled, was {text!r}", param_hint="--status")
    return text
