"""A declared function called once for many windows, with the bits that a call for each of them gives.

1. The function's own code runs on ``stand_ins`` for its arrays.
2. Where windows take different branches, each side is computed for its own windows.
3. Where all elements of a column are the same, as split ratios mostly are, it is handed over as that number and not as
   windows.
4. A function that does what is not known for many windows at once is called for each.

Only functions of this package are called so: those of others may do what no array shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import FunctionType, SimpleNamespace
from typing import Any, Final

import numpy as np

from transforms.stand_ins import Branches, Each, Rows, Sliding, Stretches

FEWEST: Final = 16
"""Windows below which calling the function for each takes no longer."""
_MOST: Final = 1024
"""Windows at a time: side by side they are to stay in the processor's cache."""
_LONG: Final = 32
"""Rows from which on it pays to look for columns that are one number."""


def values_of(
    function: Callable[..., Any], series: Sequence[Any], ends: Any, rows: int, parameters: Mapping[str, Any]
) -> Any:
    """(n,) what the function makes of the last ``rows`` of each column until ``ends`` (n,), ascending.

    NaN where infinite. None where it is to be called for each window.
    """
    if not _is_for_all(function, len(ends)):
        return None
    values = np.empty(len(ends))
    try:
        for at in range(0, len(ends), _MOST):
            firsts = ends[at : at + _MOST] - rows
            begin, end = int(firsts[0]), int(firsts[-1]) + rows
            columns = [each[begin:end] for each in series]
            values[at : at + _MOST] = _values(function, columns, firsts - begin, rows, parameters)
    except (TypeError, AttributeError):  # what is the function's own error it raises again when called for one
        return None
    return np.where(np.isfinite(values), values, math.nan)


def values_of_stretches(
    function: Callable[..., Any],
    series: Sequence[Any],
    firsts: Sequence[Any],
    ends: Sequence[Any],
    lengths: Sequence[int],
    parameters: Mapping[str, Any],
) -> Any:
    """(n,) what the function makes of the elements of each column from ``firsts`` until ``ends``, each (n,), ascending.

    lengths: of each column how many those are, 0 where every stretch has a length of its own. NaN where infinite. None
    where the function is to be called for each.
    """
    count = len(ends[0])
    if not _is_for_all(function, count):
        return None
    values = np.empty(count)
    try:
        for at in range(0, count, _MOST):
            chosen: list[Any] = []
            for column, first, end, length in zip(series, firsts, ends, lengths, strict=True):
                begin, last = int(first[at]), int(end[at : at + _MOST][-1])
                held, of = column[begin:last], first[at : at + _MOST] - begin
                until = end[at : at + _MOST] - begin
                chosen.append(Sliding(held, of, length) if length else Stretches(held, of, until))
            values[at : at + _MOST] = _branched(_for_all(function), chosen, parameters, min(_MOST, count - at))
    except (TypeError, AttributeError):  # as above
        return None
    return np.where(np.isfinite(values), values, math.nan)


def _is_for_all(function: Callable[..., Any], count: int) -> bool:
    return count >= FEWEST and function.__module__.partition(".")[0] == "transforms"


def _values(
    function: Callable[..., Any], columns: Sequence[Any], firsts: Any, rows: int, parameters: Mapping[str, Any]
) -> Any:
    values = np.empty(len(firsts))
    for places, alike in _alike(columns, firsts, rows):
        of = firsts[places]
        chosen = [
            Sliding(column, of, rows) if number is None else Rows(np.full((1, rows), number))
            for column, number in zip(columns, alike, strict=True)
        ]
        values[places] = _branched(_for_all(function), chosen, parameters, len(places))
    return values


def _alike(columns: Sequence[Any], firsts: Any, rows: int) -> list[tuple[Any, list[Any]]]:
    """Places of the windows, and of each column the number that all elements of theirs are, None where they differ."""
    groups: list[tuple[Any, list[Any]]] = [(np.arange(len(firsts)), [])]
    if rows < _LONG:
        return [(groups[0][0], [None] * len(columns))]
    for column in columns:
        bits = column.view(np.int64)
        changed = np.maximum.accumulate(np.where(np.append(True, bits[1:] != bits[:-1]), np.arange(len(bits)), 0))
        is_alike = changed[firsts + rows - 1] <= firsts
        numbers = bits[firsts]
        split: list[tuple[Any, list[Any]]] = []
        for places, before in groups:
            alike = places[is_alike[places]]
            most = _most_common(numbers[alike])
            is_most = is_alike[places] & (numbers[places] == most) if most is not None else np.zeros(len(places), bool)
            split.append((places[is_most], [*before, None if most is None else most.view(np.float64)]))
            split.append((places[~is_most], [*before, None]))
        groups = [each for each in split if len(each[0])]
    return groups


def _most_common(bits: Any) -> Any:
    if len(bits) < FEWEST:
        return None
    values, counts = np.unique(bits, return_counts=True)
    return values[np.argmax(counts)]


def _branched(function: Callable[..., Any], columns: Sequence[Any], parameters: Mapping[str, Any], count: int) -> Any:
    """(count,) the function's numbers, each of its own branch."""
    try:
        made = function(*columns, **parameters)
    except Branches as two:
        values = np.empty(count)
        for is_side in (two.is_true, ~two.is_true):
            side = [each.of(is_side) for each in columns]
            values[is_side] = _branched(function, side, parameters, int(is_side.sum()))
        return values
    return made.values if isinstance(made, Each) else float(made)


@cache
def _for_all(function: Any) -> Any:
    """The function, and those of this package that it calls, with what numpy makes anew made for all windows."""
    names: dict[str, Any] = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if value is np:
            names[name] = SimpleNamespace(**{**vars(np), "ones": lambda length: Rows(np.ones((1, length)))})
        elif isinstance(value, FunctionType) and value.__module__.partition(".")[0] == "transforms":
            names[name] = _for_all(value)
    names["float"] = lambda number: Each(number.values, is_float=True) if isinstance(number, Each) else float(number)
    return FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
