"""The feature vector that the online store holds, as the document that HTTP and the command line answer with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from market.errors import InvalidRequest
from storage.online.document import vector_document
from storage.online.vector import OnlineVector


def feature_vector(vector: OnlineVector, *, now_ns: int, trace_id: str, features: Sequence[str] = ()) -> dict[str, Any]:
    """The FeatureVector document of the newest row. features: which, in this order; none is all of them.

    Raises InvalidRequest for a feature that the row has not.
    """
    columns, values = vector.columns, vector.values.tolist()
    if features:
        held = dict(zip(columns, values, strict=True))
        if unknown := [name for name in features if name not in held]:
            raise InvalidRequest(
                f"features: must be features of registry version {vector.version}, was {', '.join(unknown)}"
            )
        columns, values = tuple(features), [held[name] for name in features]
    return vector_document(
        symbol=vector.symbol,
        row_ns=vector.row_ns,
        columns=columns,
        values=values,
        missing=vector.missing,
        statuses=vector.statuses,
        version=vector.version,
        fingerprint=vector.fingerprint,
        now_ns=now_ns,
        trace_id=trace_id,
    )
