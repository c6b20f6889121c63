"""Routes of training sets: build, list, look up, download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from api.archive import zip_chunks
from api.build_request import BuildRequest, SplitConfig, period_request
from api.dataset_documents import BuildStarted, DatasetDocument, Verification, dataset_detail, dataset_document
from api.errors import MalformedRequest
from api.parameters import LONGEST_NAME, DatasetId, Limit, MaybeFrom, MaybeTo, OnlySymbol
from api.services import Services
from market.clock import format_iso
from market.errors import NotFound
from storage.database.dataset_records import DatasetStatus
from storage.places import Place, file_pieces
from training_sets.dataset.downloads import dataset_folder, download_files
from training_sets.dataset.manifest import (
    REPORT_NAME,
    intact_file,
    is_intact,
    lineage,
    read_manifest,
    read_performance,
    stated_files,
    summary,
)
from training_sets.dataset.records import splits_document, stored_request
from training_sets.request.request import DatasetRequest

MEDIA_TYPES: Final[Mapping[str, str]] = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
}

router = APIRouter(prefix="/dataset", tags=["datasets"])
_EXISTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": BuildStarted, "description": "Nothing to build: the dataset exists"}
}


@router.post("/build", status_code=202, responses=_EXISTS)
def build(  # noqa: PLR0913  # FastAPI reads the query from the parameters
    request: Request,
    response: Response,
    services: Services,
    *,
    body: Annotated[BuildRequest | None, Body()] = None,
    symbol: Annotated[
        str | None,
        Query(
            min_length=1, max_length=LONGEST_NAME, description="One symbol; default: all that have rows in the period."
        ),
    ] = None,
    begin: MaybeFrom = None,
    end: MaybeTo = None,
) -> BuildStarted:
    """Start a build: from a JSON body, or from ``?symbol=&from=&to=``.

    The query form splits the period 70/15/15 by time and predicts the return over the next minute; without a symbol
    it covers every symbol that has rows in the period. The registry version is the one that the service runs with
    unless the body names another. 200 when there is nothing to build: a dataset of the same request exists, and its
    inputs have not changed.
    """
    version = services.default_version
    if body is not None:
        if (symbol, begin, end) != (None, None, None):
            raise MalformedRequest("request: must be either a body or ?symbol=&from=&to=, was both")
        asked = body.to_request(version)
    elif begin is not None and end is not None:
        symbols = services.builds.symbols_within(begin, end) if symbol is None else (symbol,)
        asked = period_request(symbols, begin, end, version)
    else:
        raise MalformedRequest("request: must be a JSON body or ?from=&to= with or without symbol, was neither")
    return _started(request, response, services, asked)


@router.post("/{dataset_id}/resplit", status_code=202, responses=_EXISTS)
def resplit(
    request: Request, response: Response, services: Services, dataset_id: DatasetId, body: SplitConfig
) -> BuildStarted:
    """Start a build that differs from another only in its splits."""
    asked = stored_request(services.metadata.get_dataset(dataset_id))
    return _started(request, response, services, replace(asked, strategy=body.to_strategy()))


@router.post("/{dataset_id}/cancel", status_code=202)
def cancel(services: Services, dataset_id: DatasetId) -> DatasetDocument:
    """Cancel a build; it stops at its next piece and leaves no files."""
    return dataset_document(services.builds.cancel(dataset_id))


@router.delete("/{dataset_id}", status_code=204)
def delete(services: Services, dataset_id: DatasetId) -> None:
    """Remove a dataset and its files."""
    services.builds.delete(dataset_id)


@router.get("/list")
def list_datasets(
    services: Services,
    status: Annotated[DatasetStatus | None, Query(description="Only those in this state.")] = None,
    symbol: OnlySymbol = None,
    limit: Limit = 100,
) -> list[DatasetDocument]:
    """The newest datasets, newest first."""
    found = services.metadata.list_datasets(status=status, symbol=symbol, limit=limit)
    return [dataset_document(record) for record in found]


@router.get("/{dataset_id}")
def show(services: Services, dataset_id: DatasetId) -> DatasetDocument:
    """One dataset, with its splits on the time line; once ready, with its manifest.

    In the manifest, the files that it was made of are only counted.
    ``performance`` has the duration of each phase of its build.
    """
    record = services.metadata.get_dataset(dataset_id)
    if record.status != "ready":
        return dataset_detail(record)
    folder = dataset_folder(record)
    return dataset_detail(record, manifest=summary(read_manifest(folder)), performance=read_performance(folder))


@router.get("/{dataset_id}/lineage")
def show_lineage(services: Services, dataset_id: DatasetId) -> dict[str, Any]:
    """The inputs of a ready dataset: code, libraries, and every raw and feature file with its hash."""
    return lineage(read_manifest(dataset_folder(services.metadata.get_dataset(dataset_id))))


@router.get("/{dataset_id}/verification")
def verify_files(services: Services, dataset_id: DatasetId) -> Verification:
    """Whether each file of a ready dataset is what its manifest states: every byte is read.

    That a second build gives the same bytes is tried by ``feature-service verify dataset``, which takes as long.
    """
    folder = dataset_folder(services.metadata.get_dataset(dataset_id))
    entries = stated_files(read_manifest(folder)).items()
    files: dict[str, Literal["intact", "changed"]] = {
        path: "intact" if is_intact(folder, entry) else "changed" for path, entry in entries
    }
    return Verification(dataset_id=dataset_id, is_intact="changed" not in files.values(), files=files)


@router.get("/{dataset_id}/report", response_class=FileResponse)
def show_report(services: Services, dataset_id: DatasetId) -> Response:
    """The report on a ready dataset, a self-contained page. 404 if quality was not checked."""
    folder = dataset_folder(services.metadata.get_dataset(dataset_id))
    entry = stated_files(read_manifest(folder)).get(REPORT_NAME)
    if entry is None:
        raise NotFound(f"report of {dataset_id}: does not exist, quality was not checked")
    # What it holds came with the data: it runs no script and belongs to no site.
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    return _file(intact_file(folder, entry), "text/html", headers)


@router.get("/{dataset_id}/download", response_class=Response)
def download(
    services: Services,
    dataset_id: DatasetId,
    split: Annotated[
        Literal["train", "validation", "test", "all"], Query(description="Whose file; all is a zip of everything.")
    ] = "all",
) -> Response:
    """The file of a split, or a zip of all with the manifest; with folds, a zip of that split's file of every fold."""
    found = download_files(services.metadata.get_dataset(dataset_id), split)
    if found.is_one_file:
        [path] = found.paths
        return _file(path, MEDIA_TYPES[found.output_format], _attached(f"{dataset_id}-{path.name}"))
    return StreamingResponse(
        zip_chunks(found.paths, found.folder), media_type="application/zip", headers=_attached(f"{dataset_id}.zip")
    )


def _file(path: Place, media_type: str, headers: Mapping[str, str]) -> Response:
    if isinstance(path, Path):
        return FileResponse(path, media_type=media_type, headers=headers)
    headers = {**headers, "Content-Length": str(path.stat().st_size)}
    return StreamingResponse(file_pieces(path), media_type=media_type, headers=headers)


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _started(request: Request, response: Response, services: Services, asked: DatasetRequest) -> BuildStarted:
    record = services.builds.start(asked, trace_id=request.state.trace_id)
    if record.status == "ready":
        response.status_code = 200
    return BuildStarted(
        dataset_id=record.dataset_id,
        status=record.status,
        estimated_completion=format_iso(services.builds.estimated_completion_ns(record.dataset_id)),
        splits_info=splits_document(asked),
        trace_id=request.state.trace_id,
    )
