"""OpenLineage events: what was made of what, in the form that lineage servers such as Marquez read.

An ended build is one event with the run of its dataset's id, COMPLETE, FAIL or ABORT; a rebuild one that is COMPLETE.
Inputs and outputs are tables: the files of each, with their hashes, are in the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from market.errors import FeatureServiceError, StoreUnavailable
from training_sets.builds.notices import DatasetNotices

PRODUCER: Final = "https://pypi.org/project/feature-service"
SCHEMA: Final = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE: Final = "feature-service"
MADE_OF: Final = {"raw_partitions": "raw", "feature_partitions": "features", "served_partitions": "features"}
"""The manifest's lists of files, and the folder that their paths begin in."""
STATES: Final = {"ready": "COMPLETE", "cancelled": "ABORT"}

_log = logging.getLogger(__name__)
Event = dict[str, Any]
Post = Callable[[Event], object]
"""Hands an event over. Raises StoreUnavailable."""


def dataset_event(notice: Mapping[str, Any], manifest: Mapping[str, Any] | None, ended: datetime) -> Event:
    """Of a notice of an ended dataset; manifest: None of one that is not ready."""
    run: Event = {"runId": str(UUID(notice["dataset_id"])), "facets": {}}
    if "error_message" in notice:
        message = {"message": notice["error_message"], "programmingLanguage": "python"}
        run["facets"]["errorMessage"] = _facet(message, "1-0-1/ErrorMessageRunFacet")
    outputs = []
    if manifest is not None:
        fields = [{"name": name, "type": "float64"} for name in manifest.get("feature_references") or ()]
        facets = {
            "version": _facet({"datasetVersion": notice["dataset_id"]}, "1-0-1/DatasetVersionDatasetFacet"),
            "schema": _facet({"fields": fields}, "1-1-1/SchemaDatasetFacet"),
        }
        outputs = [_table(f"datasets/{notice['dataset_id']}", facets)]
    return _event(
        STATES.get(notice["status"], "FAIL"), ended, run, job="dataset.build", inputs=inputs(manifest), outputs=outputs
    )


def rebuild_event(run_id: str, symbol: str, groups: list[str], ended: datetime) -> Event:
    """Of days of the feature log that were computed again from raw Parquet."""
    outputs = [_table(f"features/{group}/{symbol}") for group in groups]
    run: Event = {"runId": str(UUID(run_id)), "facets": {}}
    return _event("COMPLETE", ended, run, job="rebuild", inputs=[_table(f"raw/{symbol}")], outputs=outputs)


def inputs(manifest: Mapping[str, Any] | None) -> list[Event]:
    """The tables that a dataset was made of: of ``<table>/…/symbol=<symbol>/…`` the first and the last."""
    found = set()
    for name, folder in MADE_OF.items():
        for file in (manifest or {}).get(name) or ():
            parts = str(file["path"]).split("/")
            symbols = [part.removeprefix("symbol=") for part in parts if part.startswith("symbol=")]
            found.add("/".join([folder, parts[0], *symbols]))
    return [_table(name) for name in sorted(found)]


class LineageNotices:
    """Notices that are told as events too. An event that is not taken is lost with a warning: the notice is not."""

    def __init__(
        self,
        inner: DatasetNotices,
        post: Post,
        *,
        manifest_of: Callable[[str], Mapping[str, Any]],
        now: Callable[[], datetime],
    ) -> None:
        self._inner = inner
        self._post = post
        self._manifest_of = manifest_of
        self._now = now

    def send(self, notice: Mapping[str, Any]) -> None:
        """Raises StoreUnavailable, where the notice itself is not taken."""
        self._inner.send(notice)
        try:
            manifest = self._manifest_of(notice["dataset_id"]) if notice["status"] == "ready" else None
            self._post(dataset_event(notice, manifest, self._now()))
        except FeatureServiceError as error:
            _log.warning("OpenLineage event of dataset %s: %s", notice["dataset_id"], error)


def tell_of_rebuild(post: Post, event: Event) -> None:
    """Hand over an event of a rebuild; one that is not taken is lost with a warning."""
    try:
        post(event)
    except StoreUnavailable as error:
        _log.warning("OpenLineage event of a rebuild: %s", error)


def _event(state: str, at: datetime, run: Event, *, job: str, inputs: list[Event], outputs: list[Event]) -> Event:
    return {
        "eventType": state,
        "eventTime": at.isoformat(),
        "run": run,
        "job": {"namespace": NAMESPACE, "name": job, "facets": {}},
        "inputs": inputs,
        "outputs": outputs,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
    }


def _table(name: str, facets: Event | None = None) -> Event:
    return {"namespace": NAMESPACE, "name": name, "facets": facets or {}}


def _facet(content: Event, schema: str) -> Event:
    name = schema.rpartition("/")[2]
    return {
        **content,
        "_producer": PRODUCER,
        "_schemaURL": f"https://openlineage.io/spec/facets/{schema.partition('/')[0]}/{name}.json",
    }
