"""Errors as JSON and back: one of ours as it was raised, any other by its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from market.errors import FeatureServiceError


def error_document(error: Exception) -> dict[str, Any]:
    """An error as JSON; ``error`` is the name of its class, empty for one that is not ours."""
    if isinstance(error, FeatureServiceError):
        return {"error": type(error).__name__, "arguments": list(error.args)}
    return {"error": "", "arguments": [f"{type(error).__name__}: {error}"]}


def error_of(document: Mapping[str, Any]) -> Exception:
    """The error of a document; RuntimeError for one that is not ours or takes arguments of its own."""
    pending, known = [FeatureServiceError], {}
    while pending:
        each = pending.pop()
        known[each.__name__] = each
        pending += each.__subclasses__()
    name, arguments = document["error"], document["arguments"]
    if name not in known:
        return RuntimeError(*arguments)
    try:
        return known[name](*arguments)
    except TypeError:  # one with arguments of its own
        return RuntimeError(f"{name}: {' '.join(map(str, arguments))}")
