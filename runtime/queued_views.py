"""Views of a materialization as JSON, for the queue: its workers open the repository by its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.engine import AskedMaterialization, Materialized, MaterializeViews
from feature_repo.key_parts import KeyPart
from feature_repo.store import open_repository
from market.errors import InvalidRequest
from training_sets.engines.error_documents import error_document, error_of
from training_sets.engines.job_queue import Kind


def views_kind() -> Kind[list[Materialized]]:
    """Views of the repositories that every worker reaches at the same path."""
    return Kind("materialize", MaterializeViews, _document_of, _task, _result_document, _result)


def _document_of(task: MaterializeViews) -> dict[str, Any]:
    """Raises InvalidRequest where a worker would have to be told the addresses and passwords of the stores."""
    folder = task.config.repo_path
    if folder is None or not (folder / "feature_store.yaml").is_file():
        raise InvalidRequest(f"batch_engine: queue needs a folder with a feature_store.yaml, was {folder}")
    asked = [asdict(each) | {"start": each.start.isoformat(), "end": each.end.isoformat()} for each in task.asked]
    return {"repository": str(folder), "backend": task.backend, "asked": asked}


def _task(document: Mapping[str, Any]) -> MaterializeViews:
    asked = (
        AskedMaterialization(
            **each
            | {name: datetime.fromisoformat(each[name]) for name in ("start", "end")}
            | {"part": KeyPart(**each["part"])}
        )
        for each in document["asked"]
    )
    config = open_repository(Path(document["repository"])).config
    return MaterializeViews(config, document["backend"], tuple(asked))


def _result_document(done: list[Materialized]) -> list[dict[str, Any]]:
    return [
        {"view": each.view, "error": None if each.error is None else error_document(each.error), "rows": each.rows}
        for each in done
    ]


def _result(document: list[dict[str, Any]]) -> list[Materialized]:
    return [
        Materialized(each["view"], None if each["error"] is None else error_of(each["error"]), each["rows"])
        for each in document
    ]
