"""What a registry version was when it was recorded: its columns, and the identity of the code behind each.

A file names columns; what they mean is code, which moves on. A stored definition distinguishes the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

from feature_repo.registry_versions import RegistryVersion
from market.clock import SECOND_NS
from transforms.catalogue import FEATURES, group_source
from transforms.declaration import Feature, Source
from transforms.fingerprint import code_fingerprint
from transforms.inputs import INPUTS
from transforms.normalisation import METHODS, Normalisation
from transforms.rows import FeatureSet

SOURCE_NAMES: Final[Mapping[Source, str]] = {
    Source.BOOK: "orderbook",
    Source.TRADES: "trades",
    Source.KLINES: "kline",
    Source.TICKERS: "ticker",
    Source.POSITIONS: "position_manager",
    Source.BARS: "kline_intervals",
    Source.NOTHING: "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDefinition:
    """One column. code: identity of its function; parameters: what the function is given, as one text.

    low, high: the closed range of its values, None for no bound.
    """

    name: str
    group: str
    group_fingerprint: str
    source: str
    code: str
    parameters: str
    horizon_s: float
    unit: str
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A version and its columns, in their order. feature_set: the fingerprint of all of it."""

    version: str
    feature_set: str
    columns: tuple[ColumnDefinition, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def sources(self) -> frozenset[str]:
        """The raw sources that it reads."""
        return frozenset(column.source for column in self.columns) - {SOURCE_NAMES[Source.NOTHING]}

    @property
    def horizon_s(self) -> float:
        """How far back its columns can see."""
        return max(column.horizon_s for column in self.columns)

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"columns": [asdict(column) for column in self.columns]}


def read_definition(document: Mapping[str, Any]) -> Definition:
    """The definition that ``document`` gave."""
    return Definition(**{**document, "columns": tuple(ColumnDefinition(**each) for each in document["columns"])})


def define(version: RegistryVersion) -> Definition:
    """What a version is by the code as it is."""
    chosen = version.feature_set
    plain = chosen.columns[: len(chosen.columns) - len(chosen.normalisations)]
    columns = [
        *(_feature_column(chosen, FEATURES[name]) for name in plain),
        *(_normalised_column(chosen, column) for column in chosen.normalisations),
    ]
    return Definition(version=version.version, feature_set=chosen.fingerprint, columns=tuple(columns))


def _feature_column(chosen: FeatureSet, declared: Feature) -> ColumnDefinition:
    return ColumnDefinition(
        name=declared.name,
        group=declared.group,
        group_fingerprint=chosen.groups[chosen.group_of[declared.name]].fingerprint,
        source=SOURCE_NAMES[group_source(declared.group)],
        code=_code(declared.name),
        parameters=_parameters(declared),
        horizon_s=declared.horizon_ns / SECOND_NS,
        unit=declared.unit,
        low=_bound(declared.low),
        high=_bound(declared.high),
    )


def _normalised_column(chosen: FeatureSet, column: Normalisation) -> ColumnDefinition:
    declared = FEATURES[column.feature]
    group = chosen.groups[-1]
    return ColumnDefinition(
        name=column.name,
        group=group.name,
        group_fingerprint=group.fingerprint,
        source=SOURCE_NAMES[group_source(declared.group)],
        code=f"{code_fingerprint([METHODS[column.method]])} of {_code(declared.name)}",
        parameters=f"{column.method} over {column.window_s} s of {declared.name}: {_parameters(declared)}",
        horizon_s=(declared.horizon_ns + column.window_ns) / SECOND_NS,
        unit="1",
        low=None,
        high=None,
    )


@cache
def _code(name: str) -> str:
    return code_fingerprint([FEATURES[name].function])


def _parameters(declared: Feature) -> str:
    facts = {
        "inputs": ", ".join(_input(name) for name in declared.inputs),
        "window": f"{declared.window_s} s",
        "candles": declared.candles,
        **dict(sorted(declared.parameters.items())),
    }
    return "; ".join(f"{name} {value}" for name, value in facts.items())


def _input(name: str) -> str:
    return f"{name}={INPUTS[name].expression}" if name in INPUTS else name


def _bound(value: float) -> float | None:
    return value if math.isfinite(value) else None
