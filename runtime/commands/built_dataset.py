"""Shared by the dataset commands: what is printed of a dataset that was built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.places import Place
    from training_sets.builds.builder import Dataset


def built_document(built: Dataset) -> dict[str, Any]:
    """Where it is and how much it has."""
    return {
        "dataset_id": built.place.name,
        "status": "ready",
        "stood_already": built.is_reused,
        "path": str(built.place),
        "folds": len(built.manifest["folds"]),
        "splits": built.manifest["splits"],
        "train_records": built.records["train"],
        "validation_records": built.records["validation"],
        "test_records": built.records["test"],
        "warnings": built.manifest["warnings"],
        "report": _report_of(built.place),
    }


def _report_of(folder: Place) -> str | None:
    """The page that shows a dataset; there is none where its quality is not checked."""
    from training_sets.dataset.manifest import REPORT_NAME

    found = folder / REPORT_NAME
    return str(found) if found.is_file() else None
