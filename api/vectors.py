"""The feature vector that the online store holds, as the document that HTTP and the command line answer with."""

from __future__ import annotations

from typing import Any

from storage.online.document import vector_document
from storage.online.vector import OnlineVector


def feature_vector(vector: OnlineVector, *, now_ns: int, trace_id: str) -> dict[str, Any]:
    """The FeatureVector document of the newest row."""
    return vector_document(
        symbol=vector.symbol,
        row_ns=vector.row_ns,
        columns=vector.columns,
        values=vector.values.tolist(),
        missing=vector.missing,
        version=vector.version,
        fingerprint=vector.fingerprint,
        now_ns=now_ns,
        trace_id=trace_id,
    )
