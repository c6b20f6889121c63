"""The ``@feature`` declaration: a pure function becomes one or more named columns.

The decorator's name template, reads and windows, the function's parameter names (see ``inputs``) and its docstring are
everything there is to say of a feature: the column, its horizon, the raw source a rebuild must load, the Feast field,
its page in the documentation and its laws all follow from them.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, parse_duration_ns
from market.errors import InvalidFeature
from market.events import CANDLE, KLINE, ORDERBOOK, POSITION, TICKER, TRADE
from transforms.docstring import read_docstring
from transforms.inputs import INPUTS, Reach
from transforms.jit import jit_inside
from transforms.state import BAR_MINUTES

F = TypeVar("F", bound=Callable[..., Any])


class Source(Enum):
    """The raw source that a feature reads; the value is the event kind, None for none."""

    BOOK = ORDERBOOK
    TRADES = TRADE
    KLINES = KLINE
    TICKERS = TICKER
    POSITIONS = POSITION
    BARS = CANDLE
    NOTHING = None


BOOK: Final = Source.BOOK
TRADES: Final = Source.TRADES
KLINES: Final = Source.KLINES
TICKERS: Final = Source.TICKERS
POSITIONS: Final = Source.POSITIONS
BARS: Final = Source.BARS
"""Candles of the exchange's intervals other than a minute."""
NOTHING: Final = Source.NOTHING


@dataclass(frozen=True)
class Feature:
    """One column: a declared function with its parameters fixed."""

    name: str
    group: str
    source: Source
    function: Callable[..., Any] = field(repr=False)
    inputs: tuple[str, ...]
    """The function's parameters: names in ``inputs.INPUTS`` or in ``parameters``."""
    parameters: Mapping[str, int]
    """Values of the template's parameters that the function takes; a window in whole seconds."""
    window_s: int
    """Of a feature of bars their interval."""
    candles: int
    reach: Reach
    unit: str
    low: float
    high: float
    summary: str
    formula: str
    nan_rule: str

    @property
    def kinds(self) -> frozenset[int]:
        """The event kinds that the feature is made of."""
        return frozenset(kind for name in self.inputs if name in INPUTS and (kind := INPUTS[name].kind) is not None)

    @property
    def horizon_ns(self) -> int:
        """How far back of its row the feature can see, the order book at the row apart."""
        return self.reach.horizon_ns

    def reach_of_ns(self, kind: int) -> int:
        """How far back of its row the feature can see events of one of its kinds, the order book at the row apart."""
        own = [INPUTS[name] for name in self.inputs if name in INPUTS and INPUTS[name].kind == kind]
        return max(each.reach(self.window_s, self.candles).horizon_ns for each in own)

    @property
    def warm_up_ns(self) -> int:
        """How much history there must be before a value is given."""
        return self.reach.warm_up_ns


_declared: dict[str, list[Feature]] = {}


def feature(
    template: str,
    *,
    reads: Source,
    unit: str,
    windows: Sequence[str] = (),
    window: str = "",
    intervals: Sequence[str] = (),
    candles: int | Callable[..., int] = 0,
    low: float = -math.inf,
    high: float = math.inf,
    **parameters: Sequence[int],
) -> Callable[[F], F]:
    """Declare the decorated function as the columns of ``template``.

    template: column name; ``{window}`` and every keyword parameter are filled in, one column for each combination.
    windows: durations such as "15s", for templates with ``{window}``.
    window: the one duration of a template that does not name it.
    intervals: of the bars that are read, for templates with ``{interval}``: each is a group of its own, named
        ``<module>_<interval>``.
    candles: how many candles or bars the function sees, or a function to that number from the window in minutes and the
        parameters, in the order of the template's keywords.
    low, high: the closed range of every value that is not NaN.

    Raises InvalidFeature when template, parameters, function and docstring do not fit together.
    """

    def declare(function: F) -> F:
        group = function.__module__.rpartition(".")[2]
        choices: dict[str, Sequence[Any]] = dict(parameters)
        if windows:
            choices = {"window": windows, **choices}
        if intervals:
            choices = {"interval": intervals, **choices}
        problems = _problems(template, function, reads, choices)
        if problems:
            raise InvalidFeature(f"{group}.{template}", problems)
        compiled = jit_inside(function)
        summary, formula, nan_rule = read_docstring(function)
        features = _declared.setdefault(function.__module__, [])
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            duration = chosen.get("interval", chosen.get("window", window))
            window_s = parse_duration_ns(duration) // SECOND_NS if duration else 0
            sizes = [
                window_s // 60 if name == "window" else value for name, value in chosen.items() if name != "interval"
            ]
            candle_count = candles(*sizes) if callable(candles) else candles
            if "interval" in chosen and (problems := bar_problems(chosen["interval"], candle_count)):
                raise InvalidFeature(f"{group}.{template}", problems)
            inputs = tuple(inspect.signature(function).parameters)
            taken: dict[str, int] = {name: chosen[name] for name in inputs if name in parameters}
            features.append(
                Feature(
                    name=template.format(**chosen),
                    group=f"{group}_{chosen['interval']}" if "interval" in chosen else group,
                    source=reads,
                    function=compiled,
                    inputs=inputs,
                    parameters=taken,
                    window_s=window_s,
                    candles=candle_count,
                    reach=Reach.over(INPUTS[name].reach(window_s, candle_count) for name in inputs if name in INPUTS),
                    unit=unit,
                    low=low,
                    high=high,
                    summary=summary,
                    formula=formula,
                    nan_rule=nan_rule,
                )
            )
        return compiled

    return declare


def declared_features(module: str) -> tuple[Feature, ...]:
    """The features of an imported group module, by its whole name, in order of declaration."""
    return tuple(_declared.get(module, ()))


def bar_problems(interval: str, count: int) -> list[str]:
    """Why no feature can be of so many bars of an interval."""
    minutes = parse_duration_ns(interval) // MINUTE_NS
    if parse_duration_ns(interval) % MINUTE_NS or minutes not in BAR_MINUTES:
        told = ", ".join(map(str, BAR_MINUTES))
        return [f"intervals: must be of {told} minutes, was {interval!r}"]
    if count * minutes * MINUTE_NS > DAY_NS:
        return [f"candles: must be no more bars than a day holds, was {count} of {interval}"]
    return []


def _problems(
    template: str, function: Callable[..., Any], reads: Source, choices: Mapping[str, Sequence[Any]]
) -> list[str]:
    problems = [
        f"{{{name}}}: must stand in the template once it is a parameter"
        for name in choices
        if f"{{{name}}}" not in template
    ]
    try:
        template.format(**dict.fromkeys(choices, ""))
    except (KeyError, IndexError) as error:
        problems.append(f"template: must only name its parameters, was missing {error}")
    for name in inspect.signature(function).parameters:
        if name in INPUTS:
            kind = INPUTS[name].kind
            is_price_of_position = reads is POSITIONS and name == "twice_mid"
            if kind not in (None, reads.value) and not is_price_of_position:
                problems.append(f"{name}: must come from the source the feature reads, {reads.name}")
        elif name not in choices:
            problems.append(f"{name}: must be one of {', '.join(sorted(INPUTS))} or a parameter of the template")
    if (reads is BARS) != ("interval" in choices):
        problems.append("intervals: must be given of a feature that reads bars, and of no other")
    documentation = inspect.getdoc(function) or ""
    problems += [
        f"docstring: must have a line {heading!r}" for heading in ("Formula:", "NaN:") if heading not in documentation
    ]
    return problems
