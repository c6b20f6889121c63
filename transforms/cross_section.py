"""Features of one date's cross-section: what a key is among all keys of its date, as they were known.

1. The features of each key's rows are replayed as ``known_rows`` does; each makes a value of an event at a known time.
2. At each known time, in order, the keys learn their newest values. The section are the keys whose newest event is the
   newest of all: what is delisted or late is not among them, and joins when it is known.
3. Where the section changed, its features are computed of it, and make a feature row of each of its keys that has
   another answer than before.

A parameter of the function is a feature of the same group or, where there is none of that name, a column of the group's
table at its last row; an array, a number a key, in the order of the keys. NaN is not known.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from market.errors import InvalidFeature
from transforms.docstring import read_docstring
from transforms.known_rows import ComputedRows
from transforms.table_feature import TableFeature, Window, group_of

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class SectionFeature:
    """One column: a declared function of a section."""

    name: str
    group: str
    function: Callable[..., Any] = field(repr=False)
    sees: tuple[str, ...]
    """Features of the group or columns of its table, in the function's order."""
    unit: str
    low: float
    high: float
    summary: str
    formula: str
    nan_rule: str

    def of(self, section: Mapping[str, Any]) -> Any:
        """(k,) its values on the section; NaN where one is infinite."""
        values = np.asarray(self.function(*(section[name] for name in self.sees)), np.float64)
        return np.where(np.isfinite(values), values, math.nan)


_declared: dict[str, list[SectionFeature]] = {}


def section_feature(name: str, *, unit: str, low: float = -math.inf, high: float = math.inf) -> Callable[[F], F]:
    """Declare the decorated function as a column. Raises InvalidFeature for a docstring without its lines."""

    def declare(function: F) -> F:
        group = group_of(function)
        summary, formula, nan_rule = read_docstring(function)
        if not formula or not nan_rule:
            raise InvalidFeature(f"{group}.{name}", ["docstring: must have a line 'Formula:' and a line 'NaN:'"])
        sees = tuple(inspect.signature(function).parameters)
        _declared.setdefault(function.__module__, []).append(
            SectionFeature(name, group, function, sees, unit, low, high, summary, formula, nan_rule)
        )
        return function

    return declare


def declared_section_features(module: str) -> tuple[SectionFeature, ...]:
    """The features of an imported group module, by its whole name, in order of declaration."""
    return tuple(_declared.get(module, ()))


def rank(values: Any) -> Any:
    """(k,) share of the others that are below, a tie counting half, 0 to 1; NaN of NaN, and where there is no other."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return np.full(len(values), math.nan)
    ordered = np.sort(known)
    below, until = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    ranks = (below + until - 1) / 2.0 / (len(known) - 1)
    return np.where(np.isnan(values), math.nan, ranks)


def z_score(values: Any) -> Any:
    """(k,) distance from the mean in deviations (ddof 1); 0 where all are equal, NaN with fewer than two."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return np.full(len(values), math.nan)
    if np.min(known) == np.max(known):  # whose mean may round to something else
        return values * 0.0
    return (values - np.mean(known)) / np.std(known, ddof=1)


def neutralised(values: Any, groups: Any) -> Any:
    """(k,) distance from the mean of the key's own group; NaN where the value or its group is not known."""
    found = np.full(len(values), math.nan)
    for group in np.unique(groups[~np.isnan(groups)]):
        is_of = (groups == group) & ~np.isnan(values)
        found[is_of] = values[is_of] - np.mean(values[is_of])
    return found


def of_columns(features: Sequence[TableFeature], sections: Sequence[SectionFeature], table: str) -> list[TableFeature]:
    """The features whose values a section is made of: the group's own, then its table's columns that it sees."""
    names = dict.fromkeys(name for each in sections for name in each.sees)
    own = {each.name for each in features}
    columns = [
        TableFeature(name, "", last, {name: Window(table, name)}, {}, "", -math.inf, math.inf, "", "", "")
        for name in names
        if name not in own
    ]
    return [*features, *columns]


def last(values: Any) -> float:
    """The newest known."""
    return values[-1]


def section_rows(
    computed: Mapping[str, ComputedRows],
    names: Sequence[str],
    sections: Sequence[SectionFeature],
    *,
    after_ns: int | None = None,
) -> dict[str, ComputedRows]:
    """By key the values of its rows beside those of its section, rows after ``after_ns`` alone.

    computed: by key, in columns ``names``; with ``after_ns`` each begins with its newest row until then.
    """
    keys = sorted(computed)
    steps = sorted(
        (int(created), at, row) for at, key in enumerate(keys) for row, created in enumerate(computed[key].created_ns)
    )
    event_ns = np.full(len(keys), np.iinfo(np.int64).min)
    values = np.full((len(keys), len(names) + len(sections)), math.nan)
    made: list[list[tuple[int, int, Any]]] = [[] for _ in keys]
    changed: set[int] = set()
    for place, (created, at, row) in enumerate(steps):
        event_ns[at] = computed[keys[at]].event_ns[row]
        values[at, : len(names)] = computed[keys[at]].values[row]
        changed.add(at)
        if place + 1 < len(steps) and steps[place + 1][0] == created:
            continue
        members = np.flatnonzero(event_ns == event_ns.max())
        now = {name: values[members, column] for column, name in enumerate(names)}
        before = values[members, len(names) :]
        with np.errstate(all="ignore"):
            found = np.column_stack([each.of(now) for each in sections])
        values[members, len(names) :] = found
        is_other = ~((found == before) | (np.isnan(found) & np.isnan(before))).all(axis=1)
        left = changed - set(members.tolist())
        values[list(left), len(names) :] = math.nan  # of an event that is not the newest, it is in no section
        for member in sorted(set(members[is_other].tolist()) | changed):
            if after_ns is None or created > after_ns:
                made[member].append((int(event_ns[member]), created, values[member].copy()))
        changed.clear()
    return {
        key: ComputedRows(
            np.array([each[0] for each in rows], np.int64),
            np.array([each[1] for each in rows], np.int64),
            np.array([each[2] for each in rows]).reshape(-1, values.shape[1]),
        )
        for key, rows in zip(keys, made, strict=True)
    }
