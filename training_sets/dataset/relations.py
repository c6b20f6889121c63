"""How each feature of a dataset relates to its labels, by split and by month, and which features repeat each other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quality.profile import TableProfile
from quality.relations import Relation, autocorrelation, redundant_clusters, relations
from training_sets.dataset.drift import is_in
from training_sets.last_used import LastUsed

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

MOST_ROWS: Final = 5_000
"""Of the profile's sample; ranks cost most of what follows."""
MOST_KNOWN: Final = 64
"""Months and splits, 200 kB each with the whole catalogue and four targets."""

_known: Final = LastUsed[bytes, list[list[Relation]]](MOST_KNOWN)
"""By a hash of the rows."""


def label_relations(profile: TableProfile, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON, of the splits of the first fold.

    ``targets`` by name: ``overlap``, how many labels overlap among the examined rows;
    ``autocorrelation`` of labels that are one row apart, and that do not overlap; ``by_split`` and ``by_month``, of
    each feature what ``quality.relations`` says. ``redundant``: clusters of features.
    """
    times_ns, values = profile.sample
    step = -(-len(times_ns) // MOST_ROWS) or 1
    times_ns, values, symbol = times_ns[::step], values[::step], profile.sample_symbol[::step]
    labels = [target["name"] for target in manifest["targets"]]
    features = [at for at, name in enumerate(profile.columns) if name not in labels]
    names = [profile.columns[at] for at in features]
    spacing_ns = _spacing_ns(times_ns, symbol)
    months = times_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(str)
    splits = manifest["folds"][0]["splits"]
    parts = {
        "by_split": {name: is_in(times_ns, splits, name) for name in dict.fromkeys(each["name"] for each in splits)},
        "by_month": {month: months == month for month in dict.fromkeys(months.tolist())},
    }
    overlaps = [max(1.0, target["horizon_ns"] / spacing_ns) if spacing_ns else 1.0 for target in manifest["targets"]]
    of_labels = values[:, [profile.columns.index(name) for name in labels]]
    related = {
        kind: {
            part: _relations(values[is_own][:, features], of_labels[is_own], symbol[is_own], overlaps)
            for part, is_own in of_kind.items()
        }
        for kind, of_kind in parts.items()
    }
    targets = {}
    for at, (label, overlap) in enumerate(zip(labels, overlaps, strict=True)):
        apart = math.ceil(overlap)
        targets[label] = {
            "overlap": overlap,
            "autocorrelation": {
                "next_row": autocorrelation(of_labels[:, at], symbol, 1),
                "rows_apart": apart,
                "next_apart": autocorrelation(of_labels[:, at], symbol, apart),
            },
            **{
                kind: {
                    part: {name: each.document() for name, each in zip(names, found[at], strict=True)}
                    for part, found in of_kind.items()
                }
                for kind, of_kind in related.items()
            },
        }
    return {
        "rows": len(times_ns),
        "targets": targets,
        "redundant": redundant_clusters(names, values[:, features], symbol),
    }


def _relations(columns: Float64s, labels: Float64s, symbol: Int64s, overlaps: Sequence[float]) -> list[list[Relation]]:
    """``relations``, made once of the same rows: a month that is over is the same in the dataset of a day later."""
    digest = hashlib.sha256(repr((columns.shape, labels.shape, overlaps)).encode())
    for each in (columns, labels, symbol):
        digest.update(each.tobytes())
    found = _known.get(key := digest.digest())
    if found is None:
        found = relations(columns, labels, symbol, overlaps=overlaps)
        _known.keep(key, found)
    return found


def _spacing_ns(times_ns: Int64s, symbol: Int64s) -> float:
    """The median step between rows of the symbol that has the most; 0 of fewer than two."""
    if len(times_ns) < 2:
        return 0.0
    steps = np.diff(times_ns[symbol == np.bincount(symbol).argmax()])
    return float(np.median(steps)) if len(steps) else 0.0
