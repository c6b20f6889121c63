"""What a leakage check computes again as JSON, for an engine whose workers have the stores open already.

Values pass as the bytes of float64 in base64, each bit as it was: JSON of PostgreSQL knows no NaN.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from quality.parity import Divergence
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from training_sets.checks.recomputing import ComparedStretch, LogStretch, PastRows, RowsOfPast
from training_sets.engines.job_queue import Kind
from training_sets.rebuild.queued import read_rebuild, rebuild_document

_BITS: Final = "<f8"


def recomputing_kinds(raw: RawData, features: FeatureLog, kernel_cache: Path) -> list[Kind[Any]]:
    """Rows of the past and stretches of the log, between these stores."""

    def past_rows(document: Mapping[str, Any]) -> PastRows:
        rebuild = read_rebuild(document, raw, features, kernel_cache)
        return PastRows(rebuild, tuple(document["row_ns"]), document["is_whole"])

    def log_stretch(document: Mapping[str, Any]) -> LogStretch:
        rebuild = read_rebuild(document, raw, features, kernel_cache)
        return LogStretch(rebuild, document["from_ns"], document["to_ns"])

    return [
        Kind("rows of the past", PastRows, _of_past_rows, past_rows, _of_values, _values),
        Kind("stretch of the log", LogStretch, _of_log_stretch, log_stretch, asdict, _compared),
    ]


def _of_past_rows(task: PastRows) -> dict[str, Any]:
    return rebuild_document(task.rebuild) | {"row_ns": list(task.row_ns), "is_whole": task.is_whole}


def _of_log_stretch(task: LogStretch) -> dict[str, Any]:
    return rebuild_document(task.rebuild) | {"from_ns": task.from_ns, "to_ns": task.to_ns}


def _of_values(rows: RowsOfPast) -> dict[str, Any]:
    bits = b64encode(rows.values.astype(_BITS).tobytes()).decode()
    return {"symbol": rows.symbol, "row_ns": rows.row_ns.tolist(), "values": bits}


def _values(document: Mapping[str, Any]) -> RowsOfPast:
    row_ns = np.array(document["row_ns"], np.int64)
    values = np.frombuffer(b64decode(document["values"]), _BITS).astype(np.float64)
    return RowsOfPast(document["symbol"], row_ns, values.reshape(len(row_ns), -1))


def _compared(document: Mapping[str, Any]) -> ComparedStretch:
    first = document["first"]
    return ComparedStretch(**{**document, "first": None if first is None else Divergence(**first)})
