"""Routes of training sets: build, list, look up, download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from api.archive import zip_chunks
from api.errors import MalformedRequest
from api.schemas import BuildRequest, BuildStarted, DatasetDocument, Moment, dataset_document, period_request
from api.services import Services
from feature_repo.registry_versions import registry_versions
from market.clock import format_iso
from market.errors import Conflict, CorruptStore, NotFound
from storage.metadata import DatasetRecord, DatasetStatus
from training_sets.builder import MANIFEST_NAME, read_manifest
from training_sets.builds import splits_document

router = APIRouter(prefix="/dataset", tags=["datasets"])


@router.post("/build", status_code=202)
def build(
    request: Request,
    services: Services,
    *,
    body: Annotated[BuildRequest | None, Body()] = None,
    symbol: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    begin: Annotated[Moment | None, Query(alias="from")] = None,
    end: Annotated[Moment | None, Query(alias="to")] = None,
) -> BuildStarted:
    """Start a build: from a JSON body, or from ``?symbol=&from=&to=``.

    The query form splits the period 70/15/15 by time and predicts the return over the next minute. The registry
    version is the newest one unless the body names another.
    """
    versions = registry_versions(services.versions_folder)
    if not versions:
        raise NotFound(f"feature registry: must hold a version, {services.versions_folder} holds none")
    if body is not None:
        if (symbol, begin, end) != (None, None, None):
            raise MalformedRequest("request: must be either a body or ?symbol=&from=&to=, was both")
        asked = body.to_request(versions[-1])
    elif symbol is not None and begin is not None and end is not None:
        asked = period_request(symbol, begin, end, versions[-1])
    else:
        raise MalformedRequest("request: must be a JSON body or ?symbol=&from=&to=, was neither")
    record = services.builds.start(asked)
    estimate_ns = services.builds.estimated_completion_ns()
    return BuildStarted(
        dataset_id=record.dataset_id,
        status=record.status,
        estimated_completion=None if estimate_ns is None else format_iso(estimate_ns),
        splits_info=splits_document(asked),
        trace_id=request.state.trace_id,
    )


@router.get("/list")
def list_datasets(
    services: Services,
    status: DatasetStatus | None = None,
    symbol: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[DatasetDocument]:
    """The newest datasets, newest first."""
    found = services.metadata.list_datasets(status=status, symbol=symbol, limit=limit)
    return [dataset_document(record) for record in found]


@router.get("/{dataset_id}")
def show(services: Services, dataset_id: str) -> DatasetDocument:
    """One dataset; once it is ready, with the manifest that tells its columns, fingerprints and files."""
    record = services.metadata.get_dataset(dataset_id)
    manifest = read_manifest(_folder(record)) if record.status == "ready" else None
    return dataset_document(record, manifest=manifest)


@router.get("/{dataset_id}/download", response_class=Response)
def download(
    services: Services,
    dataset_id: str,
    split: Annotated[Literal["train", "validation", "test", "all"], Query()] = "all",
) -> Response:
    """The Parquet file of a split, or a zip of all of them with the manifest."""
    record = services.metadata.get_dataset(dataset_id)
    if record.status != "ready":
        raise Conflict(f"dataset {dataset_id}: must be ready to be downloaded, was {record.status}")
    folder = _folder(record)
    files = {name: folder / entry["path"] for name, entry in read_manifest(folder)["files"].items()}
    if split != "all":
        if split not in files:
            raise NotFound(f"split: must be one of {', '.join(files)}, was {split!r}")
        [path] = _existing([files[split]])
        return FileResponse(path, media_type="application/vnd.apache.parquet", filename=f"{dataset_id}-{path.name}")
    paths = _existing([*files.values(), folder / MANIFEST_NAME])
    return StreamingResponse(
        zip_chunks(paths),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{dataset_id}.zip"'},
    )


def _existing(paths: list[Path]) -> list[Path]:
    """Checked before the answer begins: afterwards it could only break off."""
    for path in paths:
        if not path.is_file():
            raise CorruptStore(f"{path}: must be a file of the dataset, was none")
    return paths


def _folder(record: DatasetRecord) -> Path:
    if record.path is None:
        raise CorruptStore(f"dataset {record.dataset_id}: must have a path once it is ready, was none")
    return Path(record.path)
