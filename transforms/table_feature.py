"""The ``@table_feature`` declaration: a pure function of the last known rows of one key of a table.

As with ``@feature``, the name template, the function's parameter names and its docstring are everything there is to
say. A parameter is a column of the table, an array of the last ``rows`` known rows, oldest first, or a parameter of the
template. The function is called with a full window of known numbers alone, so it has no way to look ahead.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from market.errors import InvalidFeature
from transforms.docstring import read_docstring

KNOWN_AT: Final = "known_at_us"
"""Column and Feast field beside the features: from when on the row could be known, microseconds since 1970 UTC. Feast's
online rows have no creation time, and a reader must be able to refuse what is from after the time asked for."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class TableFeature:
    """One column: a declared function with its parameters fixed."""

    name: str
    group: str
    table: str
    """The table that it reads, by the name under which a mapping declares it."""
    function: Callable[..., float] = field(repr=False)
    columns: tuple[str, ...]
    parameters: Mapping[str, int]
    rows: int
    """How many rows it sees, the newest known one included."""
    unit: str
    low: float
    high: float
    summary: str
    formula: str
    nan_rule: str

    def value(self, window: Mapping[str, Any]) -> float:
        """The value on the known rows, at least ``rows`` float64 a column; NaN where one is NaN, or it is infinite."""
        series = [window[name][-self.rows :] for name in self.columns]
        if any(np.isnan(values).any() for values in series):
            return math.nan
        value = float(self.function(*series, **self.parameters))
        return value if math.isfinite(value) else math.nan


_declared: dict[str, list[TableFeature]] = {}


def table_feature(  # a declaration names everything that is true of a feature
    template: str,
    *,
    reads: str,
    rows: int | Callable[..., int],
    unit: str,
    low: float = -math.inf,
    high: float = math.inf,
    **parameters: Sequence[int],
) -> Callable[[F], F]:
    """Declare the decorated function as the columns of ``template``, one for each combination of the parameters.

    rows: how many known rows the function sees, or a function to that number from the parameters.
    low, high: the closed range of every value that is not NaN.

    Raises InvalidFeature when template, function and docstring do not fit together.
    """

    def declare(function: F) -> F:
        group = function.__module__.rpartition(".")[2]
        summary, formula, nan_rule = read_docstring(function)
        problems = [
            f"docstring: must have a line {heading!r}"
            for heading, text in (("Formula:", formula), ("NaN:", nan_rule))
            if not text
        ]
        problems += [
            f"{{{name}}}: must stand in the template once it is a parameter"
            for name in parameters
            if f"{{{name}}}" not in template
        ]
        if problems:
            raise InvalidFeature(f"{group}.{template}", problems)
        taken = tuple(inspect.signature(function).parameters)
        for values in itertools.product(*parameters.values()):
            chosen = dict(zip(parameters, values, strict=True))
            _declared.setdefault(group, []).append(
                TableFeature(
                    name=template.format(**chosen),
                    group=group,
                    table=reads,
                    function=function,
                    columns=tuple(name for name in taken if name not in parameters),
                    parameters={name: chosen[name] for name in taken if name in parameters},
                    rows=rows(*chosen.values()) if callable(rows) else rows,
                    unit=unit,
                    low=low,
                    high=high,
                    summary=summary,
                    formula=formula,
                    nan_rule=nan_rule,
                )
            )
        return function

    return declare


def declared_table_features(group: str) -> tuple[TableFeature, ...]:
    """The features of an imported group module, in order of declaration."""
    return tuple(_declared.get(group, ()))


def table_fingerprint(features: Sequence[TableFeature]) -> str:
    """Sixteen hex digits that change when a value of the group could."""
    from transforms.fingerprint import code_fingerprint

    identity = [(each.name, each.table, each.columns, sorted(each.parameters.items()), each.rows) for each in features]
    code = code_fingerprint([each.function for each in features])
    return hashlib.sha256(f"{identity!r} {code}".encode()).hexdigest()[:16]
