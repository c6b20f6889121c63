"""The inputs of a dataset: everything that its bytes follow from, as its manifest states them.

The same inputs give the same files, so that a finished dataset whose manifest states today's inputs need not be built
again. They are determined before anything is read: what changes during a build makes the manifest differ from the next
look, never the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, floor_to
from quality.continuity import ContinuityRules
from storage.features.log import FeatureLog
from storage.raw.manifest import RawPart, common_scale
from storage.raw.raw_data import RawData
from training_sets.provenance import code_digest, feature_partitions, library_versions, outside_entry, served_partitions
from training_sets.rebuild.rebuild import start_before
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest, request_document
from training_sets.samples.columns import DatasetFeatures
from training_sets.samples.prices import LATEST_ARRIVAL_NS, MID
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.rows import FeatureSet


@dataclass(frozen=True, slots=True)
class DatasetRules:
    """What a dataset is held to. row_grid_ns: the grid of ticks in history that was not served live."""

    continuity: ContinuityRules = field(default_factory=ContinuityRules)
    has_quality_gate: bool = True
    row_grid_ns: int = SECOND_NS


def dataset_inputs(
    request: DatasetRequest, features: DatasetFeatures, log: FeatureLog, raw: RawData, rules: DatasetRules
) -> dict[str, Any]:
    """Entries of the manifest; the feature log holds the request's days. Raises CorruptStore."""
    chosen, spans = features.chosen, covered(request.folds())
    from_ns, to_ns = spans[0][0] - request.back_ns, spans[-1][1] + request.latest_price_ns
    is_on_row = request.sample_kind == "on_row"
    read = [chosen] if request.label_price == "kline_close" else [chosen, MID]
    logged = read if is_on_row else [each for each in read if each is MID]
    # Over sessions nothing is read of a stream.
    symbols = request.symbols if request.sessions is None else ()
    parts = {symbol: _parts(raw, symbol, read, from_ns=from_ns, to_ns=to_ns) for symbol in symbols}
    return {
        "request": request_document(request),
        "rules": {
            "continuity": asdict(rules.continuity),
            "quality_gate": rules.has_quality_gate,
            **({} if is_on_row else {"row_grid_ms": rules.row_grid_ns / MILLISECOND_NS}),
        },
        "feature_registry_version": chosen.version,
        "feature_set": chosen.fingerprint,
        "groups": {group.name: group.fingerprint for group in chosen.groups},
        "code": code_digest(),
        "libraries": library_versions(),
        "price_and_quantity_exponents": {
            symbol: [scale.price_exponent, scale.quantity_exponent]
            for symbol, of_symbol in parts.items()
            if of_symbol
            for scale in [common_scale(of_symbol)]
        },
        "raw_partitions": [
            {"path": file.path, "bytes": file.size, "sha256": file.sha256}
            for symbol in sorted(parts)
            for part in parts[symbol]
            for file in part.files
        ],
        "feature_partitions": feature_partitions(
            log,
            dict.fromkeys(group for each in logged for group in each.groups),
            symbols,
            from_ns=from_ns,
            to_ns=to_ns,
        ),
        "served_partitions": [] if is_on_row else served_partitions(log, symbols, from_ns=from_ns, to_ns=to_ns),
        **_joined(features),
    }


def _joined(features: DatasetFeatures) -> dict[str, Any]:
    """The views used in addition to the registry version and their files; empty if there are none."""
    if features.joined is None:
        return {}
    files = [outside_entry(filesystem, path) for filesystem, path in features.joined.files()]
    return {"joined_views": features.joined.document(), "joined_files": files}


def _parts(raw: RawData, symbol: str, read: Sequence[FeatureSet], *, from_ns: int, to_ns: int) -> list[RawPart]:
    """The parts that the features and the prices of [from_ns, to_ns] are made of, those of the horizon before too.

    Features are made by the day: the horizon of its first row counts.
    """
    parts = [part for part in raw.parts(symbol) if part.files]
    if not parts:
        return []
    first_ns = min(part.first_ns for part in parts)
    start_ns = min(
        start_before(raw, parts, set_kinds(each), floor_to(from_ns, DAY_NS) - set_horizon_ns(each), first_ns)
        for each in read
    )
    return [part for part in parts if part.last_ns >= start_ns and part.first_ns <= to_ns + LATEST_ARRIVAL_NS]
