"""Usage: which finished datasets are made of a period of a symbol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from market.clock import DAY_NS, parse_iso_ns
from market.errors import CorruptStore, InvalidRequest
from storage.places import matching
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.manifest import MANIFEST_NAME, manifest_request, read_manifest
from training_sets.request.folds import covered


def datasets_of(datasets: Datasets, symbol: str, first_ns: int, last_ns: int) -> list[str]:
    """Ids of the datasets that are made of the symbol's ``[first_ns, last_ns]``, sorted.

    One is made of its periods and of every day that its manifest names a file of, for its features look back. One whose
    manifest cannot be read may be made of anything: it counts, with the reason behind its id.
    """
    used_by = []
    for path in matching(datasets.place, f"*/{MANIFEST_NAME}"):
        name = path.parent.name
        try:
            spans = list(_spans(read_manifest(path.parent), symbol))
        except (CorruptStore, InvalidRequest, ValueError, KeyError, TypeError) as error:
            used_by.append(f"{name} ({path}: must be a manifest, was {type(error).__name__}: {error})")
            continue
        if any(start_ns <= last_ns and end_ns > first_ns for start_ns, end_ns in spans):
            used_by.append(name)
    return used_by


def _spans(manifest: Mapping[str, Any], symbol: str) -> Iterator[tuple[int, int]]:
    """Each [start, end) of the symbol that the dataset is made of."""
    request = manifest_request(manifest)
    if symbol not in request.symbols:
        return
    yield from ((start_ns, end_ns + request.label_reach_ns) for start_ns, end_ns in covered(request.folds()))
    for entry in (*manifest["raw_partitions"], *manifest["feature_partitions"]):
        named = dict(part.split("=", 1) for part in entry["path"].split("/") if "=" in part)
        if named.get("symbol") == symbol:
            day_ns = parse_iso_ns(named["date"])
            yield day_ns, day_ns + DAY_NS
