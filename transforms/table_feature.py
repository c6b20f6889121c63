"""The ``@table_feature`` declaration: a pure function of rows of tables that were known.

As with ``@feature``, the name template, the function's parameter names and its docstring are everything there is to
say. A parameter is a column of the table, an array of the last ``rows`` known rows, oldest first, or what ``sees`` says
it is, or a parameter of the template. The function is called with known numbers alone, so it has no way to look ahead.
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

from market.clock import parse_duration_ns
from market.errors import InvalidFeature
from transforms.docstring import read_docstring
from transforms.every_window import FEWEST, values_of

KNOWN_AT: Final = "known_at_us"
"""Column and Feast field beside the features: from when on the row could be known, microseconds since 1970 UTC. Feast's
online rows have no creation time, and a reader must be able to refuse what is from after the time asked for."""

F = TypeVar("F", bound=Callable[..., Any])


EVENT_NS: Final = "event_ns"
"""A column that every table has: the event times of the rows seen, int64."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a parameter sees of a table: its last known ``rows``, or with 0 all that lie ``within`` a duration.

    within: such as "7d", back from the moment of the answer. Of last rows it bounds the age of the newest; empty bounds
    nothing. key: the key whose rows they are, for a series that is the same for all; empty is the answer's own.
    """

    table: str
    column: str
    rows: int = 1
    within: str = ""
    key: str = ""

    @property
    def within_ns(self) -> int:
        """0 where nothing is bounded."""
        return parse_duration_ns(self.within) if self.within else 0


@dataclass(frozen=True)
class TableFeature:
    """One column: a declared function with its parameters fixed."""

    name: str
    group: str
    function: Callable[..., float] = field(repr=False)
    sees: Mapping[str, Window]
    """By parameter, in the function's order."""
    parameters: Mapping[str, int]
    unit: str
    low: float
    high: float
    summary: str
    formula: str
    nan_rule: str

    @property
    def table(self) -> str:
        """The first table that it reads, by the name under which a mapping declares it."""
        return next(iter(self.sees.values())).table

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables that it reads."""
        return tuple(dict.fromkeys(window.table for window in self.sees.values()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it sees, in the function's order."""
        return tuple(window.column for window in self.sees.values())

    @property
    def rows(self) -> int:
        """How many rows it sees, the newest known one included."""
        return max(window.rows for window in self.sees.values())

    @property
    def is_of_rows(self) -> bool:
        """Whether it sees the last rows of one key of one table, and nothing else: its answer is of the newest."""
        windows = list(self.sees.values())
        return all(
            (each.table, each.rows, each.within, each.key) == (self.table, self.rows, "", "") for each in windows
        )

    @property
    def is_for_all(self) -> bool:
        """Whether every key has the same answer, of series that are the same for all."""
        return all(window.key for window in self.sees.values())

    def values(self, known: Mapping[str, Any], counts: Any) -> Any:
        """(n,) its values, each on the last ``rows`` of the first ``counts`` (n,) known rows of each column.

        NaN where there are fewer, one of them is NaN, or it is infinite.
        """
        found = np.full(len(counts), math.nan)
        columns, rows = self.columns, self.rows
        if len(counts) == 0 or not all(name in known for name in columns):
            return found
        begin = max(0, int(counts.min()) - rows)  # what no window holds is not looked at
        series, counts = [known[name][begin:] for name in columns], counts - begin
        if len(counts) < FEWEST:
            return self._one_by_one(series, counts.tolist())
        is_full = counts >= rows
        for each in series:
            newest_unknown = np.maximum.accumulate(np.where(np.isnan(each), np.arange(len(each)), -1))
            is_full &= newest_unknown[counts - 1] < counts - rows
        places = np.flatnonzero(is_full)
        with np.errstate(all="ignore"):  # a price of 0 is no reason to end
            values = values_of(self.function, series, counts[places], rows, self.parameters)
        found[places] = self._one_by_one(series, counts[places].tolist()) if values is None else values
        return found

    def _one_by_one(self, series: Sequence[Any], counts: Sequence[int]) -> Any:
        found = np.full(len(counts), math.nan)
        with np.errstate(all="ignore"):
            for at, end in enumerate(counts):
                seen = [each[max(0, end - self.rows) : end] for each in series]
                if end >= self.rows and not any(np.isnan(each).any() for each in seen):
                    found[at] = self.of(seen)
        return found

    def of(self, series: Sequence[Any]) -> float:
        """The value on what each parameter sees; NaN where it is infinite."""
        value = float(self.function(*series, **self.parameters))
        return value if math.isfinite(value) else math.nan


_declared: dict[str, list[TableFeature]] = {}


def table_feature(  # a declaration names everything that is true of a feature
    template: str,
    *,
    unit: str,
    reads: str = "",
    rows: int | Callable[..., int] = 1,
    sees: Mapping[str, Window] | Callable[..., Mapping[str, Window]] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    **parameters: Sequence[Any],
) -> Callable[[F], F]:
    """Declare the decorated function as the columns of ``template``, one for each combination of the parameters.

    reads: the table whose columns the function's parameters are.
    rows: how many known rows the function sees, or a function to that number from the parameters.
    sees: what parameters see that are no columns of ``reads``, or a function to that from the template's parameters.
    low, high: the closed range of every value that is not NaN.

    A window of rows is full and without NaN when the function is called; one of a duration may be empty, and hold NaN.

    Raises InvalidFeature when template, function and docstring do not fit together.
    """

    def declare(function: F) -> F:
        group = group_of(function)
        summary, formula, nan_rule = read_docstring(function)
        taken = tuple(inspect.signature(function).parameters)
        problems = _problems(template, parameters, formula, nan_rule)
        if not reads and sees is None:
            problems.append("reads: must name a table where parameters are its columns")
        if problems:
            raise InvalidFeature(f"{group}.{template}", problems)
        for values in itertools.product(*parameters.values()):
            chosen = dict(zip(parameters, values, strict=True))
            given = sees(*chosen.values()) if callable(sees) else sees or {}
            count = rows(*chosen.values()) if callable(rows) else rows
            _declared.setdefault(function.__module__, []).append(
                TableFeature(
                    name=template.format(**chosen),
                    group=group,
                    function=function,
                    sees={
                        name: given.get(name) or Window(reads, name, count) for name in taken if name not in parameters
                    },
                    parameters={name: chosen[name] for name in taken if name in parameters},
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


def group_of(function: Callable[..., Any]) -> str:
    """The group that a function is of: its module's last name."""
    return function.__module__.rpartition(".")[2]


def _problems(template: str, parameters: Mapping[str, Any], formula: str, nan_rule: str) -> list[str]:
    problems = [
        f"docstring: must have a line {heading!r}"
        for heading, text in (("Formula:", formula), ("NaN:", nan_rule))
        if not text
    ]
    return problems + [
        f"{{{name}}}: must stand in the template once it is a parameter"
        for name in parameters
        if f"{{{name}}}" not in template
    ]


def declared_table_features(module: str) -> tuple[TableFeature, ...]:
    """The features of an imported group module, by its whole name, in order of declaration."""
    return tuple(_declared.get(module, ()))


def table_fingerprint(features: Sequence[TableFeature]) -> str:
    """Sixteen hex digits that change when a value of the group could."""
    from transforms.fingerprint import code_fingerprint

    identity = [(each.name, list(each.sees.items()), sorted(each.parameters.items())) for each in features]
    code = code_fingerprint([each.function for each in features])
    return hashlib.sha256(f"{identity!r} {code}".encode()).hexdigest()[:16]
